"""Who took what, as matrices: what models of likeness are made of and what they read when they answer."""

from __future__ import annotations

import logging
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import numpy as np
from scipy.sparse import csr_array, csr_matrix

from rectory.arrays import Array, Float32Array, Float64Array, Int32Array
from rectory.features.training_set import TrainingSet
from rectory.files import read_json, write_json
from rectory.models.item_to_item import ItemToItem, Parts
from rectory.models.live_history import LiveHistory, top_of
from rectory.models.protocol import FitReport, TopK
from rectory.models.recency import decay, recent_popularity
from rectory.models.topk import pairs_of
from rectory.models.validation import METRIC, Validation
from rectory.params.candidates import LikenessParams

_BM25_SATURATION = 1.2
_BM25_LENGTH = 0.75
"""k1 and b as in Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009."""

_LOG = logging.getLogger(__name__)
P = TypeVar("P", bound=LikenessParams)


class Likeness(Protocol):
    """What one training set says of likeness; the costly parts are made once for all tries."""

    facts: dict[str, Any]
    """Further entries of `report.chosen`, for people: no refit needs them."""
    notes: list[str]
    """What was left out and why."""

    def parts(self, chosen: dict[str, Any]) -> tuple[csr_array, csr_array]:
        """Left and right matrix whose product is each user's (row's) score for each item (column)."""
        ...


class LikenessModel(ItemToItem, Generic[P]):
    """Search, refit and keeping of a model that is a product of two sparse matrices above recent popularity."""

    params_class: ClassVar[type[LikenessParams]]
    _reading: dict[str, Any]
    """How a history was read: half_life_days and step_decay, as chosen."""

    def __init__(self, params: P, seed: int, validation_users: int) -> None:
        self._params: P = params
        self._seed = seed
        self._validation_users = validation_users

    @abstractmethod
    def _likeness(self, train: TrainingSet, chosen: dict[str, Any] | None) -> Likeness:
        """Of `train`; for the one try `chosen`, or None: for all of the grid."""

    def fit(self, train: TrainingSet) -> Self:
        """Choose likeness and recency before the validation window, then count over all of `train`."""
        validation = Validation(train, self._validation_users, self._seed)
        before = train.before_validation()
        found = self._search(
            self._params.grid(train.repeats),
            self._params.fill_grid(),
            self._likeness(before, None).parts,
            lambda parts, tried: validation.score(self._become(before, parts, tried)),
        )
        final = self._likeness(train, found.chosen)
        self._report = FitReport(METRIC, found.score, {**found.chosen, **final.facts}, found.curve, final.notes)
        return self._finish(train, final, found.chosen)

    def refit(self, train: TrainingSet, chosen: dict[str, Any]) -> Self:
        return self._finish(train, self._likeness(train, chosen), chosen)

    def _finish(self, train: TrainingSet, likeness: Likeness, chosen: dict[str, Any]) -> Self:
        for note in likeness.notes:
            _LOG.warning("%s: %s", self._params.kind, note)
        return self._become(train, likeness.parts(chosen), chosen)

    def _become(self, train: TrainingSet, parts: Parts, chosen: dict[str, Any]) -> Self:
        self._reading = {key: chosen[key] for key in ("half_life_days", "step_decay")}
        popular = recent_popularity(train, chosen["popularity_window_days"])
        return self._take(*parts, popular, chosen["popularity_weight"])

    def save(self, folder: Path) -> None:
        self._save_parts(folder)
        write_json(folder / "params.json", self._params.model_dump(mode="json"))
        write_json(folder / "reading.json", self._reading)

    @classmethod
    def load(cls, folder: Path) -> Self:
        params = cls.params_class.of_saved(read_json(folder / "params.json"))
        model = cls(params, seed=0, validation_users=0)  # type: ignore[arg-type]
        # Models of before live answers did not keep it: what is tried first is then what a history is read by.
        model._reading = read_json(folder / "reading.json") if (folder / "reading.json").is_file() else {}
        return model._load_parts(folder)


class ReadsHistory(LikenessModel[P]):
    """One whose left matrix is the users' own history: it can be read anew at any moment."""

    def recommend_for_history(
        self, history: LiveHistory, k: int, *, exclude: Int32Array | None = None, items: Int32Array | None = None
    ) -> TopK:
        """What goes with a history, read as `recent_history` reads it."""
        return top_of(self.history_scores(history), k, exclude, items)

    def history_scores(self, history: LiveHistory) -> Float32Array:
        """(n_items,) scores."""
        half_life = self._reading.get("half_life_days", self._params.half_lives_days[0])
        weight = history.faded(half_life, self._reading.get("step_decay", self._params.step_decays[-1]))
        taken, place = np.unique(history.items, return_inverse=True)
        total = np.bincount(place, weight, len(taken))
        length = float(np.linalg.norm(total))
        return self.scores_for(taken, total / (length if length > 0 else 1.0))


def recent_history(train: TrainingSet, half_life_days: float | None, step_decay: float) -> csr_array:
    """What each user took, as it still counts.

    Args:
        half_life_days: an interaction this old counts half; None: age does not matter.
        step_decay: an interaction counts this much for each later moment at which the user took anything. Unlike a
            half-life it fades in a burst of a day as over a year.
    Returns:
        (n_users, n_items) float32, each row of length 1: a long history says more than a short one, though not in
        proportion. A row without interactions is empty.
    """
    weight = train.weight * decay(train.age_days(), half_life_days)
    if step_decay < 1.0:
        weight = weight * np.power(step_decay, _moments_after(train))
    history = csr_array((weight, (train.user, train.item)), shape=(train.n_users, train.n_items), dtype=np.float64)
    history.sum_duplicates()
    scaled = _scaled_rows(history, np.sqrt(_row_sums(history, 2))).astype(np.float32)
    # What has faded below the smallest float is gone.
    scaled.eliminate_zeros()
    return scaled


def taken(train: TrainingSet) -> csr_array:
    """(n_users, n_items) float64: 1 where the user took the item."""
    matrix = train.counts().astype(np.float64)
    matrix.data[:] = 1.0
    return matrix


def most_like_items(users_items: csr_array, weighting: str, neighbours: int, min_users: int) -> csr_array:
    """The items most like each item, by who took them.

    Args:
        users_items: (n_users, n_items) 1 where the user took the item.
        weighting: `cosine` of the columns; `tfidf`: the same with users who took much weighing less; `bm25`: their
            inner product, with items that many took weighing less as well.
        neighbours: kept for each item, the item itself not among them.
        min_users: items that fewer took have no neighbours and are nobody's.
    Returns:
        (n_items, n_items) float32, non-negative, nothing on the diagonal, columns in order.
    """
    from implicit._nearest_neighbours import all_pairs_knn

    n_items = users_items.shape[1]
    takers = np.bincount(users_items.indices, minlength=n_items)
    kept = np.flatnonzero(takers >= max(1, min_users))
    # Popular items first: the library's running sums are then mostly in the cache, a fifth faster.
    kept = kept[np.argsort(-takers[kept], kind="stable")]
    if not len(kept):
        return csr_array((n_items, n_items), dtype=np.float32)
    weighted = weighted_columns(users_items[:, kept], weighting)
    # One more, which is the item itself.
    found = all_pairs_knn(csr_matrix(weighted), neighbours + 1, num_threads=1, show_progress=False).tocoo()
    apart = (found.row != found.col) & (found.data > 0)
    pairs = (found.data[apart].astype(np.float32), (kept[found.row[apart]], kept[found.col[apart]]))
    like = csr_array(pairs, shape=(n_items, n_items))
    like.sort_indices()
    return like


def weighted_columns(users_items: csr_array, weighting: str) -> csr_array:
    """Columns whose inner products are the likeness that `most_like_items` speaks of.

    A user's rarity is log(n_items / (1 + items taken)). Sources of the weights: Salton and Buckley, "Term-weighting
    Approaches in Automatic Text Retrieval", 1988; Robertson and Zaragoza 2009. Items are documents, users terms.
    """
    matrix = users_items.astype(np.float64)
    rows, _ = pairs_of(matrix)
    if weighting != "cosine":
        rarity = np.log(max(2, matrix.shape[1])) - np.log1p(_row_sums(matrix, 1))
        matrix.data = matrix.data * np.maximum(rarity, 0.0)[rows]
    if weighting == "bm25":
        size = np.bincount(users_items.indices, weights=users_items.data, minlength=users_items.shape[1])
        length = 1.0 - _BM25_LENGTH + _BM25_LENGTH * size / max(float(size.mean()), 1e-12)
        share = (_BM25_SATURATION + 1.0) / (_BM25_SATURATION * length[users_items.indices] + users_items.data)
        matrix.data = matrix.data * share
        return matrix
    norm: Float64Array = np.sqrt(np.bincount(matrix.indices, weights=matrix.data**2, minlength=matrix.shape[1]))
    matrix.data = matrix.data / np.where(norm > 0, norm, 1.0)[matrix.indices]
    return matrix


def with_diagonal(weights: csr_array, value: float) -> csr_array:
    """`weights` scaled so that rows have a largest entry of 1 on average, with `value` on an empty diagonal.

    Sums of such rows compare with popularity, which is at most 1, whatever the weighting's own scale.
    """
    n = weights.shape[0]
    typical = np.float32(1.0)
    if weights.nnz:
        largest = np.maximum.reduceat(weights.data, weights.indptr[:-1][np.diff(weights.indptr) > 0])
        typical = largest[largest > 0].mean() if (largest > 0).any() else typical
    row, column = pairs_of(weights)
    data = weights.data / typical
    if value > 0:
        data = np.concatenate([data, np.full(n, value)])
        row, column = np.concatenate([row, np.arange(n)]), np.concatenate([column, np.arange(n)])
    whole = csr_array((data.astype(np.float32), (row, column)), shape=weights.shape)
    whole.sort_indices()
    return whole


def _moments_after(train: TrainingSet) -> Array:
    """(n,) distinct later moments at which the same user took something."""
    order = np.lexsort((train.time, train.user))
    user, time = train.user[order], train.time[order]
    new = np.ones(len(user), dtype=bool)
    new[1:] = (user[1:] != user[:-1]) | (time[1:] != time[:-1])
    moment = np.cumsum(new)
    last = moment[np.searchsorted(user, user, side="right") - 1] if len(user) else moment
    after = np.empty(len(user), dtype=np.int64)
    after[order] = last - moment
    return after


def _row_sums(matrix: csr_array, power: int) -> Float64Array:
    row, _ = pairs_of(matrix)
    return np.bincount(row, weights=matrix.data**power, minlength=matrix.shape[0]).astype(np.float64)


def _scaled_rows(matrix: csr_array, size: Float64Array) -> csr_array:
    row, column = pairs_of(matrix)
    return csr_array((matrix.data / np.where(size > 0, size, 1.0)[row], column, matrix.indptr), shape=matrix.shape)

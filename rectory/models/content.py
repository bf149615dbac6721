"""Items whose declared features are like those of what a user took; answers for items that nobody has touched yet.

Source: the vector space model, Salton, Wong and Yang, "A Vector Space Model for Automatic Indexing", CACM 1975.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
from scipy.sparse import csr_array, diags_array, hstack, vstack

from rectory.arrays import Array, Float32Array, Float64Array, Int32Array
from rectory.features.training_set import SECONDS_PER_DAY, TrainingSet
from rectory.files import read_arrays, read_json, read_sparse, write_arrays, write_json, write_sparse
from rectory.models.item_to_item import FAINT, pairs_from_blocks
from rectory.models.live_history import LiveHistory, top_of
from rectory.models.protocol import FitReport, Fitted, Reason, TopK
from rectory.models.recency import decay, recent_popularity
from rectory.models.search import search_by_turns
from rectory.models.topk import excluding_self, rank_blocks
from rectory.models.validation import METRIC, Validation
from rectory.params.candidates import ContentParams

_NEW_DAYS = 30.0
"""Days since its first interaction after which an item is half as new."""


class Content(Fitted):
    """score = cosine(profile of the user, features of the item) + popularity_weight * (popularity or newness).

    Features weigh by rarity (TF-IDF). A profile is the recency-weighted mean of the features of what the user took; of
    a user without a history, of what users took who share declared user features. Who has no profile at all is
    answered by popularity, and so is everyone where items have no features: `chosen.features_used` says so.
    """

    def __init__(self, params: ContentParams, seed: int, validation_users: int) -> None:
        self._params = params
        self._seed = seed
        self._validation_users = validation_users

    def fit(self, train: TrainingSet) -> Self:
        """Choose before the validation window, then use all of `train`."""
        validation = Validation(train, self._validation_users, self._seed)
        before = train.before_validation()
        used = train.item_features.matrix.nnz > 0
        grid = self._params.grid(used)
        found = search_by_turns(grid, lambda tried: validation.score(self.refit(before, tried)))
        notes = [] if used else ["content: the items have no declared features, so popular items are all it can answer"]
        self._report = FitReport(METRIC, found.score, found.chosen, found.curve, notes)
        return self.refit(train, found.chosen)

    def refit(self, train: TrainingSet, chosen: dict[str, Any]) -> Self:
        items = rare_features(train.item_features.matrix)
        history = _shares_of(train, chosen["half_life_days"])
        groups, members = _groups(train, history, items)
        popular = recent_popularity(train, chosen["popularity_window_days"])
        leaning = popular if chosen["lean_on"] == "popularity" else newness(train)
        weight = chosen["popularity_weight"]
        return self._become(
            {
                "items": items,
                # What a profile is made of: the user's items, or the groups that a user without any belongs to.
                "taken": csr_array(hstack([history, members], format="csr")),
                "sources": csr_array(vstack([items, groups], format="csr")),
            },
            {
                "popular": (weight * popular).astype(np.float32),
                "leaning": (weight * leaning).astype(np.float32),
            },
            {
                "names": list(train.item_features.names),
                "lean_on": chosen["lean_on"],
                "weight": weight,
                "half_life_days": chosen["half_life_days"],
            },
        )

    def _become(self, matrices: dict[str, csr_array], floors: dict[str, Float32Array], facts: dict[str, Any]) -> Self:
        self._matrices, self._floors, self._facts = matrices, floors, facts
        # The last row is the user of whom nothing is known, so that code -1 finds it.
        nobody = csr_array((1, matrices["taken"].shape[1]), dtype=np.float32)
        self._taken = csr_array(vstack([matrices["taken"], nobody], format="csr"))
        # Thousands of items may share all their features: what is the same for them is worked out once.
        first, self._like = distinct_rows(matrices["items"])
        self._distinct = csr_array(matrices["items"][first])
        return self

    def recommend(
        self, users: Int32Array, k: int, *, exclude: csr_array | None = None, items: Int32Array | None = None
    ) -> TopK:
        return rank_blocks(
            lambda start, stop: self._scores(users[start:stop]),
            len(users),
            self._matrices["items"].shape[0],
            k,
            exclude=exclude,
            items=items,
        )

    def recommend_for_history(
        self, history: LiveHistory, k: int, *, exclude: Int32Array | None = None, items: Int32Array | None = None
    ) -> TopK:
        """Items like what the history holds; of a history without features, what is popular."""
        return top_of(self.history_scores(history), k, exclude, items)

    def history_scores(self, history: LiveHistory) -> Float32Array:
        """(n_items,) scores."""
        if not len(history):
            return np.asarray(self._scores(np.array([history.user], dtype=np.int32))[0])
        weight = history.weight * decay(history.age_days - history.age_days.min(), self._facts.get("half_life_days"))
        taken, place = np.unique(history.items, return_inverse=True)
        weight = np.bincount(place, weight, len(taken)).astype(np.float32)
        rows = self._matrices["items"]
        starts = rows.indptr[taken]
        lengths = rows.indptr[taken + 1] - starts
        at = np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(int(lengths.sum()))
        profile = np.bincount(rows.indices[at], rows.data[at] * np.repeat(weight, lengths), rows.shape[1])
        length = float(np.linalg.norm(profile))
        if length == 0.0:
            return self._floors["popular"].copy()
        products = self._distinct @ (profile / length).astype(np.float32)
        return np.asarray(products[self._like] + self._floors["leaning"], dtype=np.float32)

    def score_pairs(self, users: Int32Array, items: Int32Array) -> Float32Array:
        return pairs_from_blocks(users, items, self._matrices["items"].shape[0], self._scores)

    def similar(self, items: Int32Array, k: int) -> TopK:
        """Cosine of the features; of equal ones the more popular."""
        vectors, faint = self._matrices["items"], self._floors["popular"] * np.float32(FAINT / self._facts["weight"])
        return rank_blocks(
            lambda start, stop: self._likeness(csr_array(vectors[items[start:stop]])) + faint,
            len(items),
            vectors.shape[0],
            k,
            exclude=excluding_self(items, vectors.shape[0]),
        )

    def explain(self, user: int, item: int) -> list[Reason]:
        """One reason for each feature that the profile and the item share, and one for what lists lean on."""
        profile = self._profiles(np.array([user], dtype=np.int32))
        vector = self._matrices["items"][[item]]
        parts = profile.toarray().ravel()[vector.indices].astype(np.float64) * vector.data
        names = self._facts["names"]
        reasons = [
            Reason(f"the user's taste for items with {names[column]}", float(part))
            for column, part in zip(vector.indices, parts, strict=True)
            if part > 0
        ]
        lean_on = self._facts["lean_on"] if profile.nnz else "popularity"
        floor = self._floors["leaning" if profile.nnz else "popular"]
        text = "popular with everyone" if lean_on == "popularity" else "new: first taken lately"
        return sorted([*reasons, Reason(text, float(floor[item]))], key=lambda reason: -reason.contribution)

    def _profiles(self, users: Int32Array) -> csr_array:
        """(n, n_values) rows of length 1, empty where nothing is known."""
        return _unit(csr_array(self._taken[users] @ self._matrices["sources"]))

    def _scores(self, users: Int32Array, items: Int32Array | None = None) -> Float32Array:
        """(n, n_items) or, for some items, (n, len(items)) scores."""
        profiles = self._profiles(users)
        scores = self._likeness(profiles, items)
        leaning, popular = (self._floors[name] for name in ("leaning", "popular"))
        if items is not None:
            leaning, popular = leaning[items], popular[items]
        known = np.diff(profiles.indptr) > 0
        scores += leaning
        scores[~known] = popular
        return scores

    def _likeness(self, profiles: csr_array, items: Int32Array | None = None) -> Float32Array:
        """(n, n_items or len(items)) inner products.

        Sparse times dense: each sum has one order, whoever and whatever else is asked for.
        """
        rows, place = self._distinct, self._like
        if items is not None:
            wanted, place = np.unique(self._like[items], return_inverse=True)
            rows = csr_array(rows[wanted])
        products = np.ascontiguousarray((rows @ profiles.toarray().T).T, dtype=np.float32)
        return np.take(products, place, axis=1)

    def save(self, folder: Path) -> None:
        """content.json, floors.npz and a sparse npz for items, sources and taken."""
        for name, matrix in self._matrices.items():
            write_sparse(folder / f"{name}.npz", matrix)
        write_arrays(folder / "floors.npz", self._floors)
        write_json(folder / "content.json", {**self._facts, "params": self._params.model_dump(mode="json")})

    @classmethod
    def load(cls, folder: Path) -> Self:
        facts = read_json(folder / "content.json")
        model = cls(ContentParams.of_saved(facts.pop("params")), seed=0, validation_users=0)
        matrices = {name: read_sparse(folder / f"{name}.npz") for name in ("items", "taken", "sources")}
        return model._become(matrices, read_arrays(folder / "floors.npz"), facts)


def rare_features(block: csr_array) -> csr_array:
    """(n_items, n_values) float32 rows of length 1: each value times log(1 + items / items that have it)."""
    having = np.bincount(block.indices, minlength=block.shape[1])
    rarity = np.log1p(block.shape[0] / np.maximum(having, 1))
    return _unit(csr_array(block @ diags_array(rarity)))


def distinct_rows(matrix: csr_array) -> tuple[Array, Array]:
    """(n_distinct,) a row of each sort, and (n,) which of them each row is equal to. Columns are in order."""
    marks = matrix @ np.random.default_rng(0).random((matrix.shape[1], 2))
    _, first, sort = np.unique(marks[:, 0] + 1j * marks[:, 1], return_index=True, return_inverse=True)
    if (matrix[first][sort] != matrix).nnz:  # two sorts with one mark
        return np.arange(matrix.shape[0]), np.arange(matrix.shape[0])
    return first, sort


def newness(train: TrainingSet) -> Float32Array:
    """(n_items,) 1 for an item first taken at the end of training, half of that a month earlier; never taken: 0."""
    first = np.full(train.n_items, np.inf)
    np.minimum.at(first, train.item, train.time)
    age: Float64Array = (train.end - first) / SECONDS_PER_DAY
    return np.where(np.isfinite(age), decay(np.abs(age), _NEW_DAYS), 0.0).astype(np.float32)


def _shares_of(train: TrainingSet, half_life_days: float | None) -> csr_array:
    """(n_users, n_items) float32: what each user took, weighted by recency, rows summing to 1."""
    weight = train.weight * decay(train.age_days() - train.age_days().min(initial=np.inf), half_life_days)
    taken = csr_array((weight, (train.user, train.item)), shape=(train.n_users, train.n_items), dtype=np.float64)
    taken.sum_duplicates()
    total = np.asarray(taken.sum(axis=1)).ravel()
    taken.data /= np.repeat(np.where(total > 0, total, 1.0), np.diff(taken.indptr))
    return taken.astype(np.float32)


def _groups(train: TrainingSet, history: csr_array, items: csr_array) -> tuple[csr_array, csr_array]:
    """(n_groups, n_values) mean profile of the users with each user feature; (n_users, n_groups) who is asked by it.

    Only users without a history are.
    """
    belongs = train.user_features.matrix
    active = np.diff(history.indptr) > 0
    everyone = csr_array(diags_array(active.astype(np.float32)) @ belongs)
    size = np.asarray(everyone.sum(axis=0)).ravel()
    means = diags_array(1.0 / np.where(size > 0, size, 1.0)) @ csr_array(everyone.T) @ _unit(csr_array(history @ items))
    silent = csr_array(diags_array((~active).astype(np.float32)) @ belongs)
    silent.eliminate_zeros()
    return csr_array(means).astype(np.float32), silent.astype(np.float32)


def _unit(matrix: csr_array) -> csr_array:
    """Rows scaled to length 1, as float32; empty rows stay."""
    length = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1), dtype=np.float64)).ravel()
    unit = csr_array(diags_array(1.0 / np.where(length > 0, length, 1.0)) @ matrix)
    unit.eliminate_zeros()
    unit.sort_indices()
    return unit.astype(np.float32)

"""What this user takes most often, recent interactions first, filled up with what everyone takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
from scipy.sparse import csr_array

from rectory.arrays import Float32Array, Int32Array
from rectory.features.training_set import TrainingSet
from rectory.files import read_arrays, read_json, read_sparse, write_arrays, write_json, write_sparse
from rectory.models.live_history import LiveHistory, top_of
from rectory.models.protocol import NO_ITEM, FitReport, Fitted, Reason, TopK
from rectory.models.recency import decay, popularity_scores
from rectory.models.topk import excluding_self, pairs_of, rank_pairs, rank_shared
from rectory.models.validation import METRIC, Validation
from rectory.params.candidates import PersonalFrequencyParams


class PersonalFrequency(Fitted):
    """A user's own decayed counts above popular items.

    score = [had it] * (1 + own decayed weight) + popularity, the latter scaled to at most 1. So an own item stands
    above every other one, and of two own items with equal weights the more popular one comes first.

    Where a card excludes repeats, own items never show and this is popularity in its window; the fit report says so
    (`chosen.own_items_shown`).
    """

    def __init__(self, params: PersonalFrequencyParams, seed: int, validation_users: int) -> None:
        self._params = params
        self._seed = seed
        self._validation_users = validation_users
        self._own = csr_array((0, 0), dtype=np.float32)
        self._popular: Float32Array = np.zeros(0, dtype=np.float32)
        self._order: Int32Array | None = None
        self._half_life_days: float | None = None
        self._window_days = params.popularity_window_days

    def fit(self, train: TrainingSet) -> Self:
        """Choose the half-life before the validation window, then count over all of `train`."""
        validation = Validation(train, self._validation_users, self._seed)
        before = train.before_validation()
        curve: list[dict[str, float | None]] = []
        # Without repeats the half-life changes no list: one try says it all.
        for half_life in self._params.half_lives_days if train.repeats else self._params.half_lives_days[:1]:
            self._count(before, half_life)
            curve.append({"half_life_days": half_life, "score": validation.score(self)})
        best = max(curve, key=lambda tried: tried["score"] or 0.0)  # the first of equals
        chosen = {"half_life_days": best["half_life_days"], "own_items_shown": train.repeats}
        self._report = FitReport(METRIC, best["score"] or 0.0, chosen, curve)
        return self.refit(train, chosen)

    def refit(self, train: TrainingSet, chosen: dict[str, Any]) -> Self:
        self._count(train, chosen["half_life_days"])
        return self

    def _count(self, train: TrainingSet, half_life_days: float | None) -> None:
        self._half_life_days = half_life_days
        weight = (train.weight * decay(train.age_days(), half_life_days)).astype(np.float32)
        own = csr_array((weight, (train.user, train.item)), shape=(train.n_users, train.n_items))
        own.sum_duplicates()
        popular = popularity_scores(train, self._window_days, None)
        self._own = own
        self._order = None
        self._popular = popular / max(float(popular.max(initial=0.0)), 1.0)

    def recommend(
        self, users: Int32Array, k: int, *, exclude: csr_array | None = None, items: Int32Array | None = None
    ) -> TopK:
        n, n_items = len(users), len(self._popular)
        known = np.flatnonzero(users >= 0)
        own = self._own[users[known]]
        places, own_items = pairs_of(own)
        rows = known[places]
        kept = np.ones(len(rows), dtype=bool) if items is None else np.isin(own_items, items)
        hidden_rows, hidden_items = rows, own_items
        if exclude is not None:
            excluded_rows, excluded_items = pairs_of(exclude)
            kept &= ~np.isin(rows * n_items + own_items, excluded_rows * n_items + excluded_items.astype(np.int64))
            hidden_rows = np.concatenate([rows, excluded_rows])
            hidden_items = np.concatenate([own_items, excluded_items])
        # Own items are ranked by themselves, so popular ones fill up around them.
        ones = np.ones(len(hidden_rows), dtype=np.float32)
        hidden = csr_array((ones, (hidden_rows, hidden_items)), shape=(n, n_items))
        fill = rank_shared(self._popular, n, k, hidden, items)
        fill_rows, fill_places = np.nonzero(fill.items != NO_ITEM)
        own_scores = 1.0 + own.data[kept] + self._popular[own_items[kept]]
        return rank_pairs(
            np.concatenate([rows[kept], fill_rows]),
            np.concatenate([own_items[kept], fill.items[fill_rows, fill_places]]),
            np.concatenate([own_scores, fill.scores[fill_rows, fill_places]]),
            n,
            k,
        )

    def recommend_for_history(
        self, history: LiveHistory, k: int, *, exclude: Int32Array | None = None, items: Int32Array | None = None
    ) -> TopK:
        """The history's own items by how much of them is left, above popular ones."""
        taken, place = np.unique(history.items, return_inverse=True)
        weight = history.weight * decay(history.age_days, self._half_life_days)
        own = np.bincount(place, weight, len(taken))
        shared = self._by_popularity
        shared = shared if items is None else shared[np.isin(shared, items)]
        # Of what the user never took, more than these cannot be needed.
        some = shared[: k + len(taken) + (0 if exclude is None else len(exclude))]
        codes = np.union1d(some, taken if items is None else np.intersect1d(taken, items)).astype(np.int32)
        scores = self._popular[codes]
        at = np.minimum(np.searchsorted(codes, taken), max(len(codes) - 1, 0))
        there = codes[at] == taken if len(codes) else np.zeros(len(taken), dtype=bool)
        scores[at[there]] += (1.0 + own[there]).astype(np.float32)
        if exclude is not None:
            scores[np.isin(codes, exclude)] = -np.inf
        top = top_of(scores, k, None, None)
        return TopK(np.where(top.items == NO_ITEM, NO_ITEM, codes[top.items]), top.scores)

    @property
    def _by_popularity(self) -> Int32Array:
        """All items, the most popular first; of equal ones the smaller code."""
        if self._order is None:
            self._order = np.argsort(-self._popular, kind="stable").astype(np.int32)
        return self._order

    def similar(self, items: Int32Array, k: int) -> TopK:
        """Popular items: a count knows no likeness."""
        return rank_shared(self._popular, len(items), k, excluding_self(items, len(self._popular)), None)

    def explain(self, user: int, item: int) -> list[Reason]:
        popular = Reason("popular with everyone", float(self._popular[item]))
        own = self._own[[user], :] if user >= 0 else csr_array((1, len(self._popular)), dtype=np.float32)
        weight = own.data[own.indices == item]
        if not len(weight):
            return [popular]
        fading = "" if self._half_life_days is None else f", half-life {self._half_life_days:g} days"
        mine = Reason(f"taken before: weighted number of own interactions{fading}, plus 1", 1.0 + float(weight[0]))
        return [mine, popular]

    def save(self, folder: Path) -> None:
        write_sparse(folder / "own.npz", self._own)
        write_arrays(folder / "popular.npz", {"scores": self._popular})
        write_json(
            folder / "personal_frequency.json",
            {"half_life_days": self._half_life_days, "popularity_window_days": self._window_days},
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        facts = read_json(folder / "personal_frequency.json")
        model = cls(PersonalFrequencyParams(kind="personal_frequency"), seed=0, validation_users=0)
        model._own = read_sparse(folder / "own.npz")
        model._popular = read_arrays(folder / "popular.npz")["scores"]
        model._half_life_days, model._window_days = facts["half_life_days"], facts["popularity_window_days"]
        return model

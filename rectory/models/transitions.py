"""What is taken next: counts from an item to those taken after it.

Source: Markov chains of items as in Shani, Heckerman and Brafman, "An MDP-Based Recommender System", JMLR 2005, with
several lags as "skipping" there, weighted by time.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
from scipy.sparse import csr_array, vstack

from rectory.arrays import Float32Array, Float64Array, Int32Array
from rectory.features.training_set import TrainingSet
from rectory.files import read_json, write_json
from rectory.models.baskets import Baskets, baskets_of
from rectory.models.item_to_item import ItemToItem, Parts, strongest_per_row
from rectory.models.live_history import LiveHistory, top_of
from rectory.models.protocol import FitReport, TopK
from rectory.models.recency import decay, recent_popularity
from rectory.models.topk import pairs_of
from rectory.models.validation import METRIC, Validation
from rectory.params.candidates import TransitionsParams

_FADED = 0.01
"""Weight of a step from basket to basket, against the heaviest, below which it is not counted."""
_PRODUCTS_AT_ONCE = 8_000_000
"""Multiplications in a block of rows of the counts: bounds memory at some 200 MB."""
_POOL = 3
"""Times as many neighbours as are kept in the end stay until popular ones are damped."""
_SHRINK = 1.0
"""Transitions that are added to those out of an item before they become shares: a rare item says little."""
_NOTHING = 1e-6
"""Counts below it are what rounding left of a difference."""
_SECONDS_PER_HOUR = 3600.0


class Transitions(ItemToItem):
    """Recent items, each with the shares of what was taken after it.

    Events of a user at one time are a basket and have no order: each item of a basket leads to each other one of it,
    and to all of the next `lags` baskets, less with each step, with the time between them and with the age of it all.
    """

    _reason = "often taken with or after {item}, taken lately"

    def __init__(self, params: TransitionsParams, seed: int, validation_users: int) -> None:
        self._params = params
        self._seed = seed
        self._validation_users = validation_users

    def fit(self, train: TrainingSet) -> Self:
        """Choose how time counts before the validation window, then count over all of `train`."""
        validation = Validation(train, self._validation_users, self._seed)
        before = train.before_validation()
        found = self._search(
            self._params.grid(train.repeats),
            self._params.fill_grid(),
            _Work(self._params, before).parts,
            lambda parts, tried: validation.score(self._become(before, parts, tried)),
        )
        self._report = FitReport(METRIC, found.score, found.chosen, found.curve)
        return self.refit(train, found.chosen)

    def refit(self, train: TrainingSet, chosen: dict[str, Any]) -> Self:
        return self._become(train, _Work(self._params, train).parts(chosen), chosen)

    def _become(self, train: TrainingSet, parts: Parts, chosen: dict[str, Any]) -> Self:
        self._step_decay = float(chosen["step_decay"])
        popular = recent_popularity(train, chosen["popularity_window_days"])
        return self._take(*parts, popular, chosen["popularity_weight"])

    def recommend_for_history(
        self, history: LiveHistory, k: int, *, exclude: Int32Array | None = None, items: Int32Array | None = None
    ) -> TopK:
        """What is taken after a history, read as `Baskets.history` reads it."""
        return top_of(self.history_scores(history), k, exclude, items)

    def history_scores(self, history: LiveHistory) -> Float32Array:
        """(n_items,) scores."""
        recent = history.items[-self._params.recent :]
        steps = history.moments_after[-self._params.recent :]
        # Once for each moment: a basket may list an item twice.
        pairs = np.unique(np.column_stack([recent, steps]), axis=0)
        weight = np.power(self._step_decay, pairs[:, 1].astype(np.float64))
        taken, place = np.unique(pairs[:, 0], return_inverse=True)
        weight = np.bincount(place, weight, len(taken))
        return self.scores_for(taken, weight / max(float(weight.sum()), 1e-12))

    def save(self, folder: Path) -> None:
        self._save_parts(folder)
        facts = {"params": self._params.model_dump(mode="json"), "step_decay": self._step_decay}
        write_json(folder / "transitions.json", facts)

    @classmethod
    def load(cls, folder: Path) -> Self:
        facts = read_json(folder / "transitions.json")
        model = cls(TransitionsParams.of_saved(facts["params"]), seed=0, validation_users=0)
        model._step_decay = facts.get("step_decay", model._params.step_decays[0])
        return model._load_parts(folder)


class _Work:
    """Baskets and counts of one training set; the last counts are kept for tries that differ elsewhere."""

    def __init__(self, params: TransitionsParams, train: TrainingSet) -> None:
        self.train = train
        self.baskets = baskets_of(train, params.basket_seconds, params.largest_basket)
        self._params = params
        self._counts: dict[tuple[float | None, float | None], tuple[csr_array, Float64Array]] = {}

    def parts(self, chosen: dict[str, Any]) -> Parts:
        """Of a try, whatever it says of popularity's window and weight."""
        weights = self.weights(
            chosen["half_life_days"], chosen["gap_half_life_hours"], chosen["popularity_power"], chosen["self_weight"]
        )
        return self.baskets.history(chosen["step_decay"], self._params.recent, self.train.n_users), weights

    def weights(
        self,
        half_life_days: float | None,
        gap_half_life_hours: float | None,
        popularity_power: float,
        self_weight: float,
    ) -> csr_array:
        """(n_items, n_items) float32: the strongest in each row.

        Scaled so that rows have a largest weight of 1 on average: sums of them compare with popularity in [0, 1].
        """
        shares, damping = self._counted(half_life_days, gap_half_life_hours)
        data = shares.data * np.power(damping, popularity_power)[shares.indices]
        row, column = pairs_of(shares)
        data[row == column] *= self_weight
        parts = (data.astype(np.float32), column, shares.indptr)
        weights = strongest_per_row(csr_array(parts, shape=shares.shape), self._params.neighbours)
        weights.eliminate_zeros()
        largest = weights.max(axis=1).toarray()
        weights.data /= largest[largest > 0].mean() if (largest > 0).any() else np.float32(1.0)
        return weights

    def _counted(
        self, half_life_days: float | None, gap_half_life_hours: float | None
    ) -> tuple[csr_array, Float64Array]:
        """`_count`, or what it gave lately. Two are kept: a second half-life that is no better costs no third count."""
        asked = half_life_days, gap_half_life_hours
        if asked not in self._counts:
            latest = list(self._counts.items())[-1:]
            self._counts = {**dict(latest), asked: self._count(*asked)}
        return self._counts[asked]

    def _count(self, half_life_days: float | None, gap_half_life_hours: float | None) -> tuple[csr_array, Float64Array]:
        """Shares of what follows each item, and (n_items,) mean over own number of times an item follows any other."""
        steps = basket_steps(self.baskets, self._params.lags, half_life_days, gap_half_life_hours)
        following = csr_array(steps @ self.baskets.weights)
        # What each item has in `following` from its own place in a basket.
        inside = np.asarray(self.baskets.weights.T @ steps.diagonal(), dtype=np.float64)
        inflow = np.asarray(following.T @ np.diff(self.baskets.items.indptr).astype(np.float64)) - inside
        usual = float(inflow[inflow > 0].mean()) if (inflow > 0).any() else 1.0
        # More than are kept in the end: by which power popular ones are damped may put others first.
        most = _POOL * self._params.neighbours
        shares = _shares(self.baskets.items, following, inside if self.train.repeats else None, most)
        return shares, usual / (np.maximum(inflow, 0.0) + usual)


def basket_steps(
    baskets: Baskets, lags: int, half_life_days: float | None, gap_half_life_hours: float | None
) -> csr_array:
    """(n, n) float32: weight of each step from a basket to itself and to the next `lags` of the same user.

    1 / lag, falling with the hours between the two and with the age of the later one.
    """
    n = len(baskets.user)
    recency = decay(baskets.age_days - (baskets.age_days.min() if n else 0.0), half_life_days)
    rows, columns, weights = [np.arange(n)], [np.arange(n)], [recency]
    for lag in range(1, min(lags, n - 1) + 1):
        start = np.flatnonzero(baskets.user[:-lag] == baskets.user[lag:])
        gap = (baskets.time[start + lag] - baskets.time[start]) / _SECONDS_PER_HOUR
        rows.append(start)
        columns.append(start + lag)
        weights.append(recency[start + lag] * decay(gap, gap_half_life_hours) / lag)
    weight = np.concatenate(weights)
    kept = weight >= _FADED
    row, column = np.concatenate(rows)[kept], np.concatenate(columns)[kept]
    return csr_array((weight[kept].astype(np.float32), (row, column)), shape=(n, n))


def _shares(items: csr_array, following: csr_array, inside: Float64Array | None, most: int) -> csr_array:
    """(n_items, n_items) float32: items.T @ following with each row as shares, of which the `most` largest stay.

    Args:
        items, following: (n_baskets, n_items).
        inside: (n_items,) to be taken from the diagonal; None: no item follows itself.
        most: entries kept of each row. Rows are made a block at a time and cut at once, which bounds memory.
    """
    n_items = items.shape[1]
    leading = csr_array(items.T)
    products = np.bincount(items.indices, np.repeat(np.diff(following.indptr), np.diff(items.indptr)), n_items)
    ends = np.cumsum(products)
    edges = np.searchsorted(ends, np.arange(0.0, ends[-1] if n_items else 0.0, _PRODUCTS_AT_ONCE))
    edges = np.unique(np.concatenate([[0], edges, [n_items]]))
    blocks = [csr_array((0, n_items), dtype=np.float32)]
    for start, stop in pairwise(edges):
        counts = csr_array(leading[start:stop] @ following)
        row = np.repeat(np.arange(stop - start, dtype=np.int32), np.diff(counts.indptr))
        own = np.flatnonzero(row + np.int32(start) == counts.indices)
        left = 0.0 if inside is None else counts.data[own] - inside[counts.indices[own]]
        counts.data[own] = np.where(left > _NOTHING, left, 0.0)
        out = np.bincount(row, counts.data, stop - start) + _SHRINK
        counts.data *= (1.0 / out).astype(np.float32)[row]
        counts = strongest_per_row(counts, most)
        counts.eliminate_zeros()
        blocks.append(counts)
    return csr_array(vstack(blocks, format="csr"))

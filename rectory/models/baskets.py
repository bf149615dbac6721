"""A user's events as baskets: what was taken at one time has no order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from rectory.arrays import Array, Float64Array
from rectory.features.training_set import SECONDS_PER_DAY, TrainingSet


@dataclass(frozen=True)
class Baskets:
    """All baskets, by user and then in order of time.

    user: (n,) codes. time: (n,) seconds, of the last event in the basket.
    items: (n, n_items) float32, 1 for each distinct item.
    weights: the same entries with the weight of their events in average events.
    end: seconds; ages are counted back from here.
    """

    user: Array
    time: Float64Array
    items: csr_array
    weights: csr_array
    end: float

    @property
    def age_days(self) -> Float64Array:
        return (self.end - self.time) / SECONDS_PER_DAY

    def steps_back(self) -> Array:
        """(n,) 0 for each user's last basket, 1 for the one before."""
        after = np.searchsorted(self.user, self.user, side="right")
        return after - 1 - np.arange(len(self.user))

    def history(self, step_decay: float, recent: int, n_users: int) -> csr_array:
        """(n_users, n_items) float32: what each user took lately, rows summing to 1.

        An item of the last basket weighs most, one of the basket before `step_decay` of that, and so on; events older
        than the basket that holds the user's `recent`-th last item are left out.
        """
        sizes = np.diff(self.items.indptr)
        before = np.concatenate([[0], np.cumsum(sizes)])
        last = np.searchsorted(self.user, self.user, side="right")
        # Items in later baskets of the same user.
        later = before[last] - before[1:]
        weight = np.where(later < recent, np.power(step_decay, self.steps_back()), 0.0)
        kept = np.flatnonzero(weight > 0)
        parts = (weight[kept], (self.user[kept], kept))
        taken = csr_array(csr_array(parts, shape=(n_users, len(self.user))) @ self.items)
        taken.sort_indices()
        total = np.asarray(taken.sum(axis=1)).ravel()
        data = taken.data / np.repeat(np.where(total > 0, total, 1.0), np.diff(taken.indptr))
        return csr_array((data.astype(np.float32), taken.indices, taken.indptr), shape=taken.shape)


def baskets_of(train: TrainingSet, basket_seconds: float, largest: int) -> Baskets:
    """Group each user's events.

    Args:
        basket_seconds: an event at most this long after the one before it belongs to the same basket.
        largest: items that a basket keeps; of larger ones the most common items stay.
    """
    order = np.lexsort((train.item, train.time, train.user))
    user, item, time = train.user[order], train.item[order], train.time[order]
    starts = np.ones(len(user), dtype=bool)
    starts[1:] = (user[1:] != user[:-1]) | (time[1:] - time[:-1] > basket_seconds)
    basket = np.cumsum(starts) - 1
    n = int(basket[-1]) + 1 if len(basket) else 0
    last = np.flatnonzero(np.append(starts[1:], len(starts) > 0))
    unit = float(train.weight.mean()) if len(user) else 1.0
    weights = csr_array((train.weight[order] / unit, (basket, item)), shape=(n, train.n_items), dtype=np.float32)
    weights.sum_duplicates()
    weights = _common(weights, np.bincount(train.item, minlength=train.n_items), largest)
    ones = np.ones(len(weights.data), dtype=np.float32)
    items = csr_array((ones, weights.indices, weights.indptr), shape=weights.shape)
    return Baskets(user[last], time[last], items, weights, train.end)


def _common(weights: csr_array, counts: Array, largest: int) -> csr_array:
    """At most `largest` items of each row, those with the largest counts; of equal ones the smaller code."""
    sizes = np.diff(weights.indptr)
    if not len(sizes) or sizes.max() <= largest:
        return weights
    row = np.repeat(np.arange(len(sizes)), sizes)
    order = np.lexsort((weights.indices, -counts[weights.indices], row))
    place = np.empty(len(row), dtype=np.int64)
    place[order] = np.arange(len(row)) - weights.indptr[row]
    kept = place < largest
    indptr = np.concatenate([[0], np.cumsum(np.minimum(sizes, largest))])
    return csr_array((weights.data[kept], weights.indices[kept], indptr), shape=weights.shape)

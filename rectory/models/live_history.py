"""One user's whole history at one moment, and ranking for it: what a model needs to answer while things happen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from rectory.arrays import Array, Float32Array, Float64Array, Int32Array
from rectory.features.training_set import SECONDS_PER_DAY
from rectory.models.protocol import NO_ITEM, TopK
from rectory.models.recency import decay
from rectory.models.topk import empty_lists


@dataclass(frozen=True)
class LiveHistory:
    """All that a user took, the oldest first, training included.

    user: code or -1. items: (m,) codes of the model. time: (m,) seconds. weight: (m,) > 0. now: seconds.
    trained_until: seconds; what was taken from then on is news to the model.
    """

    user: int
    items: Int32Array
    time: Float64Array
    weight: Float32Array
    now: float
    trained_until: float

    def __len__(self) -> int:
        return len(self.items)

    @property
    def age_days(self) -> Float64Array:
        return np.maximum(self.now - self.time, 0.0) / SECONDS_PER_DAY

    @property
    def news(self) -> Array:
        """(m,) bool: taken since the training."""
        return self.time >= self.trained_until

    @property
    def moments_after(self) -> Array:
        """(m,) distinct later moments at which the user took anything."""
        new = np.ones(len(self.time), dtype=np.int64)
        new[1:] = self.time[1:] != self.time[:-1]
        moment = np.cumsum(new)
        return moment[-1] - moment if len(moment) else moment

    def faded(self, half_life_days: float | None, step_decay: float) -> Float64Array:
        """(m,) weight of each interaction by its age and by what the user took after it."""
        weight = self.weight * decay(self.age_days, half_life_days)
        return weight * np.power(step_decay, self.moments_after) if step_decay < 1.0 else weight


@runtime_checkable
class SupportsHistory(Protocol):
    """Can rank for a history that it never saw in training."""

    def recommend_for_history(
        self, history: LiveHistory, k: int, *, exclude: Int32Array | None = None, items: Int32Array | None = None
    ) -> TopK:
        """One ranked list.

        Args:
            exclude: codes that are not recommended. items: codes that may be; None: all.
        Returns:
            TopK of shape (1, k). Without news it is the list of `recommend`, up to how time counts in the model.
        """
        ...


def top_of(scores: Float32Array, k: int, exclude: Int32Array | None, items: Int32Array | None) -> TopK:
    """The k best of (n_items,) scores; they may be overwritten. Equal scores: the smaller code first."""
    if items is not None:
        kept = np.full(len(scores), -np.inf, dtype=np.float32)
        kept[items] = scores[items]
        scores = kept
    if exclude is not None and len(exclude):
        scores[exclude] = -np.inf
    result = empty_lists(1, k)
    fetch = min(k, len(scores))
    if fetch == 0:
        return result
    least = np.partition(scores, len(scores) - fetch)[len(scores) - fetch]
    some = np.flatnonzero(scores >= least) if np.isfinite(least) else np.flatnonzero(np.isfinite(scores))
    first = some[np.argsort(-scores[some], kind="stable")][:fetch]
    result.items[0, : len(first)], result.scores[0, : len(first)] = first, scores[first]
    return result


def listed(top: TopK) -> tuple[Int32Array, Float32Array]:
    """Items and scores of a (1, k) list without its empty places."""
    kept = top.items[0] != NO_ITEM
    return top.items[0][kept], top.scores[0][kept]


@dataclass(frozen=True)
class Usual:
    """moments: (d, d) mean outer product of the items' tastes. spread: of scores over users and items, biases aside."""

    moments: Float64Array
    spread: float

    @classmethod
    def of(cls, users: Float32Array, items: Float32Array) -> Usual:
        """users: (n_users, d). items: (n_items, d)."""
        crowd, shelf = (
            part.astype(np.float64).T @ part.astype(np.float64) / max(len(part), 1) for part in (users, items)
        )
        return cls(shelf, float(np.sqrt(max(np.sum(crowd * shelf), 1e-12))))


def folded_in(
    query: Float32Array,
    factors: Float32Array,
    usual: Usual,
    taken: Int32Array,
    weight: Float64Array,
    *,
    width: int,
) -> Float32Array:
    """A user's query moved towards what was taken since the training: a regularised d x d solve.

    The shift s minimises sum(w * (spread - v.s)^2) + n * s' M s + trace(M) * s.s over the items v taken, so that they
    rise by about the usual spread of scores, while the rest of the catalogue stays where it is on average.
    With nothing taken s is zero: the prior of the training (or of the user's features) alone.

    Source: the implicit least squares of Hu, Koren and Volinsky (2008), one row, around a prior.

    Args:
        query: (c,) the user's row. factors: (n_items, c). width: the first so many columns are tastes, the rest biases.
        usual: of all users and items; its `moments` are M.
        weight: (m,) of each item taken.
    """
    if not len(taken):
        return query
    vectors = factors[taken, :width].astype(np.float64)
    moments = usual.moments
    ridge = _CATALOGUE * moments + _RIDGE * np.trace(moments) / width * np.eye(width)
    shift = np.linalg.solve((vectors * weight[:, None]).T @ vectors + ridge, vectors.T @ (weight * usual.spread))
    moved = query.copy()
    moved[:width] += shift.astype(np.float32)
    return moved


_CATALOGUE = 3.0
"""Weight of keeping the rest of the catalogue in place, in interactions."""
_RIDGE = 1.0
"""Weight of the prior."""

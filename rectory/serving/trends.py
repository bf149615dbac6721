"""What is taken now: counts that fade, one vector for each half-life, an event at a time."""

from __future__ import annotations

import numpy as np

from rectory.arrays import Array, Float64Array, Int32Array
from rectory.features.training_set import SECONDS_PER_DAY

_FAR = 60.0
"""Half-lives after which the reference moment moves up: 2**60 is still exact in float64 beside 1."""
_STALE_EVENTS = 32
"""Events after which a list of what is on top is made anew."""


class Trend:
    """Weighted number of interactions of each item, half of it gone after a half-life.

    Values are kept as they would be at a reference moment, so an event costs one addition and asking costs nothing:
    fading touches all items alike and changes no order.

    Args:
        half_life_days: > 0. item, time, weight: (n,) rows so far. n_items: room to begin with.
        now: seconds; the reference moment to begin with.
    """

    def __init__(
        self, half_life_days: float, item: Array, time: Array, weight: Array, *, n_items: int, now: float
    ) -> None:
        self.half_life_days = half_life_days
        self._reference = now
        age = (now - time) / SECONDS_PER_DAY
        faded = weight * np.power(0.5, np.clip(age / half_life_days, -_FAR, 1000.0))
        self._value: Float64Array = np.bincount(item, faded, n_items).astype(np.float64)
        self._items = n_items
        self._most = float(self._value.max(initial=0.0))
        self._top: Int32Array = np.zeros(0, dtype=np.int32)
        # What may have come among the first since they were found; None: anything.
        self._risen: list[int] | None = None

    def grow(self, n_items: int) -> None:
        """Room for codes below n_items."""
        self._items = max(self._items, n_items)
        if n_items > len(self._value):
            more = np.zeros(max(n_items - len(self._value), len(self._value) // 8 + 64))
            self._value = np.concatenate([self._value, more])

    def add(self, item: int, time: float, weight: float) -> None:
        """One interaction, or one taken back (weight < 0); its code has room."""
        lives = (time - self._reference) / SECONDS_PER_DAY / self.half_life_days
        if lives > _FAR:
            factor = 0.5**lives
            self._value *= factor
            self._most *= factor
            self._reference, lives = time, 0.0
        # Taken back (weight < 0): never below nothing.
        value = max(self._value[item] + weight * 2.0 ** max(lives, -1000.0), 0.0)
        self._value[item] = value
        self._most = max(self._most, value)
        if weight < 0:
            self._risen = None
        elif self._risen is not None:
            self._risen.append(item)

    def shares(self, items: Array) -> Float64Array:
        """(m,) value of each item as a share of the largest, in [0, 1]."""
        return self._value[items] / (self._most or 1.0)

    def top(self, n: int) -> Int32Array:
        """Codes of about the n largest, the largest first; renewed every few events.

        Fading touches all alike: only what was taken since can have come among them.
        """
        if self._risen is None or len(self._top) < min(n, self._items):
            self._top, self._risen = self.best_of(np.arange(self._items), n), []
        elif len(self._risen) >= _STALE_EVENTS:
            some = np.unique(np.concatenate([self._top, np.array(self._risen, dtype=np.int32)]))
            self._top, self._risen = self.best_of(some, n), []
        return self._top

    def best_of(self, allowed: Array, n: int) -> Int32Array:
        """Codes of the n largest among the codes `allowed`, the largest first."""
        value = self._value[allowed]
        if len(allowed) > n:
            allowed = allowed[np.argpartition(-value, n - 1)[:n]]
        return allowed[np.argsort(-self._value[allowed], kind="stable")].astype(np.int32)

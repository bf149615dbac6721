"""What every user took, in order of time: the rows of the log, and what has happened since."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rectory.arrays import Array, Float32Array, Float64Array, Int32Array

_EMPTY = np.zeros(0)


@dataclass(frozen=True)
class Taken:
    """One user's interactions, the oldest first. items: (m,) codes. time: (m,) seconds. weight: (m,) > 0."""

    items: Int32Array
    time: Float64Array
    weight: Float32Array

    def __len__(self) -> int:
        return len(self.items)

    @classmethod
    def nothing(cls) -> Taken:
        return cls(_EMPTY.astype(np.int32), _EMPTY, _EMPTY.astype(np.float32))

    def with_more(self, items: list[int], time: list[float], weight: list[float]) -> Taken:
        """The same and later (or late) interactions, in order of time; of one moment in the order of arrival."""
        whole = Taken(
            np.concatenate([self.items, np.asarray(items, dtype=np.int32)]),
            np.concatenate([self.time, np.asarray(time, dtype=np.float64)]),
            np.concatenate([self.weight, np.asarray(weight, dtype=np.float32)]),
        )
        if len(whole) > 1 and (whole.time[1:] < whole.time[:-1]).any():
            order = np.argsort(whole.time, kind="stable")
            return Taken(whole.items[order], whole.time[order], whole.weight[order])
        return whole

    def last(self, n: int) -> Taken:
        """The newest n."""
        return self if len(self) <= n else Taken(self.items[-n:], self.time[-n:], self.weight[-n:])

    def steps_back(self, moment_seconds: float) -> Array:
        """(m,) 0 for the newest interaction; 1 more for each later one that is more than `moment_seconds` apart."""
        apart = np.ones(len(self), dtype=np.int64)
        apart[0:1] = 0
        if moment_seconds >= 0:
            apart[1:] = np.diff(self.time) > moment_seconds
        place = np.cumsum(apart)
        return place[-1] - place if len(place) else place


class Histories:
    """Histories of all users, sliced from one table, with fresh rows beside it.

    Args:
        user, item, time, weight: (n,) rows in any order.
        n_users: users with codes below it have a slice.
    """

    def __init__(self, user: Array, item: Array, time: Array, weight: Array, n_users: int) -> None:
        order = np.lexsort((time, user))
        self._item = item[order].astype(np.int32)
        self._time = time[order].astype(np.float64)
        self._weight = weight[order].astype(np.float32)
        self._ends = np.concatenate([[0], np.cumsum(np.bincount(user, minlength=n_users))]).astype(np.int64)
        # Users whose history is not the table's slice any more: what it is, and what has not been put into it yet.
        self._whole: dict[int, Taken] = {}
        self._waiting: dict[int, tuple[list[int], list[float], list[float]]] = {}
        self._fresh: dict[int, int] = {}

    def add(self, user: int, item: int, time: float, weight: float) -> None:
        """One more interaction of a user, known or not seen before."""
        items, times, weights = self._waiting.setdefault(user, ([], [], []))
        items.append(item)
        times.append(time)
        weights.append(weight)
        self._fresh[user] = self._fresh.get(user, 0) + 1

    def of(self, user: int) -> Taken:
        """All of a user's interactions; nothing for a code that has none."""
        whole = self._whole.get(user)
        if whole is None:
            whole = self._old(user)
        waiting = self._waiting.pop(user, None)
        if waiting is not None:
            whole = self._whole[user] = whole.with_more(*waiting)
        return whole

    def latest_first(self) -> Int32Array:
        """Users who have rows in the table, whoever took something last first."""
        some = np.flatnonzero(np.diff(self._ends))
        return some[np.argsort(-self._time[self._ends[some + 1] - 1], kind="stable")].astype(np.int32)

    def remove(self, user: int, item: int, time: float) -> float:
        """Take one interaction back, the one nearest in time; gives its weight, 0 if there is none."""
        whole = self.of(user)
        places = np.flatnonzero(whole.items == item)
        if not len(places):
            return 0.0
        at = places[np.argmin(np.abs(whole.time[places] - time))]
        kept = np.arange(len(whole)) != at
        self._whole[user] = Taken(whole.items[kept], whole.time[kept], whole.weight[kept])
        return float(whole.weight[at])

    def fresh(self, user: int) -> int:
        """Number of interactions since the table."""
        return self._fresh.get(user, 0)

    def forget(self, user: int) -> None:
        """Nothing of what this user has done so far is given out any more."""
        self._waiting.pop(user, None)
        self._fresh.pop(user, None)
        self._whole[user] = Taken.nothing()

    def _old(self, user: int) -> Taken:
        if user < 0 or user + 1 >= len(self._ends):
            return Taken.nothing()
        part = slice(int(self._ends[user]), int(self._ends[user + 1]))
        return Taken(self._item[part], self._time[part], self._weight[part])

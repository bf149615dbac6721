"""Who took the same things lately, and what they took right before and after them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rectory.arrays import Array, Float32Array, Float64Array, Int32Array
from rectory.serving.places import Places

_LATEST = 10
"""Interactions of a history by which people alike are found. 20 and 40 gave no more (docs/live.md)."""
_ANCHORS = 5
"""Of these, the latest, around which it is looked what those people took."""
_TAKERS = 500
"""Interactions with an item that are looked at, the latest."""
_ALIKE = 100
"""People who are looked at, the most similar."""
_STEP_DECAY = 0.8
"""Weight of a step back."""
_AFTER, _BEFORE = 10, 5
"""Interactions after and before that are looked at; the n-th counts 1/n, those before half of it."""
_END = -1


class People:
    """Sequence-aware nearest neighbours: users by what they took lately, and the order in which they took it.

    Source: Ludewig and Jannach, "Evaluation of Session-based Recommendation Algorithms", UMUAI 2018 (V-SKNN, S-SKNN);
    here the neighbours are users with all their history, not sessions.

    An interaction is a row that knows the same user's row before and after it; an item knows its latest rows.

    Args:
        user, item, time: (n,) rows in any order; of one moment in the order of arrival.
        n_items: room for the items of these rows.
    """

    def __init__(self, user: Array, item: Array, time: Array, n_items: int) -> None:
        order = np.lexsort((time, user))
        self._user, self._item = user[order].astype(np.int32), item[order].astype(np.int32)
        self._used = len(order)
        rows = np.arange(len(order), dtype=np.int32)
        last = _changes(self._user)
        self._after = np.where(last, _END, rows + 1).astype(np.int32)
        self._before = np.where(np.roll(last, 1), _END, rows - 1).astype(np.int32)
        self._newest: dict[int, int] = dict(zip(self._user[last].tolist(), rows[last].tolist(), strict=True))
        self._rows, self._ends = _latest_rows(self._user, self._item, time[order], n_items)
        self._fresh: dict[int, list[int]] = {}
        # The last place is that of -1: of who is forgotten.
        self._places = Places()
        self._places.grow(int(self._user.max(initial=0)) + 2)

    def take(self, user: int, item: int) -> None:
        """One more interaction, the user's newest."""
        row, before = self._used, self._newest.get(user, _END)
        if row == len(self._user):
            room = np.full(row // 8 + 1024, _END, dtype=np.int32)
            self._user, self._item = np.concatenate([self._user, room]), np.concatenate([self._item, room])
            self._after, self._before = np.concatenate([self._after, room]), np.concatenate([self._before, room])
        self._user[row], self._item[row] = user, item
        self._before[row], self._after[row] = before, _END
        if before != _END:
            self._after[before] = row
        self._newest[user] = row
        self._used = row + 1
        self._places.grow(user + 2)
        fresh = self._fresh.setdefault(item, [])
        fresh.append(row)
        if len(fresh) > 2 * _TAKERS:
            del fresh[:_TAKERS]

    def forget(self, user: int) -> None:
        """What this user took leads to nothing any more."""
        row = self._newest.pop(user, _END)
        while row != _END:
            self._user[row] = _END
            row = int(self._before[row])

    def alike(self, user: int, items: Int32Array, steps: Array) -> Alike:
        """The people who took the same things lately.

        Args:
            user: who asks, no neighbour of their own. items: (m,) of the history, the oldest first.
            steps: (m,) back of each.
        """
        items, steps = items[-_LATEST:], steps[-_LATEST:]
        rows = [self._rows_of(item) for item in items.tolist()]
        lengths = np.array([len(one) for one in rows])
        if not lengths.sum():
            return Alike(self, {}, items[:0], np.zeros(0))
        # What few took says more of who is alike.
        says = np.power(_STEP_DECAY, steps) / np.log(2.0 + lengths)
        who = self._user[np.concatenate(rows)]
        place = self._places.last_of_equals(who)
        likeness = np.bincount(place, np.repeat(says, lengths), len(who))
        likeness[(who == user) | (who == _END)] = 0.0
        people = likeness[place == np.arange(len(place))]
        if len(people) > _ALIKE:
            likeness[likeness < np.partition(people, len(people) - _ALIKE)[len(people) - _ALIKE]] = 0.0
        of_rows = np.split(likeness[place], np.cumsum(lengths)[:-1])
        # An item that was taken more than once counts where it was taken last.
        first = max(len(rows) - _ANCHORS, 0)
        around = {
            item: (one[of > 0], of[of > 0])
            for item, one, of in zip(items[first:].tolist(), rows[first:], of_rows[first:], strict=True)
        }
        weight = dict(zip(items[first:].tolist(), np.power(_STEP_DECAY, steps[first:]).tolist(), strict=True))
        return Alike(self, around, np.array(list(weight), dtype=np.int32), np.array(list(weight.values())))

    def around(self, rows: Int32Array, weights: Float64Array) -> tuple[Int32Array, Float32Array]:
        """What was taken right before and after some rows: item and value of each, an item may stand twice."""
        items, values = [], []
        for neighbour, reach, share in ((self._after, _AFTER, 1.0), (self._before, _BEFORE, 0.5)):
            at, weight = rows, weights * share
            for far in range(1, reach + 1):
                at = neighbour[at]
                there = at != _END
                at, weight = at[there], weight[there]
                items.append(self._item[at])
                values.append(weight / far)
        return np.concatenate(items), np.concatenate(values).astype(np.float32)

    def _rows_of(self, item: int) -> Int32Array:
        night = self._rows[self._ends[item] : self._ends[item + 1]] if item + 1 < len(self._ends) else self._rows[:0]
        fresh = self._fresh.get(item)
        return night if fresh is None else np.concatenate([night, np.array(fresh, dtype=np.int32)])


@dataclass(frozen=True)
class Alike:
    """People alike, by where they took the same things.

    rows: item -> rows of these people with it, and how alike each is. items: (m,) the items. weights: (m,) of each, by
    how lately the user took it.
    """

    people: People
    rows: Mapping[int, tuple[Int32Array, Float64Array]]
    items: Int32Array
    weights: Float64Array

    def links(self, items: Int32Array, weights: Array) -> tuple[Int32Array, Float32Array]:
        """What they took around some of `items`: column and value of each link."""
        found = [self.rows[item] for item in items.tolist()]
        if not found:
            return np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.float32)
        likeness = [alike * weight for (_, alike), weight in zip(found, weights.tolist(), strict=True)]
        return self.people.around(np.concatenate([rows for rows, _ in found]), np.concatenate(likeness))


def _changes(values: Array) -> Array:
    """(n,) bool: the next value is another, or there is none."""
    last = np.ones(len(values), dtype=bool)
    last[:-1] = values[1:] != values[:-1]
    return last


def _latest_rows(user: Int32Array, item: Int32Array, time: Array, n_items: int) -> tuple[Int32Array, Array]:
    """The latest rows of each item, the last of each user only, one item after another; and where each begins.

    Args:
        user, item, time: (n,) rows sorted by user and time.
    """
    order = np.argsort(item, kind="stable")
    order = order[_changes(user[order]) | _changes(item[order])]
    order = order[np.lexsort((-time[order], item[order]))]
    counts = np.bincount(item[order], minlength=n_items)
    starts = np.cumsum(counts) - counts
    place = np.arange(len(order)) - np.repeat(starts, counts)
    ends = np.concatenate([[0], np.cumsum(np.minimum(counts, _TAKERS))])
    return order[place < _TAKERS].astype(np.int32), ends

"""What goes with what: likeness of items from the night, and what is taken together, counted on while serving."""

from __future__ import annotations

from array import array
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from rectory.arrays import Array, Float32Array, Float64Array, Int32Array
from rectory.files import read_arrays, read_sparse, write_arrays, write_sparse
from rectory.models.item_to_item import strongest_per_row
from rectory.serving.histories import Taken

EARLIER = 12
"""Interactions before one that it may be counted to follow."""
STEPS = 5
"""Steps back beyond which nothing is counted; the n-th counts 1/n."""
_MOST = 400
"""Live counts kept of one item; the weaker half of them goes when there are more."""
_NEAR = 300
"""Items near each that are looked at, the strongest."""
_SHRINK = 5.0
"""Counts added to those out of an item before they become shares: a rare item says little."""
_DAMPING = 0.35
"""Power of an item's own number of interactions by which what is taken near it is divided."""


def gathered(matrix: csr_array, rows: Array, weights: Array) -> tuple[Int32Array, Float32Array]:
    """Columns and weighted values of all entries of some rows; rows beyond the matrix are empty."""
    inside = rows < matrix.shape[0]
    if not inside.all():
        rows, weights = rows[inside], weights[inside]
    starts = matrix.indptr[rows]
    lengths = matrix.indptr[rows + 1] - starts
    # Where each row's entries are, less the place at which they come to stand, plus that place.
    at = np.repeat(starts - np.cumsum(lengths) + lengths, lengths)
    at += np.arange(len(at), dtype=at.dtype)
    values = matrix.data.take(at)
    values *= np.repeat(weights.astype(values.dtype), lengths)
    return matrix.indices.take(at), values


def _narrow(matrix: csr_array) -> csr_array:
    """With indices of four bytes, as codes are: half the memory to look through."""
    narrow = csr_array(matrix.shape, dtype=np.float32)
    narrow.data, narrow.indices = (
        matrix.data.astype(np.float32, copy=False),
        matrix.indices.astype(np.int32, copy=False),
    )
    narrow.indptr = matrix.indptr
    return narrow


class Counts:
    """Counts between items: a matrix of the night, and what was added since.

    Args:
        night: (n, n) float32.
    """

    def __init__(self, night: csr_array) -> None:
        self.night = night
        self._live: dict[int, _Row] = {}

    def add(self, row: int, column: int, weight: float) -> None:
        live = self._live.get(row)
        if live is None:
            live = self._live[row] = _Row()
        live.add(column, weight)

    def links(self, rows: Int32Array, weights: Array) -> tuple[Int32Array, Float32Array]:
        """Column and weighted count of each entry of some rows; a column may stand twice."""
        columns, values = gathered(self.night, rows, weights)
        live = [(self._live[row], at) for at, row in enumerate(rows.tolist()) if row in self._live]
        if not live:
            return columns, values
        since = np.concatenate([row.values for row, _ in live], dtype=np.float32)
        since *= np.repeat(weights[[at for _, at in live]].astype(np.float32), [len(row.values) for row, _ in live])
        return np.concatenate([columns, *(row.columns for row, _ in live)], dtype=np.int32), np.concatenate(
            [values, since]
        )


class _Row:
    """Live counts of one item: columns, the value of each, and where a column stands.

    Python's arrays, not numpy's: to add one number to one of those takes eight times as long.
    """

    __slots__ = ("columns", "place", "values")

    def __init__(self) -> None:
        self.columns = array("i")
        self.values = array("f")
        self.place: dict[int, int] = {}

    def add(self, column: int, weight: float) -> None:
        place = self.place.get(column)
        if place is not None:
            self.values[place] += weight
            return
        if len(self.columns) == _MOST:
            self._drop_weaker_half()
        self.place[column] = len(self.columns)
        self.columns.append(column)
        self.values.append(weight)

    def _drop_weaker_half(self) -> None:
        kept = np.argsort(-np.array(self.values), kind="stable")[: _MOST // 2].tolist()
        self.columns = array("i", [self.columns[place] for place in kept])
        self.values = array("f", [self.values[place] for place in kept])
        self.place = {column: place for place, column in enumerate(self.columns)}


class Links:
    """Likeness (of the night) and what is taken after and near each item (counted on).

    Args:
        like: (n_items, n_items) float32, from the item taken to the item it speaks for; nothing negative.
        following: (n_items, n_items) float32, weighted number of times that the column was taken after the row.
        out: (n_items,) the same over all columns, also those that were not kept. taken: (n_items,) interactions.
        near: what `beside(following)` gives; None: it is made now.
        vectors: (n_items, d) of `embedding.embedded`; None: there are none.
    """

    def __init__(
        self,
        like: csr_array,
        following: csr_array,
        out: Float64Array,
        taken: Float64Array,
        *,
        near: csr_array | None = None,
        vectors: Float32Array | None = None,
    ) -> None:
        self.like, following = _narrow(like), _narrow(following)
        self._night = (following, out, taken)
        self._after = Counts(following)
        self._near = Counts(_narrow(beside(following) if near is None else near))
        self._out, self._taken = out.astype(np.float64), taken.astype(np.float64)
        self._damped = _damped(self._taken)
        self._vectors = np.zeros((0, 0), dtype=np.float32) if vectors is None else vectors

    def again(self) -> Links:
        """As it was in the night: counts of its own, matrices shared."""
        other = object.__new__(Links)
        other.like, other._night, other._vectors = self.like, self._night, self._vectors
        other._after, other._near = Counts(self._after.night), Counts(self._near.night)
        other._out, other._taken = self._night[1].astype(np.float64), self._night[2].astype(np.float64)
        other._damped = _damped(other._taken)
        return other

    def without_vectors(self) -> Links:
        """The same for weights that do not look at them."""
        other = self.again()
        other._vectors = np.zeros((0, 0), dtype=np.float32)
        return other

    def grow(self, n_items: int) -> None:
        """Room for codes below n_items."""
        more = n_items - len(self._out)
        if more > 0:
            room = np.zeros(more + len(self._out) // 8 + 64)
            self._out, self._taken = np.concatenate([self._out, room]), np.concatenate([self._taken, room])
            self._damped = _damped(self._taken)

    def take(self, item: int, earlier: list[int], weights: list[float], together: list[bool]) -> None:
        """Count that `item` was taken after the earlier ones, or together with them: then the order says nothing."""
        self._taken[item] += 1.0
        self._damped[item] = (self._taken[item] + 2.0) ** -_DAMPING
        for before, weight, same in zip(earlier, weights, together, strict=True):
            if before == item:
                continue
            self._after.add(before, item, weight)
            self._out[before] += weight
            if same:
                self._after.add(item, before, weight)
                self._out[item] += weight
            both = 2.0 * weight if same else weight
            self._near.add(before, item, both)
            self._near.add(item, before, both)

    def liked(self, items: Int32Array, weights: Array) -> tuple[Int32Array, Float32Array]:
        """What `items` speak for: column and value of each link."""
        return gathered(self.like, items, weights)

    def next(self, items: Int32Array, weights: Array) -> tuple[Int32Array, Float32Array]:
        """What is taken after `items`, as shares of all that is."""
        return self._after.links(items, weights / (self._out[items] + _SHRINK))

    def near(self, items: Int32Array, weights: Array) -> tuple[Int32Array, Float32Array]:
        """What is taken before or after `items`, popular ones damped."""
        column, value = self._near.links(items, weights / np.sqrt(self._taken[items] + 1.0))
        return column, value * self._damped[column]

    def kindred(self, items: Int32Array, taken: Int32Array, weights: Array) -> Float32Array:
        """(m,) cosine of each of `items` with the weighted sum of what was taken, at least 0; of new items 0."""
        found, n = np.zeros(len(items), dtype=np.float32), len(self._vectors)
        known, old = taken < n, np.flatnonzero(items < n)
        wanted = weights[known].astype(np.float32) @ self._vectors[taken[known]]
        length = float(np.linalg.norm(wanted))
        if length > 0:
            found[old] = np.maximum(self._vectors[items[old]] @ (wanted / length), 0.0)
        return found

    def kindred_each(self, item: int, taken: Int32Array, weights: Array) -> Float64Array:
        """(m,) what each of those taken adds to the likeness of `item`, where it adds something."""
        n = len(self._vectors)
        if item >= n:
            return np.zeros(len(taken))
        found, known = np.zeros(len(taken)), taken < n
        found[known] = np.maximum(self._vectors[taken[known]] @ self._vectors[item], 0.0) * weights[known]
        return found

    def row(self, item: int) -> Float64Array:
        """(n,) how much each item goes with one, in [0, 2]."""
        found = np.zeros(len(self._out))
        one = np.array([item], dtype=np.int32)
        for column, value in (self.liked(one, np.ones(1)), self.near(one, np.ones(1))):
            sums = np.bincount(column, value, len(found))
            found += sums / max(float(sums.max(initial=0.0)), 1e-9)
        return found

    def save(self, folder: Path) -> None:
        """like.npz, following.npz, near.npz, counts.npz and, if there are, vectors.npz: what was known in the night."""
        following, out, taken = self._night
        write_sparse(folder / "near.npz", self._near.night)
        write_sparse(folder / "like.npz", self.like)
        write_sparse(folder / "following.npz", following)
        write_arrays(folder / "counts.npz", {"out": out, "taken": taken})
        if len(self._vectors):
            write_arrays(folder / "vectors.npz", {"vectors": self._vectors})

    @classmethod
    def load(cls, folder: Path) -> Links:
        counts = read_arrays(folder / "counts.npz")
        like, following = read_sparse(folder / "like.npz"), read_sparse(folder / "following.npz")
        # Earlier versions did not keep it.
        near = read_sparse(folder / "near.npz") if (folder / "near.npz").is_file() else None
        file = folder / "vectors.npz"
        vectors = read_arrays(file)["vectors"] if file.is_file() else None
        return cls(like, following, counts["out"], counts["taken"], near=near, vectors=vectors)


def followed(before: Taken, moment: float, moment_seconds: float) -> tuple[list[int], list[float], list[bool]]:
    """What an interaction at `moment` follows: items, how much each counts, and which belong to the same moment."""
    items, weights, together = [], [], []
    step, later = 0, moment
    newest = before.last(EARLIER)
    for lag, (item, time_) in enumerate(zip(newest.items[::-1].tolist(), newest.time[::-1].tolist(), strict=True)):
        if moment_seconds < 0:
            step = lag
        elif later - time_ > moment_seconds:
            step += 1
        later = time_
        if step >= STEPS:
            break
        items.append(item)
        weights.append(1.0 / (step + 1.0))
        together.append(moment - time_ <= max(moment_seconds, 0.0))
    return items, weights, together


def beside(following: csr_array) -> csr_array:
    """(n_items, n_items) what is taken before or after each item, the strongest."""
    return strongest_per_row(csr_array(following + following.T), _NEAR)


def _damped(taken: Float64Array) -> Float32Array:
    return np.power(taken + 2.0, -_DAMPING).astype(np.float32)


def steps_weight(steps: Array) -> Float32Array:
    """(m,) what an interaction so many steps back (0: the newest) counts as followed."""
    return np.where(steps < STEPS, 1.0 / (steps + 1.0), 0.0).astype(np.float32)

"""What goes with what: likeness of items from the night, and what is taken next, counted on while serving."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from rectory.arrays import Array, Float32Array, Float64Array, Int32Array
from rectory.files import read_sparse, write_sparse

_MOST_FOLLOWERS = 200
"""Items after an item that are counted while serving; the weakest half of them goes when there are more."""
_BASE = 3.0
"""Live interactions that the shares counted in training weigh as much as."""


def gathered(matrix: csr_array, rows: Array, weights: Array) -> tuple[Int32Array, Float64Array, Array]:
    """Columns, weighted values and place in `rows` of all entries of some rows; rows beyond the matrix are empty."""
    inside = rows < matrix.shape[0]
    place = np.flatnonzero(inside)
    rows, weights = rows[inside], weights[inside]
    starts = matrix.indptr[rows]
    lengths = matrix.indptr[rows + 1] - starts
    total = int(lengths.sum())
    at = np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(total)
    return matrix.indices[at], matrix.data[at] * np.repeat(weights, lengths), np.repeat(place, lengths)


class Links:
    """Likeness (static) and followers (live) of items.

    Args:
        like: (n_items, n_items) float32, from the item taken to the item it speaks for; nothing negative.
        following: (n_items, n_items) float32, shares of what is taken after each item, as counted in training.
    """

    def __init__(self, like: csr_array, following: csr_array) -> None:
        self.like, self.following = like, following
        self._counts: dict[int, dict[int, float]] = {}
        self._out: dict[int, float] = {}

    def follow(self, before: int, after: int, weight: float) -> None:
        """Count that `after` was taken after `before`."""
        counts = self._counts.setdefault(before, {})
        counts[after] = counts.get(after, 0.0) + weight
        self._out[before] = self._out.get(before, 0.0) + weight
        if len(counts) > _MOST_FOLLOWERS:
            kept = sorted(counts.items(), key=lambda one: -one[1])[: _MOST_FOLLOWERS // 2]
            self._counts[before] = dict(kept)

    def liked(self, items: Int32Array, weights: Array) -> tuple[Int32Array, Float64Array, Array]:
        """What `items` speak for: column, value and place in `items` of each link."""
        return gathered(self.like, items, weights)

    def next(self, items: Int32Array, weights: Array) -> tuple[Int32Array, Float64Array, Array]:
        """What is taken after `items`: column, value and place in `items` of each link, live counts included."""
        live = [(place, self._out[item]) for place, item in enumerate(items.tolist()) if item in self._out]
        if not live:
            return gathered(self.following, items, weights)
        base = np.array(weights, dtype=np.float64)
        columns, values, places = [], [], []
        for place, out in live:
            counts = self._counts[int(items[place])]
            share = weights[place] / (_BASE + out)
            base[place] *= _BASE / (_BASE + out)
            columns.append(np.fromiter(counts, dtype=np.int32, count=len(counts)))
            values.append(np.fromiter(counts.values(), dtype=np.float64, count=len(counts)) * share)
            places.append(np.full(len(counts), place))
        column, value, where = gathered(self.following, items, base)
        return (
            np.concatenate([column, *columns]),
            np.concatenate([value, *values]),
            np.concatenate([where, *places]),
        )

    def save(self, folder: Path) -> None:
        """like.npz and following.npz: what was known in the night."""
        write_sparse(folder / "like.npz", self.like)
        write_sparse(folder / "following.npz", self.following)

    @classmethod
    def load(cls, folder: Path) -> Links:
        return cls(read_sparse(folder / "like.npz"), read_sparse(folder / "following.npz"))


def row_of(matrix: csr_array, item: int) -> tuple[Int32Array, Float32Array]:
    """Columns and values of one row; nothing beyond the matrix."""
    if not 0 <= item < matrix.shape[0]:
        return np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.float32)
    part = slice(int(matrix.indptr[item]), int(matrix.indptr[item + 1]))
    return matrix.indices[part], matrix.data[part]

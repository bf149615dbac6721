"""A linear model from all of a history to each item, in closed form.

Source: Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csr_array

from rectory.arrays import Array, Float32Array
from rectory.errors import RectoryError
from rectory.features.training_set import TrainingSet
from rectory.models.neighbours import Likeness, ReadsHistory, recent_history, taken, with_diagonal
from rectory.models.recency import decay
from rectory.models.topk import pairs_of
from rectory.params.candidates import EaseParams

_COLUMNS_AT_ONCE = 512
_HALF_LIVES_IN_LOG = 4.0
"""How often the weight of an interaction halves from the end of the log to its start when items are kept by it."""


class Ease(ReadsHistory[EaseParams]):
    """The user's history, recent items weighing more, times learned weights from item to item, some below 0."""

    params_class = EaseParams
    _reason = "goes with {item}, taken before"

    def _likeness(self, train: TrainingSet, chosen: dict[str, Any] | None) -> Likeness:  # noqa: ARG002
        return _Solved(train, self._params.max_items, self._params.links)


class _Solved:
    """The Gram matrix of one training set and the weights that were solved last."""

    def __init__(self, train: TrainingSet, max_items: int, links: int) -> None:
        self.kept, touched = kept_items(train, max_items)
        self.facts: dict[str, Any] = {"items_kept": len(self.kept)}
        self.notes: list[str] = []
        if len(self.kept) < touched:
            self.notes.append(
                f"Solved for the {len(self.kept):,} most taken of {touched:,} items (max_items): it takes a dense "
                f"matrix of {len(self.kept):,} x {len(self.kept):,}. The others stand behind them by popularity."
            )
        self._train = train
        self._links = links
        self._gram: Float32Array | None = None
        self._last: tuple[float, csr_array] | None = None

    def parts(self, chosen: dict[str, Any]) -> tuple[csr_array, csr_array]:
        history = recent_history(self._train, chosen["half_life_days"], chosen["step_decay"])
        return history, with_diagonal(self._weights(chosen["l2"]), chosen["self_weight"])

    def _weights(self, l2: float) -> csr_array:
        """(n_items, n_items) float32: into each kept item the strongest ones of kept items."""
        if self._last is None or self._last[0] != l2:
            if self._gram is None:
                self._gram = gram(taken(self._train)[:, self.kept])
            found = strongest_per_column(ease_weights(self._gram, l2), self._links)
            row, column = pairs_of(found)
            shape = (self._train.n_items, self._train.n_items)
            weights = csr_array((found.data, (self.kept[row], self.kept[column])), shape=shape)
            weights.sort_indices()
            self._last = (l2, weights)
        return self._last[1]


def kept_items(train: TrainingSet, most: int) -> tuple[Array, int]:
    """Codes, ascending, of the `most` items with the most interactions, old ones counting less; items with any."""
    age = train.age_days()
    span = float(age.max(initial=0.0))
    weight = decay(age, span / _HALF_LIVES_IN_LOG if span > 0 else None)
    counts = np.bincount(train.item, weights=weight, minlength=train.n_items)
    touched = int(np.count_nonzero(counts))
    # Stable: of equal counts the smaller code stays.
    return np.sort(np.argsort(-counts, kind="stable")[: min(most, touched)]), touched


def gram(users_items: csr_array) -> Float32Array:
    """(n_items, n_items) how many users took both, a block of rows at a time: the sparse product would not fit."""
    columns = csr_array(users_items.T)
    n = columns.shape[0]
    result = np.empty((n, n), dtype=np.float32)
    for start in range(0, n, _COLUMNS_AT_ONCE):
        result[start : start + _COLUMNS_AT_ONCE] = (columns[start : start + _COLUMNS_AT_ONCE] @ users_items).toarray()
    return result


def ease_weights(gram: Float32Array, l2: float) -> Float32Array:
    """Closed-form item-item weights, zero on the diagonal.

    Args:
        gram: (n, n) symmetric, non-negative counts; not changed.
        l2: ridge term on the diagonal, > 0, in units of the mean of the diagonal: so it means the same on logs of
            other sizes.
    Returns:
        (n, n) float32 W with scores = history @ W; C order, since scipy copies any other each time it multiplies.
        Needs 12 * n**2 bytes (8,000 items: 0.8 GB) and n**3 multiplications beside what it returns.
    Raises:
        RectoryError: numerically singular, which an l2 that is not tiny rules out.
    """
    from scipy.linalg.lapack import spotrf, spotri

    n = len(gram)
    ridged = gram.copy()
    diagonal = np.diag_indices(n)
    ridged[diagonal] += np.float32(l2 * max(float(gram.diagonal().mean()) if n else 1.0, 1.0))
    # A symmetric matrix is its own transpose: the transposed view is what LAPACK takes without a copy.
    factor, failed = spotrf(ridged.T, lower=1, overwrite_a=1, clean=0)
    if failed:
        raise RectoryError(f"ease: the item matrix is singular with l2 {l2:g}: raise `l2` of the candidate.")
    inverse, _ = spotri(factor, lower=1, overwrite_c=1)
    whole = _mirrored(np.asarray(inverse))
    weights = np.divide(whole, -whole.diagonal()[None, :], dtype=np.float32)
    weights[diagonal] = 0.0
    return np.ascontiguousarray(weights)


def strongest_per_column(weights: Float32Array, links: int) -> csr_array:
    """(n, n) float32: of each column the `links` entries that are farthest from 0; of equal ones the upper."""
    n = len(weights)
    if links >= n:
        return csr_array(weights)
    parts = []
    for start in range(0, n, _COLUMNS_AT_ONCE):
        block = np.ascontiguousarray(weights[:, start : start + _COLUMNS_AT_ONCE].T)
        size = np.abs(block)
        least = np.partition(size, n - links, axis=1)[:, n - links, None]
        above, equal = size > least, size == least
        room = links - above.sum(axis=1, keepdims=True)
        column, row = np.nonzero((above | (equal & (np.cumsum(equal, axis=1) <= room))) & (size > 0))
        parts.append((block[column, row], row, column + start))
    data, row, column = (np.concatenate(part) for part in zip(*parts, strict=True))
    return csr_array((data, (row, column)), shape=weights.shape)


def _mirrored(lower: Array) -> Float32Array:
    """The symmetric matrix whose lower triangle is given; in place, a block of rows at a time."""
    n = len(lower)
    for start in range(0, n, _COLUMNS_AT_ONCE):
        stop = min(n, start + _COLUMNS_AT_ONCE)
        own = lower[start:stop, start:stop]
        own[:] = np.tril(own) + np.tril(own, -1).T
        lower[start:stop, stop:] = lower[stop:, start:stop].T
    return lower

"""Which places of ranked lists hold a relevant item."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from rectory.arrays import Array, BoolArray


def hit_matrix(items: Array, relevant: csr_array) -> BoolArray:
    """Mark the relevant items in ranked lists.

    Args:
        items: (n, k) item codes, best first; negative codes fill up short lists and never hit.
        relevant: (n, n_items), row i belongs to list i; every stored entry is relevant, whatever its value.
    Returns:
        (n, k) bool. An item that a list holds twice hits at its first place only.
    Raises:
        ValueError: the numbers of rows differ, or a code is not below n_items.
    """
    lists, k = items.shape
    n_items = int(relevant.shape[1])
    if relevant.shape[0] != lists:
        raise ValueError(f"{lists} lists, but {relevant.shape[0]} rows of relevant items")
    if items.size and int(items.max()) >= n_items:
        raise ValueError(f"item code {int(items.max())} is not below the number of items, {n_items}")
    wanted = np.sort(_pair_keys(np.repeat(np.arange(lists), np.diff(relevant.indptr)), relevant.indices, n_items))
    if not wanted.size or not items.size:
        return np.zeros((lists, k), dtype=bool)
    offered = _pair_keys(np.arange(lists)[:, None], items, n_items)
    place = np.minimum(np.searchsorted(wanted, offered), wanted.size - 1)
    hits: BoolArray = (wanted[place] == offered) & (items >= 0) & ~_repeated(items)
    return hits


def _pair_keys(row: Array, item: Array, n_items: int) -> Array:
    """One int64 for each (row, item); needs rows * items < 2**63."""
    return np.asarray(row, dtype=np.int64) * n_items + np.asarray(item, dtype=np.int64)


def _repeated(items: Array) -> BoolArray:
    """(n, k) bool: the same code stands further left in the row."""
    # Stable sort: of equal codes the leftmost comes first and is the one that is kept.
    order = np.argsort(items, axis=1, kind="stable")
    ordered = np.take_along_axis(items, order, axis=1)
    again = np.zeros(items.shape, dtype=bool)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    result = np.zeros(items.shape, dtype=bool)
    np.put_along_axis(result, order, again, axis=1)
    return result

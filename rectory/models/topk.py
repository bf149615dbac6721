"""Ranked lists from scores, for many users at once. Equal scores: the smaller item code first, always."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from rectory.arrays import Array, Float32Array, Int32Array
from rectory.models.protocol import NO_ITEM, TopK

_MAX_CELLS = 4_000_000
"""Cells of a scratch matrix (16 MB in float32): large enough for BLAS, small enough for the cache's sake."""
_STRIPE = 64
"""Items that share one maximum in `rank_factors`."""
_SPARE = 6
"""Items fetched beyond k in `rank_factors`, so that ties at the end of a list are seen."""


def empty_lists(n: int, k: int) -> TopK:
    """n lists of k places without an item."""
    return TopK(np.full((n, k), NO_ITEM, dtype=np.int32), np.full((n, k), -np.inf, dtype=np.float32))


def excluding_self(items: Int32Array, n_items: int) -> csr_array:
    """(n, n_items): row i holds items[i] alone."""
    n = len(items)
    ones = np.ones(n, dtype=np.float32)
    return csr_array((ones, items.astype(np.int32), np.arange(n + 1, dtype=np.int32)), shape=(n, n_items))


def pairs_of(matrix: csr_array) -> tuple[Array, Array]:
    """Row and column of each stored entry, in storage order."""
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr)), matrix.indices


def rank_shared(scores: Float32Array, n: int, k: int, exclude: csr_array | None, items: Int32Array | None) -> TopK:
    """Lists for n users who share one score for each item.

    Args:
        scores: (n_items,).
        exclude: (n, n_items), stored entries are left out.
        items: codes that may be ranked; None: all.
    """
    codes = np.arange(len(scores)) if items is None else np.sort(np.asarray(items))
    # Stable: ties stay in order of code.
    order = codes[np.argsort(-scores[codes], kind="stable")]
    place = np.full(len(scores), len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    result = empty_lists(n, k)
    longest = 0 if exclude is None or n == 0 else int(np.diff(exclude.indptr).max())
    depth = min(len(order), k + longest)
    if depth == 0:
        return result
    step = max(1, _MAX_CELLS // depth)
    for start in range(0, n, step):
        stop = min(n, start + step)
        free = np.ones((stop - start, depth), dtype=bool)
        if exclude is not None:
            rows, taken = pairs_of(exclude[start:stop])
            near = place[taken] < depth
            free[rows[near], place[taken[near]]] = False
        rank = np.cumsum(free, axis=1)
        rows, places = np.nonzero(free & (rank <= k))
        ranks = rank[rows, places] - 1
        result.items[start + rows, ranks] = order[places]
        result.scores[start + rows, ranks] = scores[order[places]]
    return result


def rank_pairs(rows: Array, items: Array, scores: Array, n: int, k: int) -> TopK:
    """Lists from scored (row, item) pairs, each pair at most once."""
    result = empty_lists(n, k)
    scores = scores.astype(np.float32)
    order = np.lexsort((items, -scores, rows))
    rows, items, scores = rows[order], items[order], scores[order]
    rank = np.arange(len(rows)) - np.searchsorted(rows, rows, side="left")
    kept = rank < k
    result.items[rows[kept], rank[kept]] = items[kept]
    result.scores[rows[kept], rank[kept]] = scores[kept]
    return result

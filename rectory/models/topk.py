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


def rank_factors(
    queries: Float32Array, factors: Float32Array, k: int, exclude: csr_array | None, items: Int32Array | None
) -> TopK:
    """Lists by the inner product of each query with each item.

    Exact. A matrix product in cache-sized pieces; then only the stripes of items that hold one of the k largest
    stripe maxima are looked at, since no other stripe can hold one of the k best items.

    Args:
        queries: (n, d).
        factors: (n_items, d), C order.
        exclude: (n, n_items), stored entries are left out.
        items: distinct codes that may be ranked; None: all.
    """
    n, n_items = len(queries), len(factors)
    codes = None if items is None else np.sort(np.asarray(items))
    kept = factors if codes is None else np.ascontiguousarray(factors[codes])
    result = empty_lists(n, k)
    fetch = min(len(kept), k + _SPARE)
    if fetch == 0 or n == 0:
        return result
    stripes = -(-len(kept) // _STRIPE)
    width = stripes * _STRIPE
    if codes is not None:
        place = np.full(n_items, -1, dtype=np.int64)
        place[codes] = np.arange(len(codes))
    step = min(n, max(1, _MAX_CELLS // width))
    # One scratch for all pieces; the padding stays -inf.
    scratch = np.full((step, width), -np.inf, dtype=np.float32)
    for start in range(0, n, step):
        part = queries[start : start + step]
        scores = scratch[: len(part)]
        np.matmul(part, kept.T, out=scores[:, : len(kept)])
        if exclude is not None:
            rows, taken = pairs_of(exclude[start : start + step])
            if codes is not None:
                taken = place[taken]
                rows, taken = rows[taken >= 0], taken[taken >= 0]
            scores[rows, taken] = -np.inf
        found, values = _best(scores, fetch, k, stripes)
        # Columns of the padding are found too; their -inf makes them NO_ITEM below.
        own = found if codes is None else codes[np.minimum(found, len(codes) - 1)]
        end = start + len(part)
        width_found = min(k, found.shape[1])
        missing = np.isneginf(values[:, :width_found])
        result.items[start:end, :width_found] = np.where(missing, NO_ITEM, own[:, :width_found])
        result.scores[start:end, :width_found] = values[:, :width_found]
    return result


def _best(scores: Float32Array, fetch: int, k: int, stripes: int) -> tuple[Array, Float32Array]:
    """Columns and values of the `fetch` largest scores in each row, falling, ties by column.

    Args:
        scores: (n, stripes * _STRIPE); column j belongs to stripe j % stripes.
    """
    n = len(scores)
    if stripes > 2 * fetch:
        # Reducing over the middle axis keeps the inner loop contiguous.
        maxima = scores.reshape(n, _STRIPE, stripes).max(axis=1)
        chosen = np.argpartition(-maxima, fetch - 1, axis=1)[:, :fetch]
        columns = (chosen[:, None, :] + (np.arange(_STRIPE) * stripes)[None, :, None]).reshape(n, -1)
        values = np.take_along_axis(scores, columns, axis=1)
    else:
        columns = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
        values = scores
    if values.shape[1] > fetch:
        near = np.argpartition(-values, fetch - 1, axis=1)[:, :fetch]
        columns, values = np.take_along_axis(columns, near, axis=1), np.take_along_axis(values, near, axis=1)
    order = np.lexsort((columns, -values), axis=1)
    columns, values = np.take_along_axis(columns, order, axis=1), np.take_along_axis(values, order, axis=1)
    # A tie that reaches the last fetched place may go on beyond it: sort these (rare) rows whole.
    if fetch > k:
        tied = np.flatnonzero((values[:, k - 1] == values[:, -1]) & np.isfinite(values[:, -1]))
    else:
        tied = np.flatnonzero(np.isfinite(values[:, -1])) if fetch < scores.shape[1] else np.arange(0)
    for row in tied:
        full = np.argsort(-scores[row], kind="stable")[:fetch]
        columns[row], values[row] = full, scores[row, full]
    return columns, values

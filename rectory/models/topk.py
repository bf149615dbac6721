"""Ranked lists from scores, for many users at once. Equal scores: the smaller item code first, always."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_array

from rectory.arrays import Array, Float32Array, Int32Array
from rectory.models.protocol import NO_ITEM, TopK

_MAX_CELLS = 1_000_000
"""Cells of a scratch matrix (4 MB in float32): large enough for BLAS, small enough for the cache's sake."""
_LEAST_ROWS = 64
"""Queries in a matrix product, whatever the catalogue: BLAS packs all factors anew each time, which with ten rows costs
more than the product (measured: half the speed among 92,000 items). The scratch is then 256 bytes an item."""
_SPARE = 6
"""Items fetched beyond k in `rank_factors`, so that ties at the end of a list are seen."""
_PAIRS_AT_ONCE = 1 << 18
_ROUNDING = 1e-5
"""Relative difference that a matrix product in float32 may have from the same sum in another order."""


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
    result = empty_lists(n, k)
    longest = 0 if exclude is None or n == 0 else int(np.diff(exclude.indptr).max())
    depth = min(len(codes), k + longest)
    if depth == 0:
        return result
    if 8 * depth < len(codes):
        # Sorting all of a large catalogue would cost ten times as much as finding the few that can be needed.
        own = scores[codes]
        codes = codes[own >= np.partition(own, len(own) - depth)[len(own) - depth]]
    # Stable: ties stay in order of code.
    order = codes[np.argsort(-scores[codes], kind="stable")][:depth]
    place = np.full(len(scores), depth, dtype=np.int64)
    place[order] = np.arange(depth)
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
    # Items that share a maximum: balances looking at the maxima against looking into the chosen stripes.
    stripe = max(1, round(math.sqrt(len(kept) / fetch)))
    stripes = -(-len(kept) // stripe)
    width = stripes * stripe
    if codes is not None:
        place = np.full(n_items, -1, dtype=np.int64)
        place[codes] = np.arange(len(codes))
    step = min(n, max(_LEAST_ROWS, _MAX_CELLS // width))
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
        found, values = _best(scores, fetch, stripe)
        found, values = _exactly(part, kept, found, values)
        if fetch < len(kept):
            # Where the end of a list ties with the last item fetched, more may tie beyond it.
            tail, last = values[:, k - 1], values[:, -1]
            with np.errstate(invalid="ignore"):
                tied = np.isfinite(last) & (tail - last <= _ROUNDING * np.maximum(1.0, np.abs(tail)))
            for row in np.flatnonzero(tied):
                found[row], values[row] = _whole(part[row], kept, scores[row], fetch)
        own = found if codes is None else codes[found]
        end, length = start + len(part), min(k, fetch)
        missing = np.isneginf(values[:, :length])
        result.items[start:end, :length] = np.where(missing, NO_ITEM, own[:, :length])
        result.scores[start:end, :length] = values[:, :length]
    return result


def score_factor_pairs(
    queries: Float32Array, factors: Float32Array, users: Int32Array, items: Int32Array
) -> Float32Array:
    """(n,) scores of pairs, equal to those in the lists of `rank_factors` to the bit.

    Args:
        queries: (n_users, d). factors: (n_items, d).
        users, items: (n,) rows of them; -1 is the last query.
    """
    scores = np.empty(len(users), dtype=np.float32)
    for start in range(0, len(users), _PAIRS_AT_ONCE):
        part = slice(start, start + _PAIRS_AT_ONCE)
        scores[part] = np.einsum("nd,nd->n", queries[users[part]], factors[items[part]])
    return scores


def rank_blocks(
    scores: Callable[[int, int], Float32Array],
    n: int,
    n_items: int,
    k: int,
    *,
    exclude: csr_array | None = None,
    items: Int32Array | None = None,
) -> TopK:
    """Lists from scores that are made a block of rows at a time, each exact as it stands.

    Args:
        scores: (start, stop) -> (stop - start, n_items) scores of these rows; what it returns may be overwritten.
        exclude: (n, n_items), stored entries are left out.
        items: distinct codes that may be ranked; None: all.
    """
    codes = np.arange(n_items) if items is None else np.sort(np.asarray(items))
    result = empty_lists(n, k)
    fetch = min(len(codes), k + _SPARE)
    if fetch == 0 or n == 0:
        return result
    stripe = max(1, round(math.sqrt(len(codes) / fetch)))
    width = -(-len(codes) // stripe) * stripe
    step = min(n, max(_LEAST_ROWS, _MAX_CELLS // max(width, n_items)))
    scratch = np.full((step, width), -np.inf, dtype=np.float32)
    for start in range(0, n, step):
        stop = min(n, start + step)
        block = scores(start, stop)
        if exclude is not None:
            block[pairs_of(exclude[start:stop])] = -np.inf
        part = scratch[: stop - start]
        part[:, : len(codes)] = block if items is None else block[:, codes]
        found, values = _best(part, fetch, stripe)
        order = np.lexsort((found, -values), axis=1)
        found, values = np.take_along_axis(found, order, axis=1), np.take_along_axis(values, order, axis=1)
        length = min(k, fetch)
        if fetch < len(codes):
            # Where the end of a list ties with the last item fetched, more may tie beyond it.
            for row in np.flatnonzero(np.isfinite(values[:, -1]) & (values[:, length - 1] == values[:, -1])):
                found[row] = _first_of_equals(part[row, : len(codes)], values[row, -1], fetch)
                values[row] = part[row, found[row]]
        missing = np.isneginf(values[:, :length])
        own = codes[np.minimum(found[:, :length], len(codes) - 1)]
        result.items[start:stop, :length] = np.where(missing, NO_ITEM, own)
        result.scores[start:stop, :length] = values[:, :length]
    return result


def _first_of_equals(scores: Float32Array, last: float, fetch: int) -> Array:
    """Columns of the `fetch` largest scores, which end at `last`, in order; of equal ones the smaller columns."""
    above, equal = np.flatnonzero(scores > last), np.flatnonzero(scores == last)
    return np.concatenate([above[np.argsort(-scores[above], kind="stable")], equal[: fetch - len(above)]])


def _best(scores: Float32Array, fetch: int, stripe: int) -> tuple[Array, Float32Array]:
    """Columns and values of the `fetch` largest scores in each row, in no order.

    Args:
        scores: (n, stripes * stripe); column j belongs to stripe j % stripes.
    """
    n, width = scores.shape
    stripes = width // stripe
    # Reducing over the middle axis keeps the inner loop contiguous.
    maxima = scores.reshape(n, stripe, stripes).max(axis=1)
    chosen = _largest(maxima, fetch)
    columns = (chosen[:, None, :] + (np.arange(stripe) * stripes)[None, :, None]).reshape(n, -1)
    values = np.take_along_axis(scores, columns, axis=1)
    near = _largest(values, fetch)
    return np.take_along_axis(columns, near, axis=1), np.take_along_axis(values, near, axis=1)


def _largest(values: Float32Array, count: int) -> Array:
    """(n, count) places of the largest values of each row, in no order."""
    width = values.shape[1]
    if width <= count:
        return np.broadcast_to(np.arange(width), values.shape)
    return np.argpartition(values, width - count, axis=1)[:, width - count :]


def _exactly(
    queries: Float32Array, factors: Float32Array, found: Array, values: Float32Array
) -> tuple[Array, Float32Array]:
    """The found columns in order, with scores that depend on nothing but the two vectors.

    A matrix product rounds differently at the edges of its blocks: equal items would differ in the last bit, and a
    user's list would depend on who else was asked for.
    """
    found = np.minimum(found, len(factors) - 1)  # columns of the padding; their value is -inf
    exact = np.einsum("nd,nfd->nf", queries, factors[found])
    exact[np.isneginf(values)] = -np.inf
    order = np.lexsort((found, -exact), axis=1)
    return np.take_along_axis(found, order, axis=1), np.take_along_axis(exact, order, axis=1)


def _whole(query: Float32Array, factors: Float32Array, scores: Float32Array, fetch: int) -> tuple[Array, Float32Array]:
    """The same for one row, by sorting all of it."""
    exact = np.einsum("nd,nfd->nf", query[None, :], factors[None, :, :])[0]
    exact[np.isneginf(scores[: len(factors)])] = -np.inf
    first = np.argsort(-exact, kind="stable")[:fetch]
    return first, exact[first]

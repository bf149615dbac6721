"""Ranking against a slow second implementation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array, random_array

from rectory.models.protocol import NO_ITEM
from rectory.models.topk import rank_blocks, rank_factors, rank_pairs, rank_shared


def slowly(scores, k, exclude, items):
    """Lists by sorting each row whole."""
    n, n_items = scores.shape
    result = np.full((n, k), NO_ITEM)
    for row in range(n):
        hidden = set() if exclude is None else set(exclude[[row]].indices.tolist())
        allowed = range(n_items) if items is None else items.tolist()
        ranked = sorted((code for code in allowed if code not in hidden), key=lambda code: (-scores[row, code], code))
        result[row, : len(ranked[:k])] = ranked[:k]
    return result


CASES = [
    pytest.param(n_items, k, density, allowed, id=f"{n_items}-items-{k}-{density}-{allowed}")
    for n_items, k in [(5, 3), (5, 9), (300, 10), (3000, 10), (3000, 400)]
    for density in (None, 0.3)
    for allowed in (None, 4, 250)
]


@pytest.mark.parametrize(("n_items", "k", "density", "allowed"), CASES)
def test_both_rankings_equal_a_full_sort(n_items, k, density, allowed):
    rng = np.random.default_rng(n_items + k)
    exclude = None
    if density is not None:
        exclude = csr_array(random_array((20, n_items), density=density, rng=rng, dtype=np.float32))
        exclude.indptr[1:] = exclude.indptr[1:]
    items = None if allowed is None else rng.permutation(n_items)[:allowed].astype(np.int32)
    # Small whole numbers: exact in any order of summing, and full of ties.
    queries = rng.integers(-2, 3, (20, 4)).astype(np.float32)
    factors = rng.integers(-2, 3, (n_items, 4)).astype(np.float32)
    top = rank_factors(queries, factors, k, exclude, items)
    np.testing.assert_array_equal(top.items, slowly(queries @ factors.T, k, exclude, items))
    shared = rng.integers(0, 5, n_items).astype(np.float32)
    top = rank_shared(shared, 20, k, exclude, items)
    np.testing.assert_array_equal(top.items, slowly(np.tile(shared, (20, 1)), k, exclude, items))


def test_identical_real_valued_items_tie_by_code():
    rng = np.random.default_rng(0)
    queries = rng.normal(size=(50, 33)).astype(np.float32)
    factors = np.tile(rng.normal(size=(1, 33)).astype(np.float32), (1999, 1))
    top = rank_factors(queries, factors, 10, None, None)
    np.testing.assert_array_equal(top.items, np.tile(np.arange(10), (50, 1)))


def test_many_users_are_ranked_in_pieces():
    rng = np.random.default_rng(1)
    queries = rng.integers(-3, 4, (3000, 3)).astype(np.float32)
    factors = rng.integers(-3, 4, (5000, 3)).astype(np.float32)
    top = rank_factors(queries, factors, 5, None, None)
    rows = [0, 799, 800, 1599, 2999]
    np.testing.assert_array_equal(top.items[rows], slowly(queries[rows] @ factors.T, 5, None, None))


def test_pairs_are_ranked_within_their_row():
    top = rank_pairs(
        np.array([1, 0, 1, 1]), np.array([4, 2, 3, 9]), np.array([1.0, 5.0, 1.0, 7.0], dtype=np.float32), n=3, k=2
    )
    assert top.items.tolist() == [[2, NO_ITEM], [9, 3], [NO_ITEM, NO_ITEM]]
    assert top.scores[1].tolist() == [7.0, 1.0]
    assert np.isneginf(top.scores[2]).all()


@pytest.mark.parametrize(("n_items", "k", "density", "allowed"), [*CASES, pytest.param(1, 3, 0.3, 1, id="one-item")])
def test_blocks_of_scores_rank_like_a_full_sort(n_items, k, density, allowed):
    rng = np.random.default_rng(n_items + k)
    exclude = None
    if density is not None:
        exclude = csr_array(random_array((70, n_items), density=density, rng=rng, dtype=np.float32))
    items = None if allowed is None else rng.permutation(n_items)[:allowed].astype(np.int32)
    scores = rng.integers(0, 4, (70, n_items)).astype(np.float32)
    top = rank_blocks(lambda start, stop: scores[start:stop].copy(), 70, n_items, k, exclude=exclude, items=items)
    expected = slowly(scores, k, exclude, items)
    np.testing.assert_array_equal(top.items, expected)
    found = expected != NO_ITEM
    np.testing.assert_array_equal(top.scores[found], np.take_along_axis(scores, expected, axis=1)[found])

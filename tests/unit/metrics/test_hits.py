"""Hits: fill codes, repeated items, empty sets."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from rectory.metrics.hits import hit_matrix


def test_marks_relevant_items_only() -> None:
    relevant = csr_array(np.array([[0, 1, 0, 1], [1, 0, 0, 0]]))
    hits = hit_matrix(np.array([[3, 2, 1], [1, 0, 3]]), relevant)
    assert hits.tolist() == [[True, False, True], [False, True, False]]


def test_fill_codes_never_hit_even_when_the_last_item_of_the_row_before_is_relevant() -> None:
    relevant = csr_array(np.array([[0, 0, 1], [1, 0, 0]]))
    assert not hit_matrix(np.full((2, 3), -1), relevant).any()


def test_item_listed_twice_hits_once_at_its_first_place() -> None:
    relevant = csr_array(np.array([[0, 1, 0]]))
    assert hit_matrix(np.array([[0, 1, 1, 1]]), relevant).tolist() == [[False, True, False, False]]


def test_unsorted_column_indices_are_found() -> None:
    relevant = csr_array((np.ones(3), np.array([4, 0, 2]), np.array([0, 3])), shape=(1, 5))
    assert hit_matrix(np.array([[0, 1, 2, 3, 4]]), relevant).tolist() == [[True, False, True, False, True]]


def test_nothing_relevant_and_no_lists() -> None:
    assert not hit_matrix(np.array([[0, 1]]), csr_array((1, 3))).any()
    assert hit_matrix(np.zeros((0, 5), dtype=np.int32), csr_array((0, 3))).shape == (0, 5)


def test_rows_and_codes_must_fit() -> None:
    with pytest.raises(ValueError, match="2 lists, but 1 rows"):
        hit_matrix(np.zeros((2, 1), dtype=np.int32), csr_array((1, 3)))
    with pytest.raises(ValueError, match="item code 3"):
        hit_matrix(np.array([[3]]), csr_array((1, 3)))

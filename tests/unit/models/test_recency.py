"""What is popular, and by whose count."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rectory.models.recency import popularity_scores, recent_popularity
from tests.conformance.synthetic import training_set


def test_without_repeats_a_user_counts_once_for_an_item_by_the_weightiest_interaction() -> None:
    """User 0 takes item 0 three times, users 0 and 1 item 1 once each."""
    train = training_set([0, 0, 0, 0, 1], [0, 0, 0, 1, 1], [10, 20, 30, 15, 25], n_users=2, n_items=3, repeats=False)
    train = replace(train, weight=np.array([1, 1, 2, 1, 1], dtype=np.float32)[np.argsort([10, 20, 30, 15, 25])])
    assert popularity_scores(train, None, None).tolist() == [max(1, 1, 2), 2, 0]
    again = replace(train, repeats=True)
    assert popularity_scores(again, None, None).tolist() == [1 + 1 + 2, 2, 0]


def test_the_window_comes_first_then_what_was_popular_before_it() -> None:
    train = training_set([0, 1, 2, 0], [0, 0, 0, 1], [10, 10, 10, 195], n_users=3, n_items=3, repeats=True)
    late = recent_popularity(train, 14.0)
    assert late[1] == 1.0
    assert 0 < late[0] < 0.01
    assert late[2] == 0

"""What is taken after what, and when that counts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from rectory.models.baskets import baskets_of
from rectory.models.item_to_item import strongest_per_row
from rectory.models.transitions import Transitions, basket_steps
from rectory.params.candidates import TransitionsParams
from tests.conformance.synthetic import training_set

HOUR = 1 / 24
PLAIN = {
    "popularity_power": 0.0,
    "step_decay": 0.5,
    "self_weight": 1.0,
    "half_life_days": None,
    "gap_half_life_hours": None,
    "popularity_window_days": None,
    "popularity_weight": 1e-6,
}


def fitted(train, chosen=PLAIN, **keys):
    return Transitions(TransitionsParams(kind="transitions", **keys), 0, 100).refit(train, chosen)


def log(*histories, n_items=6, repeats=False):
    """Users 0, 1, ... each with (item, day) pairs."""
    rows = [(user, item, day) for user, history in enumerate(histories) for item, day in history]
    user, item, day = zip(*rows, strict=True)
    return training_set(user, item, day, n_users=len(histories), n_items=n_items, repeats=repeats)


def first(model, user, k=1):
    return model.recommend(np.array([user], dtype=np.int32), k).items[0].tolist()


def test_a_planted_order_is_found_and_not_its_reverse():
    train = log(*[[(0, 1), (1, 2)]] * 5, [(3, 1), (4, 2)], [(0, 5)], [(1, 5)])
    model = fitted(train)
    assert first(model, 6) == [1]
    weights = model.score_pairs(np.array([6, 7], dtype=np.int32), np.array([1, 0], dtype=np.int32))
    assert weights[0] > 0.5
    assert weights[1] < 0.01


def test_a_nearer_lag_weighs_more_and_lags_beyond_the_last_nothing():
    train = log(*[[(0, 1), (1, 2), (2, 3), (3, 4)]] * 3, [(0, 5)])
    scores = fitted(train, lags=2).score_pairs(np.full(3, 3, dtype=np.int32), np.array([1, 2, 3], dtype=np.int32))
    assert scores[0] == pytest.approx(2 * scores[1], rel=1e-3)
    assert scores[2] < 0.001


def test_the_gap_between_two_events_weakens_their_transition():
    """Item 1 follows two hours later, item 2 thirty days later, both once for each user."""
    train = log(*[[(0, 10), (1, 10 + 2 * HOUR)], [(0, 10), (2, 40)]] * 3, [(2, 30), (0, 50)])
    indifferent = fitted(train).score_pairs(*pairs(6, [1, 2]))
    assert indifferent[0] == pytest.approx(indifferent[1], rel=1e-3)
    hasty = fitted(train, PLAIN | {"gap_half_life_hours": 24.0}).score_pairs(*pairs(6, [1, 2]))
    assert hasty[0] > 5 * hasty[1]


def test_an_old_transition_counts_less_with_a_half_life():
    train = log(*[[(0, 10), (1, 11)]] * 3, *[[(0, 190), (2, 191)]] * 2, [(0, 199)])
    assert first(fitted(train), 5) == [1]
    assert first(fitted(train, PLAIN | {"half_life_days": 30.0}), 5) == [2]


def test_a_basket_has_no_order():
    """The same basket written in two orders gives the same counts, symmetric within it, and leads to the next one."""
    one, other = log([(0, 1), (1, 1), (2, 2)], [(3, 1)]), log([(1, 1), (0, 1), (2, 2)], [(3, 1)])
    weights = [fitted(train)._weights.toarray() for train in (one, other)]
    np.testing.assert_array_equal(*weights)
    assert weights[0][0, 1] == weights[0][1, 0] > 0
    assert weights[0][0, 2] == weights[0][1, 2] > 0
    assert weights[0][2].sum() == 0
    assert np.diag(weights[0]).sum() == 0


def test_events_within_basket_seconds_are_one_basket():
    train = log([(0, 1), (1, 1 + 30 / 86400), (2, 1 + 300 / 86400)])
    assert len(baskets_of(train, 0, 50).user) == 3
    assert len(baskets_of(train, 60, 50).user) == 2


def test_a_huge_basket_keeps_its_most_common_items():
    train = log([(item, 1) for item in range(6)], [(4, 1)], [(2, 1)])
    assert baskets_of(train, 0, 2).items[[0]].indices.tolist() == [2, 4]


def test_an_item_follows_itself_only_where_repeats_are_allowed():
    histories = [[(0, day) for day in range(1, 6)] + [(1, 6)]] * 3
    chosen = PLAIN | {"self_weight": 10.0}
    assert first(fitted(log(*histories, repeats=True), chosen), 0) == [0]
    assert fitted(log(*histories, repeats=False), chosen)._weights[0, 0] == 0


def test_damping_popular_targets_brings_up_the_particular_one():
    """Item 5 follows everything, item 1 follows item 0 alone, a little less often."""
    train = log(
        *[[(0, 1), (5, 2)]] * 4, *[[(0, 1), (1, 2)]] * 3, *[[(2, 1), (5, 2)]] * 9, *[[(3, 1), (5, 2)]] * 9, [(0, 9)]
    )
    user = train.n_users - 1
    assert first(fitted(train), user) == [5]
    assert first(fitted(train, PLAIN | {"popularity_power": 1.0}), user) == [1]


def test_recent_items_lead_and_older_ones_than_recent_say_nothing():
    train = log(*[[(0, 1), (1, 2)]] * 3, *[[(2, 1), (3, 2)]] * 3, [(0, 10), (2, 20)])
    assert first(fitted(train), 6, 2) == [3, 1]
    assert fitted(train, recent=1).score_pairs(*pairs(6, [1]))[0] < 0.001


def test_steps_stay_within_a_user():
    train = log([(0, 1), (1, 2)], [(2, 1), (3, 2)])
    baskets = baskets_of(train, 0, 50)
    assert basket_steps(baskets, 5, None, None).toarray().tolist() == [
        [1, 1, 0, 0],
        [0, 1, 0, 0],
        [0, 0, 1, 1],
        [0, 0, 0, 1],
    ]


def test_the_strongest_of_each_row_stay():
    rng = np.random.default_rng(0)
    dense = rng.integers(0, 5, (200, 90)).astype(np.float32) * (rng.random((200, 90)) < rng.random((200, 1)))
    for k in (1, 7, 200):
        kept = strongest_per_row(csr_array(dense), k).toarray()
        for row, left in zip(dense, kept, strict=True):
            order = [place for place in np.argsort(-row, kind="stable") if row[place] > 0][:k]
            assert np.flatnonzero(left).tolist() == sorted(order)
            assert (left[order] == row[order]).all()


def pairs(user, items):
    return np.full(len(items), user, dtype=np.int32), np.array(items, dtype=np.int32)

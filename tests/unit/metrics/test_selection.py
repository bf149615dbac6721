"""The best of many tries against luck."""

from __future__ import annotations

import numpy as np
import pytest

from rectory.metrics.bootstrap import paired_gain
from rectory.metrics.selection import credible_gain


def noise(tries, users, seed):
    rng = np.random.default_rng(seed)
    return rng.normal(0.5, 0.2, (tries, users)), rng.normal(0.5, 0.2, users)


def test_one_try_is_the_lower_end_of_its_basic_bootstrap_interval():
    tried, base = noise(1, 400, 3)
    difference = tried[0] - base
    spread = 1.96 * difference.std() / 20
    assert credible_gain(tried, base, 4000, 1) == pytest.approx(difference.mean() - spread, abs=0.002)


def test_the_more_was_tried_the_less_is_credible():
    tried, base = noise(50, 200, 4)
    winner = tried[[tried.mean(axis=1).argmax()]]
    assert credible_gain(tried, base, 1000, 1) < credible_gain(winner, base, 1000, 1)


def test_luck_alone_is_seldom_believed_although_the_winners_own_interval_is():
    believed = {"credible": 0, "paired": 0}
    for seed in range(60):
        tried, base = noise(30, 100, seed)
        winner = tried[tried.mean(axis=1).argmax()]
        believed["credible"] += credible_gain(tried, base, 300, 1) > 0
        believed["paired"] += paired_gain(winner, base, 300, 1).absolute.low > 0
    assert believed["credible"] <= 5
    assert believed["paired"] >= 15


def test_a_real_gain_is_believed():
    tried, base = noise(30, 400, 5)
    tried[7] = base + 0.1 + np.random.default_rng(0).normal(0, 0.05, 400)
    assert 0.05 < credible_gain(tried, base, 1000, 1) < 0.1


def test_equal_inputs_give_equal_numbers_and_nothing_is_no_gain():
    tried, base = noise(3, 50, 6)
    assert credible_gain(tried, base, 200, 9) == credible_gain(tried, base, 200, 9)
    assert credible_gain(np.stack([base, base]), base, 200, 9) == 0.0


def test_nothing_tried_is_refused():
    with pytest.raises(ValueError, match="nothing was tried"):
        credible_gain(np.zeros((0, 5)), np.zeros(5), 100, 1)

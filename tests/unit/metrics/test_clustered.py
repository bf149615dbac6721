"""Intervals over users who give several values."""

from __future__ import annotations

import numpy as np
import pytest

from rectory.metrics import clustered
from rectory.metrics.bootstrap import mean_interval, paired_gain
from rectory.metrics.clustered import clustered_gain, clustered_mean


def test_one_value_a_user_is_the_plain_bootstrap() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.random(300), rng.random(300) + 0.1
    users = np.arange(300)
    assert clustered_mean(one, users, 500, 0) == mean_interval(one, 500, 0)
    assert clustered_gain(one, other, users, 500, 0) == paired_gain(one, other, 500, 0)


def test_repeated_values_of_a_user_are_no_new_evidence() -> None:
    values = np.random.default_rng(2).random(200)
    again, users = np.tile(values, 4), np.tile(np.arange(200), 4)
    once = clustered_mean(values, np.arange(200), 1000, 0)
    assert clustered_mean(again, users, 1000, 0).low == pytest.approx(once.low, abs=1e-9)
    assert mean_interval(again, 1000, 0).low > once.low + 0.01


def test_mean_is_over_values_not_over_users() -> None:
    assert clustered_mean(np.array([1.0, 1.0, 1.0, 0.0]), np.array([0, 0, 0, 1]), 100, 0).value == 0.75
    found = clustered_gain(np.array([0.4, 0.4, 0.6]), np.array([0.2, 0.4, 0.2]), np.array([5, 5, 9]), 100, 0)
    assert found.absolute.value == pytest.approx(0.2)
    assert found.relative is not None
    assert found.relative.value == pytest.approx(0.75)


def test_equal_models_differ_by_exactly_nothing() -> None:
    values = np.random.default_rng(3).random(90)
    gain = clustered_gain(values, values, np.arange(90) % 30, 200, 0)
    assert (gain.absolute.value, gain.absolute.low, gain.absolute.high) == (0.0, 0.0, 0.0)


def test_champion_at_zero_has_no_relative_gain() -> None:
    assert clustered_gain(np.array([0.1, 0.2]), np.zeros(2), np.array([0, 1]), 100, 0).relative is None
    # One of two users carries all of the champion's value: some draws are without it.
    assert clustered_gain(np.array([0.1, 0.2]), np.array([0.0, 0.5]), np.array([0, 1]), 100, 0).relative is None


def test_many_users_are_approximated_closely(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    users = rng.integers(0, 3000, 9000)
    one, other = rng.random(9000) + 0.05, rng.random(9000)
    drawn = clustered_gain(one, other, users, 4000, 0)
    monkeypatch.setattr(clustered, "MAX_BOOTSTRAP_USERS", 10)
    normal = clustered_gain(one, other, users, 4000, 0)
    assert drawn.relative is not None and normal.relative is not None
    for left, right in ((drawn.absolute, normal.absolute), (drawn.relative, normal.relative)):
        width = right.high - right.low
        assert left.value == right.value
        assert (left.low, left.high) == pytest.approx((right.low, right.high), abs=0.06 * width)


def test_values_must_be_there_and_finite() -> None:
    with pytest.raises(ValueError, match="no values"):
        clustered_mean(np.array([]), np.array([]), 100, 0)
    with pytest.raises(ValueError, match="finite"):
        clustered_mean(np.array([np.nan]), np.array([0]), 100, 0)
    with pytest.raises(ValueError, match="paired"):
        clustered_gain(np.ones(2), np.ones(1), np.zeros(2), 100, 0)

"""The largest gap between groups, and what picking it does to its interval."""

from __future__ import annotations

import numpy as np
import pytest

from rectory.metrics.bootstrap import mean_intervals
from rectory.metrics.gaps import gap_increase, largest_gap


def groups_of(number: int, each: int) -> np.ndarray:
    return np.repeat(np.eye(number, dtype=bool), each, axis=0)


def test_the_gap_is_between_the_highest_and_the_lowest_mean() -> None:
    groups = groups_of(3, 2)
    found = largest_gap(np.array([0.2, 0.4, 0.9, 0.7, 0.1, 0.1]), groups, 500, 0)
    assert (found.best, found.worst) == (1, 2)
    assert found.interval.value == pytest.approx(0.7)
    assert 0 <= found.interval.low <= found.interval.value <= found.interval.high
    assert found.interval.users == 6


def test_two_groups_have_the_interval_of_their_difference() -> None:
    """No picking between two: the standard error of a difference of means, 1.96 of them to each side."""
    draw = np.random.default_rng(1)
    values = np.concatenate([draw.normal(0.6, 0.2, 400), draw.normal(0.3, 0.2, 300)])
    groups = np.repeat([[True, False], [False, True]], [400, 300], axis=0)
    found = largest_gap(values, groups, 20_000, 0).interval
    error = np.sqrt(values[:400].var(ddof=1) / 400 + values[400:].var(ddof=1) / 300)
    assert found.high - found.value == pytest.approx(1.96 * error, rel=0.03)
    assert found.value - found.low == pytest.approx(1.96 * error, rel=0.03)


def test_equal_groups_have_a_gap_that_reaches_zero_nineteen_times_in_twenty() -> None:
    """Of ten equal groups the furthest pair lies apart by chance; an interval around that pair alone would say so."""
    draw = np.random.default_rng(2)
    groups = groups_of(10, 40)
    found = [largest_gap(draw.normal(0.5, 0.2, 400), groups, 200, seed).interval for seed in range(300)]
    assert all(one.value > 0 for one in found)
    alarms = np.mean([one.low > 0 for one in found])
    assert alarms < 0.09
    picked = []
    for seed in range(100):
        values = draw.normal(0.5, 0.2, 400)
        means = values.reshape(10, 40).mean(axis=1)
        furthest = [values.reshape(10, 40)[end] for end in (means.argmax(), means.argmin())]
        picked.append(mean_intervals((furthest[0] - furthest[1])[:, None], 100, seed)[0].low > 0)
    assert np.mean(picked) > 0.5, "the naive interval would not be wrong, and this module not needed"


def test_the_interval_holds_the_true_gap() -> None:
    draw = np.random.default_rng(3)
    groups = groups_of(4, 60)
    centre = np.repeat([0.5, 0.45, 0.4, 0.3], 60)
    found = [largest_gap(centre + draw.normal(0, 0.2, 240), groups, 200, seed).interval for seed in range(200)]
    assert np.mean([one.low <= 0.2 <= one.high for one in found]) > 0.92


def test_users_in_several_groups_make_the_gap_surer_not_wider() -> None:
    """Two groups that share all but a few users can hardly differ, and their interval knows it."""
    draw = np.random.default_rng(4)
    values = draw.random(200)
    apart = np.repeat([[True, False], [False, True]], 100, axis=0)
    shared = np.ones((200, 2), dtype=bool)
    shared[:5, 0] = shared[-5:, 1] = False
    wide, narrow = (largest_gap(values, groups, 500, 0).interval for groups in (apart, shared))
    assert narrow.high - narrow.low < 0.3 * (wide.high - wide.low)


def test_equal_values_have_no_gap() -> None:
    found = largest_gap(np.full(6, 0.3), groups_of(3, 2), 100, 0)
    assert (found.interval.low, found.interval.value, found.interval.high) == (0, 0, 0)
    assert found.best != found.worst


def test_equal_inputs_give_equal_numbers() -> None:
    values, groups = np.random.default_rng(5).random(90), groups_of(3, 30)
    assert largest_gap(values, groups, 100, 7) == largest_gap(values, groups, 100, 7)


@pytest.mark.parametrize("groups", [np.ones((3, 1), dtype=bool), np.eye(3, dtype=bool)])
def test_one_group_or_groups_of_one_are_refused(groups: np.ndarray) -> None:
    with pytest.raises(ValueError, match="group"):
        largest_gap(np.arange(3.0), groups, 100, 0)


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        largest_gap(np.array([1.0, np.nan, 1, 1]), groups_of(2, 2), 100, 0)


def test_a_model_that_is_better_by_a_factor_for_all_widens_no_gap() -> None:
    values = np.random.default_rng(6).random(80)
    found = gap_increase(2 * values, values, groups_of(4, 20), 200, 0)
    assert found is not None
    assert found.value == pytest.approx(0)
    assert found.low <= 0 <= found.high


def test_equal_models_have_exactly_no_increase() -> None:
    values = np.random.default_rng(7).random(80)
    found = gap_increase(values, values, groups_of(4, 20), 200, 0)
    assert found is not None
    assert (found.low, found.value, found.high) == (0, 0, 0)


def test_a_gain_for_one_group_alone_widens_the_gap() -> None:
    draw = np.random.default_rng(8)
    champion = draw.uniform(0.2, 0.4, 400)
    challenger = champion + np.repeat([0.3, 0.0], 200) + draw.normal(0, 0.01, 400)
    found = gap_increase(challenger, champion, groups_of(2, 200), 500, 0)
    assert found is not None
    assert found.low > 0.4
    assert found.value == pytest.approx(0.3 / 0.45, abs=0.05)


def test_a_share_of_nothing_is_left_out() -> None:
    assert gap_increase(np.random.default_rng(9).random(40), np.zeros(40), groups_of(2, 20), 100, 0) is None

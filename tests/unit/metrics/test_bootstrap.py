"""Intervals: right width, paired, deterministic, defined at the edges."""

from __future__ import annotations

import numpy as np
import pytest

from rectory.metrics import bootstrap
from rectory.metrics.bootstrap import mean_interval, mean_intervals, paired_gain


def test_interval_is_the_known_one_of_a_mean() -> None:
    values = np.random.default_rng(0).random(2000)
    interval = mean_interval(values, 2000, seed=1)
    half = 1.96 * values.std() / np.sqrt(2000)
    assert interval.value == pytest.approx(values.mean(), abs=1e-9)
    assert interval.low == pytest.approx(values.mean() - half, rel=0.01)
    assert interval.high == pytest.approx(values.mean() + half, rel=0.01)
    assert interval.users == 2000


def test_same_seed_same_numbers_and_pinned_ones() -> None:
    values = np.arange(10) / 10
    first = mean_interval(values, 1000, seed=42)
    assert first == mean_interval(values, 1000, seed=42)
    # Written down, so that another machine or a numpy that draws otherwise is noticed.
    assert (first.value, first.low, first.high) == (0.45, 0.27, 0.63)
    assert first != mean_interval(values, 1000, seed=43)


def test_columns_share_their_resamples_and_equal_single_ones() -> None:
    table = np.random.default_rng(2).random((50, 3))
    together = mean_intervals(table, 300, seed=5)
    assert together == [mean_interval(table[:, column], 300, seed=5) for column in range(3)]


def test_pieces_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(3).random(40)
    whole = mean_interval(values, 500, seed=9)
    monkeypatch.setattr(bootstrap, "_DRAWS_AT_ONCE", 130)
    assert mean_interval(values, 500, seed=9) == whole


def test_more_confidence_is_wider_by_as_much_as_the_normal_says(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(6)
    champion = draw.random(3000)
    challenger = champion + 0.1 * draw.normal(size=3000) + 0.01
    for most in (20_000, 100):  # by the bootstrap, by the formula
        monkeypatch.setattr(bootstrap, "MAX_BOOTSTRAP_USERS", most)
        usual, wider = (paired_gain(challenger, champion, 20_000, 1, level) for level in (0.95, 0.975))
        assert (usual.confidence, wider.confidence) == (0.95, 0.975)
        for one, other in ((usual.absolute, wider.absolute), (usual.relative, wider.relative)):
            assert one is not None and other is not None and one.value == other.value
            assert (other.high - other.low) / (one.high - one.low) == pytest.approx(2.2414 / 1.9600, rel=0.02)


def test_normal_approximation_agrees_with_the_bootstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(4)
    champion = draw.random(5000) * (draw.random(5000) < 0.3)
    challenger = champion * 1.02 + 0.02 * draw.random(5000)
    by_bootstrap = paired_gain(challenger, champion, 4000, seed=1)
    monkeypatch.setattr(bootstrap, "MAX_BOOTSTRAP_USERS", 100)
    by_formula = paired_gain(challenger, champion, 4000, seed=1)
    for one, other in [
        (by_bootstrap.absolute, by_formula.absolute),
        (by_bootstrap.relative, by_formula.relative),
        (mean_interval(champion, 10, 1), mean_interval(champion, 99, 2)),
    ]:
        assert one is not None
        assert other is not None
        width = one.high - one.low
        assert other.value == one.value
        assert abs(other.low - one.low) < 0.05 * width
        assert abs(other.high - one.high) < 0.05 * width


def test_pairing_narrows_the_interval() -> None:
    draw = np.random.default_rng(5)
    champion = draw.random(400)
    challenger = champion + 0.01 + 0.02 * draw.random(400)
    gain = paired_gain(challenger, champion, 1000, seed=1).absolute
    alone = mean_interval(challenger, 1000, seed=1)
    assert gain.low > 0
    assert gain.high - gain.low < (alone.high - alone.low) / 10


def test_equal_inputs_gain_exactly_nothing() -> None:
    values = np.random.default_rng(6).random(77)
    gain = paired_gain(values, values, 1000, seed=1)
    assert gain.relative is not None
    for interval in (gain.absolute, gain.relative):
        assert (interval.value, interval.low, interval.high) == (0, 0, 0)


def test_relative_gain_is_of_the_means() -> None:
    gain = paired_gain(np.array([0.2, 0.4]), np.array([0.1, 0.3]), 100, seed=1)
    assert gain.absolute.value == pytest.approx(0.1)
    assert gain.relative is not None
    assert gain.relative.value == pytest.approx(0.5)


@pytest.mark.parametrize("champion", [np.zeros(50), np.eye(1, 50).ravel()])
def test_champion_at_or_near_zero_has_no_relative_gain(champion: np.ndarray) -> None:
    gain = paired_gain(np.full(50, 0.5), champion, 1000, seed=1)
    assert gain.relative is None
    assert gain.absolute.low > 0


def test_one_user_has_an_interval_without_width() -> None:
    interval = mean_interval(np.array([0.25]), 100, seed=1)
    assert (interval.value, interval.low, interval.high, interval.users) == (0.25, 0.25, 0.25, 1)


def test_undefined_inputs_are_refused() -> None:
    with pytest.raises(ValueError, match="no users"):
        mean_interval(np.array([]), 100, seed=1)
    with pytest.raises(ValueError, match="not all finite"):
        mean_interval(np.array([0.1, np.nan]), 100, seed=1)
    with pytest.raises(ValueError, match="3 users against 2"):
        paired_gain(np.zeros(3), np.zeros(2), 100, seed=1)

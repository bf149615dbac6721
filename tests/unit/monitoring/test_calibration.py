"""The promise: on a quiet log at most the asked share of windows raises an alarm, in any column."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from rectory.monitoring.calibration import MIN_WINDOWS, learn_thresholds, leave_one_out

COLUMNS = 12
TRIALS = 600
ASKED = 0.05
# Two standard deviations of a share of .05 in 600 trials.
TOLERANCE = 2 * np.sqrt(ASKED * (1 - ASKED) / TRIALS)
NO_FLOOR, NO_CEILING = np.full(COLUMNS, 1e-9), np.full(COLUMNS, np.inf)

Draw = Callable[[np.random.Generator, int], np.ndarray]

QUIET: dict[str, Draw] = {
    "two values": lambda random, n: np.abs(random.normal(size=(n, COLUMNS))) * 0.01,
    "six values": lambda random, n: np.linalg.norm(random.normal(size=(n, COLUMNS, 5)), axis=2) * 0.02,
    "psi of many buckets": lambda random, n: (random.normal(size=(n, COLUMNS, 20)) ** 2).sum(axis=2) * 0.01,
    "log-normal": lambda random, n: np.exp(random.normal(size=(n, COLUMNS)) * 0.5 - 3),
    "columns of unlike spread": lambda random, n: np.exp(
        random.normal(size=(n, COLUMNS)) * np.linspace(0.1, 1.2, COLUMNS) - 3
    ),
    "columns that move together": lambda random, n: np.exp(
        random.normal(size=(n, 1)) * 0.5 + random.normal(size=(n, COLUMNS)) * 0.4 - 3
    ),
}


@pytest.mark.parametrize("windows", [3, 6, 12])
@pytest.mark.parametrize("kind", QUIET)
def test_quiet_windows_alarm_in_at_most_the_asked_share(kind: str, windows: int) -> None:
    random = np.random.default_rng(7)
    alarms = 0
    for _ in range(TRIALS):
        drawn = QUIET[kind](random, windows + 1)
        limits = learn_thresholds(drawn[:-1], ASKED, NO_FLOOR, NO_CEILING)
        alarms += bool(np.any(drawn[-1] >= limits.warn))
    assert alarms / TRIALS <= ASKED + TOLERANCE


def test_a_distance_ten_times_the_usual_is_found() -> None:
    random = np.random.default_rng(3)
    found = 0
    for _ in range(100):
        past = QUIET["six values"](random, 8)
        found += bool(np.median(past[:, 0]) * 10 >= learn_thresholds(past, ASKED, NO_FLOOR, NO_CEILING).drift[0])
    assert found >= 95


def test_an_empirical_quantile_would_not_keep_the_promise() -> None:
    """Why there is a prediction bound at all."""
    random = np.random.default_rng(7)
    alarms = 0
    for _ in range(TRIALS):
        drawn = QUIET["six values"](random, 13)
        alarms += bool(np.any(drawn[-1] >= np.quantile(drawn[:-1], 0.95, axis=0)))
    assert alarms / TRIALS > 0.4


def test_thresholds_stay_between_floor_and_ceiling() -> None:
    small, large = np.full((6, 1), 1e-4), np.linspace(0.3, 0.8, 6)[:, None]
    assert learn_thresholds(small, ASKED, np.array([0.03]), np.array([0.83])).warn == [0.03]
    limits = learn_thresholds(large, ASKED, np.array([0.03]), np.array([0.83]))
    assert 0.8 < limits.warn[0] < limits.drift[0] < 0.83


def test_rarer_alarms_need_larger_distances() -> None:
    past = QUIET["log-normal"](np.random.default_rng(1), 8)
    often, seldom = (learn_thresholds(past, share, NO_FLOOR, NO_CEILING) for share in (0.2, 0.01))
    assert np.all(often.warn < seldom.warn)
    assert np.all(seldom.warn < seldom.drift)


def test_too_few_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot teach"):
        learn_thresholds(np.ones((MIN_WINDOWS - 1, 2)), ASKED, np.ones(2), np.full(2, np.inf))
    assert leave_one_out(np.ones((MIN_WINDOWS, 2)), ASKED, np.ones(2), np.full(2, np.inf)) is None


def test_leave_one_out_names_the_window_that_differs() -> None:
    past = QUIET["six values"](np.random.default_rng(2), 10)
    past[4] *= 12
    alarms = leave_one_out(past, ASKED, NO_FLOOR, NO_CEILING)
    assert alarms is not None
    assert alarms.tolist() == [window == 4 for window in range(10)]

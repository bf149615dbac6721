"""The accounts by numbers that can be checked by hand."""

from __future__ import annotations

from datetime import UTC, datetime

import pandas as pd
import pytest

from rectory.errors import DataError, UsageError
from rectory.evaluation.backtest import (
    CAUSED,
    FALSE_ALARM,
    GAINED,
    LEVEL,
    MISSED,
    PREVENTED,
    SILENT,
    TRUE_ALARM,
    UNHEARD,
    alarm_verdict,
    decision_verdict,
    interval_dict,
    policy_gain,
    quality,
    spent,
    steps_between,
    tally,
)
from rectory.metrics.bootstrap import Gain, Interval

METRIC = "ndcg@10"


def served(**policies: dict[str, list[float]]) -> pd.DataFrame:
    """policy -> date -> a value for each of the users a, b, c, ... of that date."""
    rows = [
        (policy, date, "abcdefgh"[place], value)
        for policy, dates in policies.items()
        for date, values in dates.items()
        for place, value in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=["policy", "date", "user_id", METRIC])


FRAME = served(
    never={"d1": [0.2, 0.4], "d2": [0.1, 0.3, 0.2]},
    gate={"d1": [0.2, 0.4], "d2": [0.3, 0.4, 0.2]},
)


def later(low: float, high: float) -> Gain:
    return Gain(Interval((low + high) / 2, low, high, 50), None)


def test_quality_is_a_mean_over_users_on_each_date_and_over_all_user_dates() -> None:
    found = quality(FRAME, "gate", METRIC, 100)
    assert {date: one.value for date, one in found.dates.items()} == pytest.approx({"d1": 0.3, "d2": 0.3})
    assert found.pooled.value == pytest.approx((0.2 + 0.4 + 0.3 + 0.4 + 0.2) / 5)
    assert (found.dates["d1"].users, found.pooled.users) == (2, 5)
    with pytest.raises(DataError, match="choose other dates"):
        quality(FRAME, "always", METRIC, 100)


def test_gain_pairs_users_date_by_date_whatever_the_order_of_rows() -> None:
    gain = policy_gain(FRAME.sample(frac=1, random_state=3), "gate", "never", METRIC, 100)
    assert gain.absolute.value == pytest.approx((0.2 + 0.1) / 5)
    assert gain.relative is not None
    assert gain.relative.value == pytest.approx(0.3 / 1.2)
    assert gain.absolute.low >= 0, "nobody lost"


def test_policies_that_were_asked_about_other_users_are_not_paired() -> None:
    with pytest.raises(ValueError, match="same users"):
        policy_gain(FRAME.iloc[:-1], "gate", "never", METRIC, 100)


@pytest.mark.parametrize(
    ("promoted", "low", "high", "verdict"),
    [
        (True, 0.01, 0.03, GAINED),
        (True, -0.03, -0.01, CAUSED),
        (True, -0.01, 0.03, LEVEL),
        (False, 0.01, 0.03, MISSED),
        (False, -0.03, -0.01, PREVENTED),
        (False, 0.0, 0.03, LEVEL),
    ],
)
def test_a_decision_is_judged_by_what_then_happened(promoted: bool, low: float, high: float, verdict: str) -> None:
    assert decision_verdict(promoted, later(low, high)) == verdict


@pytest.mark.parametrize(
    ("alarm", "low", "verdict"),
    [(True, 0.01, TRUE_ALARM), (True, -0.01, FALSE_ALARM), (False, 0.01, UNHEARD), (False, -0.01, SILENT)],
)
def test_an_alarm_is_false_when_nothing_was_lost_with_confidence(alarm: bool, low: float, verdict: str) -> None:
    assert alarm_verdict(alarm, later(low, 0.05)) == verdict


def test_a_policy_pays_for_all_candidates_of_the_dates_on_which_it_trained_and_for_its_refits() -> None:
    fits = {"d1": {"a": 1.0, "b": 2.0}, "d2": {"a": 1.5, "b": 2.5}, "d3": {"a": 9.0, "b": 9.0}}
    found = spent(fits, ["d1", "d2"], [0.5, 0.25])
    assert (found.fits, found.fit_seconds, found.refits, found.refit_seconds) == (4, 7.0, 2, 0.75)
    assert found.seconds == 7.75


def test_tally_counts_each_verdict() -> None:
    assert tally([LEVEL, GAINED, LEVEL]) == {LEVEL: 2, GAINED: 1}


def test_ends_that_are_unknown_become_null() -> None:
    assert interval_dict(Interval(0.5, float("nan"), float("nan"), 3)) == {
        "value": 0.5, "low": None, "high": None, "users": 3,
    }  # fmt: skip


def test_dates_are_whole_windows_apart_and_the_last_window_ends_by_the_end() -> None:
    steps = steps_between(datetime(2017, 10, 1, tzinfo=UTC), datetime(2017, 10, 20), "7d")
    assert [step.date for step in steps] == ["2017-10-01", "2017-10-08"]
    assert [(step.until - step.since).days for step in steps] == [7, 7]
    assert steps[0].until == steps[1].since


def test_dates_within_a_day_carry_their_time() -> None:
    steps = steps_between(datetime(2017, 10, 1, 6), datetime(2017, 10, 2), "12h")
    assert [step.date for step in steps] == ["2017-10-01T06-00-00"]


@pytest.mark.parametrize(("end", "every"), [("2017-10-03", "7d"), ("2017-10-20", "week"), ("2017-10-20", "1s")])
def test_dates_that_make_no_window_are_refused(end: str, every: str) -> None:
    with pytest.raises(UsageError):
        steps_between(datetime(2017, 10, 1), datetime.fromisoformat(end), every)

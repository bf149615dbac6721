"""Quiet logs stay quiet, planted changes are found, and nothing from after a window's end is looked at."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rectory.errors import DataError
from rectory.monitoring.behaviour import HISTORY_COLUMNS, OTHER, Column, prepared, read_log
from rectory.monitoring.inputs import FIXED_WARN, compare_inputs, worst
from rectory.monitoring.plan import make_plan
from tests.unit.monitoring.quiet_log import newest_start, quiet_frame, quiet_plan

ASKED = 0.05
LOGS = 40


def _status(plan_seed: int, column: str | None = None, **changes: object) -> str:
    found = compare_inputs(quiet_plan(plan_seed, **changes), ASKED).columns  # type: ignore[arg-type]
    return worst([one["status"] for one in found if column in (None, one["column"])])


@pytest.mark.parametrize("restless", [0.0, 0.5])
def test_quiet_logs_raise_an_alarm_in_at_most_the_asked_share(restless: float) -> None:
    alarms = sum(_status(seed, restless=restless) != "ok" for seed in range(LOGS))
    # Upper 97.5% point of the binomial: a true share of .05 fails once in forty seeds, and seeds are fixed.
    assert alarms <= 5


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"restless": 0.5}, {"restless": 1.0}, {"windows": 8}])
def test_many_quiet_logs_raise_an_alarm_in_at_most_the_asked_share(changes: dict[str, float]) -> None:
    logs = 300
    alarms = sum(_status(seed, **changes) != "ok" for seed in range(logs))
    assert alarms / logs <= ASKED + 2 * np.sqrt(ASKED * (1 - ASKED) / logs)


@pytest.mark.parametrize(
    ("planted", "column"), [("events", "event"), ("price", "price"), ("category", "category"), ("night", "hour")]
)
def test_planted_changes_are_found_in_their_column(planted: str, column: str) -> None:
    found = [_status(seed, column, planted=planted, rows=2000) for seed in range(100, 106)]
    assert sum(status != "ok" for status in found) >= 5
    assert "drift" in found


def test_a_price_rise_is_told_in_numbers() -> None:
    findings = compare_inputs(quiet_plan(1, planted="price", rows=2000), ASKED).columns
    price = next(one for one in findings if one["column"] == "price")
    assert 1.2 < price["current"]["mean"] / price["reference"]["mean"] < 1.4
    assert price["method"] == "wasserstein"
    assert price["distance"] >= price["threshold"] > 0


def test_equal_seeds_give_equal_findings_also_when_sampled() -> None:
    first, second = (compare_inputs(quiet_plan(3, sample_rows=200), ASKED).columns for _ in range(2))
    assert first == second


def test_ids_are_never_watched() -> None:
    assert not {"user_id", "item_id"} & {column.name for column in quiet_plan(0).columns}


def test_all_new_users_are_found() -> None:
    frame, categories = quiet_frame(5)
    newest = frame["timestamp"] >= newest_start()
    frame.loc[newest, "user_id"] = "fresh " + frame.loc[newest, "user_id"]
    findings = compare_inputs(make_plan(read_log(frame, categories), newest_start()), ASKED).columns
    moved = {one["column"]: one["status"] for one in findings}
    assert moved["new_user"] == "drift"
    assert moved["new_item"] == "ok"


def test_little_history_uses_fixed_thresholds_and_says_so() -> None:
    plan = quiet_plan(0, windows=4)
    inputs = compare_inputs(plan, ASKED)
    assert not inputs.calibrated
    assert inputs.quiet is None
    assert any("fixed" in note for note in plan.notes)
    assert all(one["threshold"] > FIXED_WARN for one in inputs.columns)
    assert worst([one["status"] for one in inputs.columns]) == "ok"


def test_a_history_shorter_than_two_windows_leaves_out_columns_that_look_back() -> None:
    plan = quiet_plan(0, windows=2)
    names = {column.name for column in plan.columns}
    assert not names & {"user_activity", *(column.name for column in HISTORY_COLUMNS)}
    assert compare_inputs(plan, ASKED).reference.rows > 0


def test_an_older_champion_is_compared_with_what_it_was_trained_on() -> None:
    frame, categories = quiet_frame(2)
    log = read_log(frame, categories)
    until = newest_start() - pd.Timedelta(days=20)
    plan = make_plan(log, newest_start(), trained_until=until)
    assert pd.Timestamp(plan.moments(plan.reference)[1]) <= until
    assert all(min(reference) - window == min(plan.reference) for window, reference in plan.pairs)


def test_reference_and_past_pairs_never_overlap_what_they_are_compared_with() -> None:
    plan = quiet_plan(4)
    assert 0 not in plan.reference
    assert all(window < min(reference) for window, reference in plan.pairs)
    oldest = plan.windows.rows(max(reference[-1] for _, reference in plan.pairs))
    assert oldest.start > 0


def test_window_days_shorten_the_newest_window() -> None:
    frame, categories = quiet_frame(4)
    plan = make_plan(read_log(frame, categories), newest_start(), window_days=3)
    start, end = (pd.Timestamp(moment) for moment in plan.moments((0,)))
    assert (end - start) == pd.Timedelta(days=3)


def test_a_window_without_rows_before_it_is_refused_with_the_cure() -> None:
    frame, categories = quiet_frame(0, windows=2)
    with pytest.raises(DataError, match="window_days"):
        make_plan(read_log(frame, categories), frame["timestamp"].iloc[0])


def test_rare_values_become_other_by_the_reference() -> None:
    column = Column("category", "categorical", tuple(f"c{code}" for code in range(100)))
    reference, current = np.repeat(np.arange(100), np.arange(100, 0, -1)), np.array([0, 99, 98])
    merged, _, now = prepared(column, reference, current)
    assert merged.labels[-1] == OTHER
    assert [merged.labels[code] for code in now] == ["c0", OTHER, OTHER]


def test_one_absurd_quantity_does_not_hide_a_change() -> None:
    random = np.random.default_rng(0)
    reference, current = random.normal(10, 1, 5000), random.normal(11, 1, 5000)
    reference[0] = 1e9
    _, before, now = prepared(Column("value", "numeric"), reference, current)
    assert now.mean() - before.mean() > 0.8
    assert before.std() < 2

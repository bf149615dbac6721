"""Checks on the whole table, most of them against the snapshot before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rectory.data.validation import Validated
from tests.unit.data_validation.world import ROWS, make_card, run_validate

DAY = timedelta(days=1)
START = datetime(2024, 5, 1, tzinfo=UTC)


def log_of(days: int, per_day: int, buys: float = 0.0) -> dict[str, list[Any]]:
    moments = [START + day * DAY + timedelta(minutes=n) for day in range(days) for n in range(per_day)]
    return {
        "who": [f"u{n % 7}" for n in range(len(moments))],
        "what": [f"i{n % 5}" for n in range(len(moments))],
        "when": [moment.isoformat() for moment in moments],
        "kind": ["buy" if n % 10 < 10 * buys else "view" for n in range(len(moments))],
        "many": [str(n % 5 + 1) for n in range(len(moments))],
    }


def check(found: Validated, name: str) -> dict[str, Any]:
    return next(check for check in found.report["checks"] if check["name"] == name)


CARD = make_card(interactions={"event": "kind", "value": "many"})


def test_a_quiet_week_after_a_busy_one_warns(tmp_path: Path) -> None:
    before = run_validate(tmp_path / "1", log_of(20, 30), CARD).report["summary"]
    same = run_validate(tmp_path / "2", log_of(25, 30), CARD, previous=before)
    less = run_validate(tmp_path / "3", log_of(25, 10), CARD, previous=before)
    assert check(same, "volume")["status"] == "ok"
    assert check(less, "volume")["status"] == "warn"
    assert check(less, "volume")["value"] == pytest.approx(-2 / 3, abs=0.01)
    assert less.refusal is None


def test_a_new_event_mix_warns_and_names_the_event(tmp_path: Path) -> None:
    before = run_validate(tmp_path / "1", log_of(20, 30, buys=0.1), CARD).report["summary"]
    after = run_validate(tmp_path / "2", log_of(20, 30, buys=0.5), CARD, previous=before)
    found = check(after, "event mix")
    assert (found["status"], found["value"]) == ("warn", pytest.approx(0.4))
    assert "10.0% to 50.0%" in found["text"]


def test_an_event_that_vanished_warns_although_one_is_left(tmp_path: Path) -> None:
    before = run_validate(tmp_path / "1", log_of(20, 30, buys=0.5), CARD).report["summary"]
    after = run_validate(tmp_path / "2", log_of(20, 30), CARD, previous=before)
    assert check(after, "event mix")["status"] == "warn"


def test_without_a_previous_snapshot_there_is_nothing_to_warn_of(tmp_path: Path) -> None:
    found = run_validate(tmp_path, log_of(20, 30, buys=0.5), CARD)
    assert [one["name"] for one in found.report["checks"] if one["status"] != "ok"] == ["freshness"]


def test_an_old_log_warns_unless_it_is_historic(tmp_path: Path) -> None:
    assert check(run_validate(tmp_path / "1", ROWS), "freshness")["status"] == "warn"
    assert check(run_validate(tmp_path / "2", ROWS, make_card(historic=True)), "freshness")["status"] == "ok"
    fresh = run_validate(tmp_path / "3", ROWS, as_of=datetime(2024, 1, 5, tzinfo=UTC))
    assert check(fresh, "freshness")["status"] == "ok"


def test_rows_in_the_future_warn_of_a_clock(tmp_path: Path) -> None:
    log = ROWS | {"when": ["2024-01-01", "2024-01-02", "2024-06-01T00:04:00", "2024-06-01T00:06:00"]}
    found = run_validate(tmp_path, log)
    # Five minutes are this machine's or the producer's tolerance.
    assert check(found, "clock")["value"] == 1


def test_items_without_a_row_warn(tmp_path: Path) -> None:
    card = make_card(items={"id": "id"})
    found = run_validate(tmp_path, ROWS, card, items={"id": ["zzz"]})
    assert (check(found, "unknown items")["status"], check(found, "unknown items")["value"]) == ("warn", 1.0)


def test_many_duplicates_warn_and_name_the_key(tmp_path: Path) -> None:
    log = {name: [*cells, cells[0]] for name, cells in ROWS.items()}
    found = check(run_validate(tmp_path, log), "duplicates: interactions")
    assert found["status"] == "warn"
    assert "validate.duplicates" in found["text"]


def test_an_event_of_the_card_that_no_row_has_warns_and_no_target_at_all_fails(tmp_path: Path) -> None:
    typo = make_card(interactions={"event": "kind", "weights": {"veiw": 2.0}})
    assert check(run_validate(tmp_path / "1", ROWS, typo), "declared events")["status"] == "warn"
    never = make_card(interactions={"event": "kind", "targets": ["purchase"]})
    found = run_validate(tmp_path / "2", ROWS, never)
    assert found.refusal is not None
    assert "['purchase']" in found.refusal


def test_local_times_that_name_no_moment_are_told(tmp_path: Path) -> None:
    card = make_card(interactions={"timestamp": {"column": "when", "zone": "Europe/Berlin"}})
    log = ROWS | {"when": ["2023-10-29 02:30", "2024-03-31 02:30", "2024-04-01", "2024-04-02"]}
    assert check(run_validate(tmp_path, log, card), "local times")["value"] == 2


def test_a_changed_unit_of_the_value_warns(tmp_path: Path) -> None:
    before = run_validate(tmp_path / "1", log_of(20, 5), CARD).report["summary"]
    log = log_of(20, 5)
    cents = run_validate(tmp_path / "2", log | {"many": [f"{many}00" for many in log["many"]]}, CARD, previous=before)
    assert check(cents, "value range")["status"] == "warn"


def test_summary_is_right_on_a_log_worked_out_by_hand(tmp_path: Path) -> None:
    log = {
        "who": ["u1", "u1", "u1", "u2"],
        "what": ["a", "a", "b", "a"],
        "when": ["2024-01-01", "2024-01-02", "2024-01-04", "2024-01-05"],
    }
    summary = run_validate(tmp_path, log, make_card(items={"id": "id"}), items={"id": ["a"]}).report["summary"]
    assert (summary["users"], summary["items"], summary["interactions"]) == (2, 2, 4)
    assert summary["repeat_share"] == 0.25
    assert summary["item_gini"] == 0.25
    assert summary["top_item_shares"] == {"0.01": 0.75, "0.1": 0.75, "0.2": 0.75}
    assert summary["periods"] == {
        "unit": "day",
        "start": [f"2024-01-0{day}" for day in range(1, 6)],
        "rows": [1, 1, 0, 1, 1],
        "users": [1, 1, 0, 1, 1],
    }
    assert summary["items_table"]["covered_rows_share"] == 0.75
    assert summary["interactions_per_user"]["p50"] == 2.0
    assert [top["item_id"] for top in summary["top_items"]] == ["a", "b"]


@pytest.mark.parametrize(("days", "unit", "bars"), [(60, "day", 60), (300, "week", 44), (1000, "month", 33)])
def test_periods_give_a_readable_number_of_bars(tmp_path: Path, days: int, unit: str, bars: int) -> None:
    log = log_of(days, 1)
    found = run_validate(tmp_path, log, now=START + days * DAY)
    periods = found.report["summary"]["periods"]
    assert (periods["unit"], len(periods["start"])) == (unit, bars)
    assert sum(periods["rows"]) == days

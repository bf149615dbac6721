"""Corrections, deletions, files that are bad as a whole: who counts, and that the books balance."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rectory.data.corrections import SOURCE_FILE
from rectory.errors import DataError
from tests.unit.data_validation.world import adds_up, make_card, reasons, run_validate

CARD = make_card(
    interactions={
        "value": "stars",
        "row_id": "sale",
        "deleted": "gone",
        "updated_at": {"column": "written"},
        "filters": [{"keep": "who != 'test'", "reason": "a test order"}],
    }
)


def row(
    sale: str | None, who: str | None, stars: Any, written: str | None = None, gone: str | None = None
) -> dict[str, Any]:
    when = None if gone == "true" else "2024-01-02"
    return {"sale": sale, "who": who, "what": "a", "when": when, "stars": stars, "written": written, "gone": gone}


def kept(found: Any) -> list[tuple[str, float]]:
    log = found.tables["interactions"]
    return list(zip(log["user_id"], log["value"].astype(float), strict=True))


def filtered(found: Any) -> dict[str, int]:
    return {reason: n for reason, n in found.report["tables"]["interactions"]["filtered"].items() if n}


def test_the_last_written_version_counts_wherever_it_stands(tmp_path: Path) -> None:
    rows = [
        row("1", "u1", "5", "2024-02-02"),
        row("1", "u1", "3", "2024-02-01"),
        row("2", "u2", "1"),
        row("2", "u2", "4"),
    ]
    found = run_validate(tmp_path, rows, CARD)
    assert kept(found) == [("u1", 5.0), ("u2", 4.0)]
    assert filtered(found) == {"superseded by a later correction": 2}
    assert reasons(found) == {} and adds_up(found)


def test_a_deletion_takes_every_version_back_and_a_later_row_brings_it_again(tmp_path: Path) -> None:
    rows = [
        row("1", "u1", "5"),
        row("2", "u2", "4"),
        row("1", None, None, gone="true"),
        row("2", None, None, gone="true"),
        row("2", "u2", "2", gone="false"),
    ]
    found = run_validate(tmp_path, rows, CARD)
    assert kept(found) == [("u2", 2.0)]
    assert filtered(found) == {"deleted by source": 3, "superseded by a later correction": 1}
    assert adds_up(found)


def test_a_bad_correction_is_quarantined_and_corrects_nothing_a_filtered_one_does(tmp_path: Path) -> None:
    rows = [row("1", "u1", "5"), row("1", "u1", "many"), row("2", "u2", "4"), row("2", "test", "5")]
    rows += [row(None, "u3", "1"), row(None, "u3", "1")]
    found = run_validate(tmp_path, rows, CARD, params={"max_bad_share": 0.9})
    assert kept(found) == [("u1", 5.0), ("u3", 1.0)]
    assert filtered(found) == {"a test order": 1, "superseded by a later correction": 1}
    assert reasons(found) == {"unreadable value": 1, "duplicate row": 1}
    assert adds_up(found)


def test_as_of_knows_no_correction_that_was_written_later(tmp_path: Path) -> None:
    rows = [row("1", "u1", "5", "2024-01-03"), row("1", "u1", "3", "2024-03-01"), row("2", "u2", "4", "2024-01-03")]
    rows += [row("2", None, None, "2024-03-01", gone="true")]
    then = run_validate(tmp_path / "then", rows, CARD, as_of=datetime(2024, 2, 1, tzinfo=UTC))
    assert kept(then) == [("u1", 5.0), ("u2", 4.0)]
    assert filtered(then) == {"after as_of": 2}
    now = run_validate(tmp_path / "now", rows, CARD)
    assert kept(now) == [("u1", 3.0)]
    assert adds_up(then) and adds_up(now)


def test_an_odd_word_for_deleted_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'perhaps'.*neither yes nor no"):
        run_validate(tmp_path, [row("1", "u1", "5", gone="perhaps")], CARD)


def from_files(bad_in_b: int) -> pd.DataFrame:
    """Three files of ten rows; in b the first rows have no time that can be read, and its last row deletes one of a."""
    rows = pd.DataFrame([row(f"{name}{n}", f"u{n}", "1") | {SOURCE_FILE: name} for name in "abc" for n in range(10)])
    rows["when"] = [f"2024-01-{n % 10 + 1:02d}" for n in range(30)]
    rows.loc[10 : 9 + bad_in_b, "when"] = "lost"
    rows.loc[19, ["sale", "gone"]] = ["a0", "true"]
    return rows


def test_a_poisoned_file_is_set_aside_whole_and_the_others_get_in(tmp_path: Path) -> None:
    found = run_validate(tmp_path, from_files(6), CARD, params={"max_bad_share": 0.2})
    found.raise_if_refused()
    # What a poisoned file deletes is not believed.
    assert len(found.tables["interactions"]) == 20
    (reason,) = reasons(found)
    assert reason.startswith("in a file that was set aside: b (67% of its rows are bad, most: unreadable timestamp)")
    assert reasons(found)[reason] == 9
    assert set(found.quarantine[SOURCE_FILE]) == {"b"}
    told = next(check for check in found.report["checks"] if check["name"] == "files: interactions")
    assert told["status"] == "warn" and "1 of 3 files" in told["text"] and adds_up(found)


def test_few_bad_rows_are_the_rows_fault_and_many_bad_files_refuse_the_data(tmp_path: Path) -> None:
    few = run_validate(tmp_path / "few", from_files(1), CARD, params={"max_bad_share": 0.2})
    few.raise_if_refused()
    assert reasons(few) == {"unreadable timestamp": 1}
    assert len(few.tables["interactions"]) == 27  # ten of each, less the bad row, the deletion and what it deletes
    rows = from_files(6)
    rows.loc[20:28, "when"] = "lost"
    many = run_validate(tmp_path / "many", rows, CARD, params={"max_bad_share": 0.2})
    with pytest.raises(DataError, match=r"2 of 3 files .*validate\.max_bad_files_share"):
        many.raise_if_refused()

"""The log in monthly files: one table for its readers, shared storage for its versions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rectory.data.partitions import parts, write_months
from rectory.data.snapshots import add_snapshot
from rectory.errors import DataError
from rectory.files import read_parquet, tree_digests
from rectory.workspace import Workspace
from tests.unit.data_validation.world import make_card, run_validate

CARD = make_card(interactions={"event": "kind", "context": {"note": "note"}})


def log(days: int) -> pd.DataFrame:
    """Three rows a day from 30 December 2023 on; views come up in February only, notes in January only."""
    at = pd.Timestamp("2023-12-30", tz="UTC") + pd.to_timedelta(np.repeat(np.arange(days), 3), unit="D")
    january = at.month == 1
    return pd.DataFrame(
        {
            "who": [f"u{n % 7}" for n in range(len(at))],
            "what": [f"i{n % 5}" for n in range(len(at))],
            "when": at.strftime("%Y-%m-%dT%H:%M:%S"),
            "kind": np.where(at.month == 2, "view", "buy"),
            "note": np.where(january, "é", None),
        }
    )


def test_the_folder_reads_as_the_table_that_was_written(tmp_path: Path) -> None:
    found = run_validate(tmp_path, log(60), CARD)
    found.save(tmp_path / "tables")
    folder = tmp_path / "tables" / "interactions.parquet"
    assert [part.stem for part in parts(folder)] == ["2023-12", "2024-01", "2024-02"]
    pd.testing.assert_frame_equal(read_parquet(folder), found.tables["interactions"])
    assert read_parquet(folder, ["event"])["event"].cat.categories.tolist() == ["buy", "view"]


def test_an_empty_log_keeps_its_columns(tmp_path: Path) -> None:
    frame = run_validate(tmp_path, log(1), CARD).tables["interactions"].head(0)
    write_months(frame, tmp_path / "empty", {"user_id": "text", "item_id": "text", "note": "text"})
    assert read_parquet(tmp_path / "empty").columns.tolist() == frame.columns.tolist()
    assert len(read_parquet(tmp_path / "empty")) == 0
    with pytest.raises(DataError, match="missing"):
        parts(tmp_path / "nothing")


def test_a_new_day_a_late_row_and_a_new_event_leave_other_months_alone(tmp_path: Path) -> None:
    """The files of a month are the same bytes in every snapshot that has the same rows in it."""

    def digests(name: str, rows: pd.DataFrame) -> dict[str, str]:
        run_validate(tmp_path / name, rows, CARD).save(tmp_path / name / "tables")
        return tree_digests(tmp_path / name / "tables" / "interactions.parquet")

    before, next_day = digests("before", log(60)), digests("next", log(61))
    assert {name for name in next_day if next_day[name] != before.get(name)} == {"2024-02.parquet"}
    late = log(60).iloc[[10]].assign(when="2024-01-05T12:00:00", kind="return")
    with_late = digests("late", pd.concat([log(60), late]))
    assert {name for name in with_late if with_late[name] != before.get(name)} == {"2024-01.parquet"}
    january = read_parquet(tmp_path / "late" / "tables" / "interactions.parquet")
    assert january.loc[january["event"] == "return", "timestamp"].tolist() == [pd.Timestamp("2024-01-05T12", tz="UTC")]


def test_snapshots_share_the_months_that_they_have_in_common(tmp_path: Path) -> None:
    project = Workspace(tmp_path / "project", tmp_path / "project")
    project.root.mkdir()
    cache = project.data_versions / ".dvc" / "cache"

    def files() -> int:
        return sum(path.is_file() and path.suffix != ".dir" for path in cache.rglob("*"))

    counts = []
    for days in (60, 61, 62):
        run_validate(tmp_path / str(days), log(days), CARD).save(tmp_path / str(days) / "tables")
        add_snapshot(tmp_path / str(days) / "tables", project, "small", {})
        counts.append(files())
    # Three months and tables.json, then one month and tables.json for each further day.
    assert counts == [4, 6, 8]

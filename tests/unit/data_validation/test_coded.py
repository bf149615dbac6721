"""Text columns that are read as codes give what plain texts give, to the cell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rectory.data import schema, validation
from rectory.data.card import TimestampColumn, load_card
from rectory.data.cells import distinct_cells, read_numbers, read_texts, shown
from rectory.data.readers import fetch
from rectory.data.timestamps import parse_timestamps
from rectory.files import read_parquet, tree_digests
from rectory.params.sections import ValidateParams
from rectory.workspace import Workspace
from tests.shop import make_project

AWKWARD = ["a", " a", None, "7", "7.0", "", "NaN", "ä\u2028", "b\0c", "b", "1,5", "x" * 600, None, "a"]


@pytest.fixture
def both(tmp_path: Path) -> tuple[pd.Series, pd.Series]:
    """The same column as plain texts and as codes, with several row groups."""
    path = tmp_path / "column.parquet"
    pq.write_table(pa.table({"c": pa.array(AWKWARD, pa.string())}), path, row_group_size=5)
    plain, coded = read_parquet(path)["c"], read_parquet(path, coded=True)["c"]
    assert isinstance(coded.dtype, pd.CategoricalDtype) and not isinstance(plain.dtype, pd.CategoricalDtype)
    return plain, coded


def test_cells_are_read_alike(both: tuple[pd.Series, pd.Series]) -> None:
    plain, coded = (read_texts(column) for column in both)
    assert plain.distinct.tolist() == coded.distinct.tolist()
    assert plain.codes.tolist() == coded.codes.tolist()
    for mark in (".", ","):
        for one, other in zip(*(read_numbers(column, mark) for column in both), strict=True):
            np.testing.assert_array_equal(one, other)
    pd.testing.assert_frame_equal(*(shown(column.to_frame()) for column in both))
    codes, distinct = distinct_cells(both[1])
    assert [None if code < 0 else distinct[code] for code in codes] == AWKWARD


def test_validation_gives_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And looking at rows a few at a time finds what looking at all of them finds."""
    workspace = Workspace(tmp_path / "run", make_project(tmp_path / "project"))
    card = load_card(workspace.card("shop"))
    fetch(card, workspace, 0.8, say=lambda _: None)
    coded = validation.validate(card, workspace.raw, ValidateParams())
    coded.save(tmp_path / "coded")
    monkeypatch.setattr(validation, "read_parquet", lambda path, **_: read_parquet(path))
    monkeypatch.setattr(schema, "_PIECE_ROWS", 700)
    plain = validation.validate(card, workspace.raw, ValidateParams())
    plain.save(tmp_path / "plain")
    assert len(coded.quarantine) >= 10
    pd.testing.assert_frame_equal(coded.quarantine, plain.quarantine)
    assert {**coded.report, "checks": None} == {**plain.report, "checks": None}
    assert tree_digests(tmp_path / "coded") == tree_digests(tmp_path / "plain")


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
@pytest.mark.parametrize("layout", ["iso", "auto"])
def test_times_are_read_alike_in_any_company(layout: str, zone: str) -> None:
    """One odd cell sends none of the others another way: each is read as it would be alone."""
    cells = [
        "2024-03-31 02:30:00", "2024-10-27T02:30", "2024-02-30 10:00:00", "2024-01-01", "2024-01-01 10:00:00.123456789",
        "2024-01-01T10:00:00Z", "2024-01-01 10:00:00+05:30", "2024-01-01 10:00:00 UTC", "2024-01-01 10:00 +0100",
        "yesterday", "", "1700000000", "20240105", "9999-01-01", "1500-01-01 00:00", "2024-01-01 25:00", "\ud800",
        "2024-01-01T10", " 2024-01-01 10:00 ",
    ]  # fmt: skip
    spec = TimestampColumn(column="t", format=layout, zone=zone)
    together = parse_timestamps(pd.Series(cells, dtype=object), spec)
    alone = [parse_timestamps(pd.Series([cell], dtype=object), spec) for cell in cells]
    expected = pd.concat([one.times for one in alone], ignore_index=True)
    pd.testing.assert_series_equal(together.times, expected, check_names=False)
    assert together.ambiguous == sum(one.ambiguous for one in alone)
    assert together.nonexistent == sum(one.nonexistent for one in alone)
    assert together.times.notna().sum() >= 9

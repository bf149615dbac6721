"""Each way to write a moment, and each way to write none."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rectory.data.card import TimestampColumn
from rectory.data.timestamps import Moments, parse_timestamps
from rectory.errors import CardError


def parse(cells: Any, layout: str = "auto", zone: str = "UTC") -> Moments:
    column = cells if isinstance(cells, pd.Series) else pd.Series(cells, dtype=object)
    return parse_timestamps(column, TimestampColumn(column="t", format=layout, zone=zone))


def texts(moments: Moments) -> list[str | None]:
    return [None if pd.isna(moment) else moment.isoformat() for moment in moments.times]


@pytest.mark.parametrize(
    ("cell", "moment"),
    [
        ("2024-03-01T12:00:00Z", "2024-03-01T12:00:00+00:00"),
        ("2024-03-01 12:00:00+02:00", "2024-03-01T10:00:00+00:00"),
        ("2024-03-01 12:00:00 +0200", "2024-03-01T10:00:00+00:00"),
        ("2024-03-01 12:00:00 UTC", "2024-03-01T12:00:00+00:00"),
        (" 2024-03-01 12:00:00 ", "2024-03-01T11:00:00+00:00"),
        ("2024-03-01", "2024-02-29T23:00:00+00:00"),
        ("20240301", "2024-02-29T23:00:00+00:00"),
        ("1709290800", "2024-03-01T11:00:00+00:00"),
        ("1709290800123", "2024-03-01T11:00:00.123000+00:00"),
        ("1709290800.5", "2024-03-01T11:00:00.500000+00:00"),
    ],
)
def test_auto_reads_iso_and_epochs_and_takes_the_zone_only_where_none_is_written(cell: str, moment: str) -> None:
    assert texts(parse([cell], zone="Europe/Berlin")) == [moment]


def test_forms_and_zones_may_change_from_row_to_row() -> None:
    cells = ["2024-03-01T12:00:00Z", "2024-03-01 12:00:00-05:00", "2024-03-01 12:00", "1709290800", None, "soon"]
    assert texts(parse(cells)) == [
        "2024-03-01T12:00:00+00:00",
        "2024-03-01T17:00:00+00:00",
        "2024-03-01T12:00:00+00:00",
        "2024-03-01T11:00:00+00:00",
        None,
        None,
    ]


@pytest.mark.parametrize("cell", ["", "  ", "soon", "nan", "inf", "0000-00-00", "2024-13-01", "9999-12-31", "1e300"])
def test_what_is_no_moment_becomes_nat(cell: str) -> None:
    assert texts(parse(["2024-01-01", cell])) == ["2024-01-01T00:00:00+00:00", None]


def test_blank_is_missing_and_nonsense_is_not() -> None:
    assert list(parse([None, " ", "soon", np.nan]).missing) == [True, True, False, True]


def test_hour_that_comes_twice_is_taken_the_first_time_and_counted() -> None:
    found = parse(["2024-10-27 02:30:00", "2024-10-27 02:30:00", "2024-10-27 04:30:00"], zone="Europe/Berlin")
    assert texts(found)[0] == "2024-10-27T00:30:00+00:00"
    assert (found.ambiguous, found.nonexistent) == (2, 0)


def test_hour_that_is_skipped_moves_to_its_end_and_is_counted() -> None:
    found = parse(["2024-03-31 02:30:00"], zone="Europe/Berlin")
    assert texts(found) == ["2024-03-31T01:00:00+00:00"]
    assert (found.ambiguous, found.nonexistent) == (0, 1)


def test_native_times_keep_their_moment() -> None:
    naive = pd.Series(pd.to_datetime(["2024-10-27 02:30:00", None]))
    assert texts(parse(naive, zone="Europe/Berlin")) == ["2024-10-27T00:30:00+00:00", None]
    aware = naive.dt.tz_localize("America/New_York")
    assert texts(parse(aware, zone="Europe/Berlin"))[0] == "2024-10-27T06:30:00+00:00"
    coarse = pd.Series(np.array(["9999-01-01", "2024-01-01"], dtype="datetime64[s]"))
    assert texts(parse(coarse)) == [None, "2024-01-01T00:00:00+00:00"]


def test_dates_from_a_database_are_read() -> None:
    cells = [date(2024, 1, 1), datetime(2024, 1, 2, tzinfo=UTC), None]
    assert texts(parse(cells)) == ["2024-01-01T00:00:00+00:00", "2024-01-02T00:00:00+00:00", None]


@pytest.mark.parametrize(("layout", "scale"), [("epoch_s", 1), ("epoch_ms", 1000), ("epoch_us", 10**6)])
@pytest.mark.parametrize("kind", ["int64", "float64", "str"])
def test_a_given_unit_is_not_guessed(layout: str, scale: int, kind: str) -> None:
    column = pd.Series([100_000 * scale]).astype(kind)
    assert texts(parse(column, layout)) == ["1970-01-02T03:46:40+00:00"]


def test_a_given_format_is_read_in_its_zone() -> None:
    assert texts(parse(["31.12.2023 23:30", "2024-01-01"], "%d.%m.%Y %H:%M", "Asia/Tokyo")) == [
        "2023-12-31T14:30:00+00:00",
        None,
    ]
    assert texts(parse(["01/02/2024 +03:00"], "%d/%m/%Y %z", "Asia/Tokyo")) == ["2024-01-31T21:00:00+00:00"]
    assert texts(parse(pd.Series([20240131]), "%Y%m%d")) == ["2024-01-31T00:00:00+00:00"]


@pytest.mark.parametrize(
    ("layout", "zone", "names"),
    [("%Q", "UTC", "%Q"), ("dd.mm.yyyy", "UTC", "dd.mm.yyyy"), ("auto", "Berlin", "Berlin"), ("iso", "../x", "../x")],
)
def test_a_wrong_format_or_zone_is_the_cards_fault(layout: str, zone: str, names: str) -> None:
    with pytest.raises(CardError, match=names.replace(".", r"\.")):
        parse(["2024-01-01"], layout, zone)


@settings(deadline=None)
@given(st.lists(st.integers(1_000_000_000, 4_000_000_000), min_size=1, max_size=30), st.sampled_from([1, 1000, 10**6]))
def test_seconds_milliseconds_and_microseconds_are_told_apart(seconds: list[int], scale: int) -> None:
    found = parse(pd.Series([second * scale for second in seconds], dtype="int64"))
    assert [int(moment.timestamp()) for moment in found.times] == seconds


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.text(max_size=30), st.floats(), st.none(), st.integers()), max_size=20))
def test_no_cell_whatsoever_stops_the_parsing(cells: list[Any]) -> None:
    for layout in ("auto", "iso", "epoch_ms", "%Y-%m-%d"):
        found = parse(cells, layout, "Europe/Berlin")
        assert len(found.times) == len(found.missing) == len(cells)
        assert str(found.times.dtype) == "datetime64[ns, UTC]"

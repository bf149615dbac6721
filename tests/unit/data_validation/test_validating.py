"""Raw tables to canonical ones: every fault has a reason, no row is lost, good rows survive bad ones."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rectory.data.cells import read_texts
from rectory.data.validation import validate
from rectory.errors import CardError, DataError
from rectory.files import tree_digests
from rectory.params.sections import ValidateParams
from tests.unit.data_validation.world import NOW, ROWS, UNREADABLE, adds_up, make_card, reasons, run_validate, write_raw

BUY_VIEW = {"interactions": {"event": "kind", "value": "many"}}


def bad_row(**cells: Any) -> dict[str, list[Any]]:
    """The four good rows and one more that is like the first but for these cells."""
    good = {"who": "u1", "what": "a", "when": "2024-01-05", "kind": "view", "many": "1"}
    return {name: [*ROWS[name], (good | cells)[name]] for name in ROWS}


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"who": None}, "missing user id"),
        ({"who": ""}, "missing user id"),
        ({"who": "  \t"}, "missing user id"),
        ({"who": "NaN"}, "missing user id"),
        ({"what": None}, "missing item id"),
        ({"who": "x" * 513}, "unusable user id"),
        ({"what": "a\x00b"}, "unusable item id"),
        ({"what": "a\nb"}, "unusable item id"),
        ({"when": None}, "missing timestamp"),
        ({"when": "yesterday"}, "unreadable timestamp"),
        ({"when": "1969-12-31"}, "timestamp before 1970"),
        ({"when": "2024-06-02"}, "timestamp in the future"),
        ({"kind": None}, "missing event"),
        ({"kind": "buy\x07"}, "unusable event"),
        ({"many": None}, "missing value"),
        ({"many": "lots"}, "unreadable value"),
        ({"many": "inf"}, "unreadable value"),
        ({"many": "1e39"}, "unreadable value"),
        ({"when": "2024-01-01"}, "duplicate row"),
        ({"who": None, "what": None, "when": "soon", "many": "x"}, "missing user id"),
    ],
)
def test_a_bad_row_goes_to_quarantine_with_its_first_reason(tmp_path: Path, cells: Any, reason: str) -> None:
    found = run_validate(tmp_path, bad_row(**cells), make_card(**BUY_VIEW))
    assert reasons(found) == {reason: 1}
    assert len(found.tables["interactions"]) == 4
    line = found.quarantine.iloc[0]
    assert (line["table"], line["row"], line["reason"]) == ("interactions", 5, reason)
    assert line["kind"] == bad_row(**cells)["kind"][4]
    assert found.report["tables"]["interactions"]["examples"][reason]["row"] == "5"
    assert adds_up(found)


def test_all_faults_are_found_at_once(tmp_path: Path) -> None:
    log = {
        "who": ["u", None, "u", "u"],
        "what": ["a", "a", None, "a"],
        "when": ["2024-01-01", "2024-01-01", "2024-01-01", "x"],
    }
    found = run_validate(tmp_path, log)
    assert reasons(found) == {"missing user id": 1, "missing item id": 1, "unreadable timestamp": 1}


def test_a_negative_value_is_bad_only_as_a_weight(tmp_path: Path) -> None:
    log = bad_row(many="-1")
    assert reasons(run_validate(tmp_path, log, make_card(**BUY_VIEW))) == {}
    weights = make_card(interactions={"event": "kind", "value": "many", "value_as_weight": True})
    assert reasons(run_validate(tmp_path, log, weights)) == {"negative value as weight": 1}


def test_genuine_repeats_are_kept_when_asked(tmp_path: Path) -> None:
    log = bad_row(when="2024-01-01")
    found = run_validate(tmp_path, log, make_card(**BUY_VIEW), params={"duplicates": "keep"})
    assert len(found.tables["interactions"]) == 5


def test_rows_that_differ_in_a_column_that_nobody_maps_are_no_duplicates(tmp_path: Path) -> None:
    log = {"who": ["u", "u"], "what": ["a", "a"], "when": ["2024-01-01"] * 2, "till": ["1", "2"]}
    assert len(run_validate(tmp_path, log).tables["interactions"]) == 2


def test_ids_live_as_they_are(tmp_path: Path) -> None:
    ids = ["007", "7", "../../x", "Null", "naïve ünï 名前", "a b", "1e5", "'; drop table", " padded "]
    log = {"who": ids, "what": ids, "when": [f"2024-01-0{day + 1}" for day in range(len(ids))]}
    found = run_validate(tmp_path, log)
    kept = [name.strip() for name in ids]
    assert list(found.tables["interactions"]["user_id"]) == kept
    assert list(found.tables["interactions"]["item_id"]) == kept
    found.save(tmp_path / "tables")
    assert list(pd.read_parquet(tmp_path / "tables" / "interactions.parquet")["user_id"]) == kept
    assert not list(tmp_path.parent.glob("x*"))


def test_ids_that_came_as_numbers_lose_no_digit() -> None:
    assert list(read_texts(pd.Series([1.0, 25.0, np.nan])).text()) == ["1", "25", None]
    big = 2**53 + 1
    assert list(read_texts(pd.Series([big])).text()) == [str(big)]


def test_canonical_columns_have_their_types_and_order(tmp_path: Path) -> None:
    log = {
        "who": ["b", "a", "a", "z"],
        "what": ["1", "2", "1", "9"],
        "when": ["2024-01-02", "2024-01-02", "2024-01-02", "2024-01-01"],
        "paid": ["1.5", "2", None, "4"],
        "till": ["x", None, "y", "z"],
    }
    card = make_card(interactions={"context": {"price": "paid", "till": "till"}})
    found = run_validate(tmp_path, log, card)
    found.save(tmp_path / "tables")
    table = pd.read_parquet(tmp_path / "tables" / "interactions.parquet")
    assert list(zip(table["user_id"], table["item_id"], strict=True)) == [
        ("z", "9"),
        ("a", "1"),
        ("a", "2"),
        ("b", "1"),
    ]
    assert {name: str(kind) for name, kind in table.dtypes.items()} == {
        "user_id": "object",
        "item_id": "object",
        "timestamp": "datetime64[ns, UTC]",
        "event": "category",
        "value": "float32",
        "price": "float64",
        "till": "object",
    }
    assert table["value"].eq(1).all()
    assert table["event"].eq("interaction").all()
    np.testing.assert_array_equal(table["price"], [4, np.nan, 2, 1.5])


def test_decimal_commas_are_read_where_the_card_says_so(tmp_path: Path) -> None:
    card = make_card(
        interactions={"value": "many"}, source={"interactions": {"path": "x.csv", "decimal": ",", "separator": ";"}}
    )
    found = run_validate(tmp_path, ROWS | {"many": ["1,5", "2", "1.000,25", "3,0"]}, card)
    assert list(found.tables["interactions"]["value"]) == [1.5, 2.0, 1000.25, 3.0]


def test_lines_that_did_not_parse_are_quarantined(tmp_path: Path) -> None:
    log = {name: [*cells, None] for name, cells in ROWS.items()} | {UNREADABLE: [None] * 4 + ["a;b;c;d"]}
    card = make_card(interactions={"value": "many", "filters": [{"keep": "many > 0", "reason": "none"}]})
    found = run_validate(tmp_path, log, card)
    assert reasons(found) == {"unreadable line": 1}
    assert found.quarantine[UNREADABLE].tolist() == ["a;b;c;d"]
    assert adds_up(found)


@pytest.mark.parametrize("column", ["who", "what", "when"])
def test_a_missing_column_is_named_with_those_there_are_and_the_file_to_change(tmp_path: Path, column: str) -> None:
    log = {name: cells for name, cells in ROWS.items() if name != column}
    with pytest.raises(DataError, match=rf"'{column}'.*it has \[.*datasets/small\.yaml"):
        run_validate(tmp_path, log)


def test_an_empty_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="empty"):
        run_validate(tmp_path, {name: [] for name in ROWS})


def test_a_truncated_file_is_refused_by_its_name(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "raw", ROWS)
    whole = (raw / "interactions.parquet").read_bytes()
    (raw / "interactions.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"interactions\.parquet cannot be read"):
        validate(make_card(), raw, ValidateParams())


def test_past_the_threshold_the_three_worst_reasons_stand_with_an_example(tmp_path: Path) -> None:
    log = {
        "who": ["u", None, None, None, "u", "u", "u", "u"],
        "what": ["a", "a", "b", "c", None, None, "a", "a"],
        "when": ["2024-01-01"] * 6 + ["never", "1950-01-01"],
    }
    found = run_validate(tmp_path, log, params={"max_bad_share": 0.5})
    assert adds_up(found)
    with pytest.raises(DataError) as error:
        found.raise_if_refused()
    text = str(error.value)
    assert "missing user id: 3 rows, e.g. row 2 (what='a'" in text
    assert "missing item id: 2 rows, e.g. row 5 (who='u'" in text
    assert "timestamp before 1970: 1 rows" in text
    assert "unreadable timestamp" not in text
    assert "validate.max_bad_share" in text


def test_filtered_rows_do_not_water_down_the_bad_share(tmp_path: Path) -> None:
    log = bad_row(who=None)
    card = make_card(interactions={"filters": [{"keep": "kind != 'buy'", "reason": "buy"}]})
    found = run_validate(tmp_path, log, card, params={"max_bad_share": 0.3})
    assert found.refusal is not None
    assert "33.3%" in found.refusal


@pytest.mark.parametrize("as_of", [None, datetime(2024, 3, 1, tzinfo=UTC)])
def test_all_rows_bad_is_refused_and_still_adds_up(tmp_path: Path, as_of: datetime | None) -> None:
    log = {"who": [None, None], "what": ["a", "b"], "when": ["x", "y"]}
    found = run_validate(tmp_path, log, as_of=as_of, params={"max_bad_share": 0.2})
    assert adds_up(found)
    assert len(found.quarantine) == 2
    with pytest.raises(DataError, match="missing user id"):
        found.raise_if_refused()


@pytest.mark.parametrize(("what", "column"), [("users", "who"), ("items", "what")])
def test_one_user_or_one_item_is_told_with_found_and_needed(tmp_path: Path, what: str, column: str) -> None:
    log = ROWS | {column: ["only"] * 4}
    found = run_validate(tmp_path, log, params={f"min_{what}": 2})
    with pytest.raises(DataError, match=rf"1 {what} are left; validate\.min_{what} asks for 2"):
        found.raise_if_refused()


def test_after_as_of_nothing_is_looked_at(tmp_path: Path) -> None:
    as_of = datetime(2024, 1, 2, 12, tzinfo=UTC)
    log = {name: [*cells, *cells[-2:]] for name, cells in bad_row(when="2024-01-04", who=None).items()}
    found = run_validate(tmp_path, log, as_of=as_of, params={"max_bad_share": 0.0})
    assert found.report["tables"]["interactions"]["filtered"] == {"after as_of": 5}
    assert found.report["tables"]["interactions"]["quarantined"] == {}
    assert found.report["as_of"] == "2024-01-02T00:00:00+00:00"
    early = run_validate(tmp_path / "early", {name: cells[:2] for name, cells in log.items()}, as_of=as_of)
    pd.testing.assert_frame_equal(found.tables["interactions"], early.tables["interactions"])


def test_as_of_before_any_data_says_when_the_log_begins(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"as_of 2020-01-01.*runs from 2024-01-01"):
        run_validate(tmp_path, ROWS, as_of=datetime(2020, 1, 1, tzinfo=UTC))


def test_one_moment_for_all_rows_is_refused(tmp_path: Path) -> None:
    found = run_validate(tmp_path, ROWS | {"when": ["2024-01-01"] * 4})
    with pytest.raises(DataError, match="one timestamp"):
        found.raise_if_refused()


def test_item_table_becomes_features_by_name(tmp_path: Path) -> None:
    items = {
        "id": ["2", " 1", None, "2", "3"],
        "name": ["two", "one", "none", "two again", None],
        "colour": ["red", "blue ", "x", "x", ""],
        "size": ["1", "big", "3", "4", "inf"],
        "tags": ["a| b|a|", None, "x", "y", "|"],
    }
    card = make_card(
        items={
            "id": "id",
            "title": "name",
            "features": {
                "hue": {"column": "colour"},
                "size": {"column": "size", "kind": "numeric"},
                "tags": {"column": "tags", "kind": "multi"},
            },
        }
    )
    found = run_validate(tmp_path, ROWS, card, items=items)
    assert reasons(found, "items") == {"missing id": 1, "duplicate id": 1}
    assert found.report["tables"]["items"]["nulled"] == {"size": 2}
    assert adds_up(found)
    found.save(tmp_path / "tables")
    table = pq.read_table(tmp_path / "tables" / "items.parquet")
    assert table.to_pylist() == [
        {"item_id": "1", "title": "one", "hue": "blue", "size": None, "tags": None},
        {"item_id": "2", "title": "two", "hue": "red", "size": 1.0, "tags": ["a", "b"]},
        {"item_id": "3", "title": None, "hue": None, "size": None, "tags": None},
    ]
    assert [check["status"] for check in found.report["checks"] if check["name"] == "unreadable numbers"] == ["warn"]


def test_columns_keep_their_type_when_nothing_is_in_them(tmp_path: Path) -> None:
    card = make_card(
        items={"id": "id", "features": {"t": {"column": "t"}, "m": {"column": "t", "kind": "multi"}}},
    )
    run_validate(tmp_path, ROWS, card, items={"id": ["a"], "t": [None]}).save(tmp_path / "tables")
    schema = pq.read_schema(tmp_path / "tables" / "items.parquet")
    assert [str(field.type) for field in schema] == ["string", "string", "list<element: string>"]


def test_a_name_that_is_taken_is_a_card_error(tmp_path: Path) -> None:
    with pytest.raises(CardError, match="value"):
        run_validate(tmp_path, ROWS, make_card(interactions={"context": {"value": "many"}}))
    with pytest.raises(CardError, match="title"):
        card = make_card(items={"id": "id", "title": "a", "features": {"title": {"column": "b"}}})
        run_validate(tmp_path, ROWS, card, items={"id": ["a"], "a": ["x"], "b": ["y"]})


def test_a_raw_column_called_reason_is_kept_apart(tmp_path: Path) -> None:
    found = run_validate(tmp_path, bad_row(who=None) | {"reason": list("abcde")})
    assert found.quarantine["raw_reason"].tolist() == ["e"]


def test_same_input_gives_same_bytes(tmp_path: Path) -> None:
    for place in ("one", "two"):
        found = run_validate(tmp_path / place, bad_row(who=None), make_card(**BUY_VIEW))
        found.save(tmp_path / place / "tables")
        (tmp_path / place / "report.json").write_text(json.dumps(found.report))
    assert tree_digests(tmp_path / "one") == tree_digests(tmp_path / "two")


CELL = st.one_of(
    st.none(), st.sampled_from(["u1", "u2", " u1 ", "", "nan", "007", "../../x", "2024-01-01", "1700000000", "3"]),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=8),
)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(CELL, CELL, CELL, CELL, CELL), min_size=1, max_size=25),
    as_of=st.sampled_from([None, datetime(2023, 12, 31, tzinfo=UTC)]),
    filtered=st.booleans(),
)
def test_rows_always_add_up_whatever_is_in_them(tmp_path: Path, rows: Any, as_of: Any, filtered: bool) -> None:
    log = pd.DataFrame(rows, columns=list(ROWS), dtype=object)
    filters = [{"keep": "kind != '3'", "reason": "three"}] if filtered else []
    card = make_card(interactions={"event": "kind", "value": "many", "filters": filters})
    try:
        found = run_validate(tmp_path, log, card, as_of=as_of)
    except DataError as error:
        assert "as_of" in str(error)
        return
    assert adds_up(found)
    kept = found.tables["interactions"]
    assert kept["timestamp"].is_monotonic_increasing
    assert set(kept["user_id"]) <= {str(cell).strip() for cell in log["who"]}
    assert not kept[["user_id", "item_id", "timestamp", "event"]].isna().any().any()
    assert kept["timestamp"].le(pd.Timestamp(as_of or NOW) + pd.Timedelta(seconds=300)).all()

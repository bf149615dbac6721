"""Filters of a card: what they leave out, and what they may not do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rectory.data.card import RowFilter
from rectory.data.row_filters import apply_filter
from rectory.errors import CardError
from tests.unit.data_validation.world import ROWS, adds_up, make_card, reasons, run_validate

FRAME = pd.DataFrame(
    {"n": ["1", "-2", None, "3,5"], "a b": ["x", "y", None, "x"], "rating:float": [1.0, 2.0, 3.0, 4.0]}, dtype=object
)


def fails(keep: str, decimal: str = ",") -> list[bool]:
    rows = np.ones(len(FRAME), dtype=bool)
    return apply_filter(FRAME, rows, RowFilter(keep=keep, reason="r"), decimal).fails.tolist()


@pytest.mark.parametrize(
    ("keep", "left_out"),
    [
        ("n > 0", [False, True, True, False]),
        ("`rating:float` >= 3", [True, True, False, False]),
        ("`a b` == 'x' and n > 1", [True, True, True, False]),
        ("`a b`.str.startswith('y')", [True, False, True, True]),
        ("`a b`.isin(['x'])", [False, True, True, False]),
        ("not (`a b` == 'x')", [True, False, False, True]),
        ("`a b` in ['x', 'y']", [False, False, True, False]),
        ("n.between(-5, 0)", [True, False, True, True]),
    ],
)
def test_a_filter_keeps_what_it_says(keep: str, left_out: list[bool]) -> None:
    assert fails(keep) == left_out


@pytest.mark.parametrize(
    "keep",
    [
        "@pd.read_csv('x')",
        "n.__class__ == 1",
        "n.to_csv('/tmp/x') == 1",
        "`a b`.map(print)",
        "__import__('os').system('x')",
        "open('x')",
        "[n for n in n]",
        "n >",
        "1 == 1",
        "nothing > 0",
        "n + 1",
        "n > `a b`",
        "n = 1",
        "",
    ],
)
def test_a_filter_that_is_no_comparison_of_columns_is_a_card_error_that_shows_it(keep: str) -> None:
    with pytest.raises(CardError) as error:
        fails(keep)
    assert f"`keep: {keep}`" in str(error.value)


def filtered(*filters: dict[str, Any], **changes: Any) -> Any:
    return make_card(interactions={"filters": list(filters), "event": "kind", "value": "many"}, **changes)


def test_a_row_counts_under_the_first_filter_that_it_fails(tmp_path: Path) -> None:
    card = filtered({"keep": "many > 1", "reason": "one"}, {"keep": "kind == 'buy'", "reason": "no view"})
    found = run_validate(tmp_path, ROWS, card)
    assert found.report["tables"]["interactions"]["filtered"] == {"one": 1, "no view": 1}
    assert adds_up(found)


def test_a_number_that_cannot_be_read_is_a_fault_and_not_filtered(tmp_path: Path) -> None:
    many = [str(number) for number in range(1, 20)] + ["lots"]
    log = {"who": ["u"] * 20, "what": ["a"] * 20, "when": range(1_700_000_000, 1_700_000_020), "many": many}
    card = make_card(interactions={"filters": [{"keep": "many > 1", "reason": "one"}]})
    found = run_validate(tmp_path, log, card)
    assert found.report["tables"]["interactions"]["filtered"] == {"one": 1}
    assert reasons(found) == {"unreadable number in a filter's column": 1}
    assert adds_up(found)


def test_a_filter_of_the_item_table_takes_the_item_and_its_interactions(tmp_path: Path) -> None:
    card = filtered(
        {"table": "items", "keep": "department != 'FUEL'", "reason": "fuel"},
        items={"id": "id", "features": {"department": {"column": "department"}}},
    )
    items = {"id": ["a ", "b"], "department": ["FUEL", None]}
    found = run_validate(tmp_path, ROWS, card, items=items)
    assert found.report["tables"]["items"]["filtered"] == {"fuel": 1}
    assert found.report["tables"]["interactions"]["filtered"] == {"fuel": 2}
    # c has no row in the table: nothing is known against it.
    assert list(found.tables["interactions"]["item_id"]) == ["b", "c"]
    assert list(found.tables["items"]["item_id"]) == ["b"]
    assert adds_up(found)


def test_a_filter_of_the_user_table_takes_the_user(tmp_path: Path) -> None:
    card = filtered({"table": "users", "keep": "staff == 0", "reason": "staff"}, users={"id": "id"})
    found = run_validate(tmp_path, ROWS, card, users={"id": ["u1", "u2"], "staff": ["1", "0"]})
    assert found.report["tables"]["interactions"]["filtered"] == {"staff": 2}
    assert adds_up(found)

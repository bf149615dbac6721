"""docs/faults.md names only tests that there are, and every fault test is named in it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))


def names_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_each_test_named_on_the_page_exists(path: str, name: str) -> None:
    assert name in names_in(ROOT / path)


def test_every_row_names_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| Fault")]
    assert len(rows) > 40
    assert [row for row in rows if "::test_" not in row] == []


@pytest.mark.parametrize("name", ["test_kill", "test_run", "test_chain", "test_requests"])
def test_each_fault_test_is_on_the_page(name: str) -> None:
    shown = {test for path, test in NAMED if path == f"tests/faults/{name}.py"}
    assert names_in(ROOT / "tests" / "faults" / f"{name}.py") == shown

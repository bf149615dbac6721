"""Row filters of a card: pandas `query` expressions, kept to what a filter needs."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rectory.arrays import BoolArray
from rectory.data.card import RowFilter
from rectory.data.cells import numbers_or_texts
from rectory.errors import CardError

_QUOTED = re.compile(r"`([^`]+)`")
# A filter may look at rows, not do things: `x.to_csv("...")` is a method call too.
# fmt: off
_METHODS = frozenset({
    "abs", "between", "contains", "endswith", "eq", "fullmatch", "ge", "gt", "isin", "isna", "isnull", "le", "len",
    "lower", "lt", "match", "ne", "notna", "notnull", "startswith", "strip", "upper",
})
# fmt: on
_ACCESSORS = frozenset({"str", "dt", "year", "month", "day", "hour", "dayofweek", "minute"})


@dataclass(frozen=True)
class Filtered:
    """fails: (n,) bool. unreadable: (n,) bool: a number that the filter looks at is none; such a row is no failure."""

    fails: BoolArray
    unreadable: BoolArray


def apply_filter(frame: pd.DataFrame, rows: BoolArray, row_filter: RowFilter, decimal: str) -> Filtered:
    """Which of the rows a filter leaves out. A missing cell passes `!=` and fails every other comparison.

    Args:
        frame: a raw table of n rows.
        rows: (n,) bool: look at these only.
    Raises:
        CardError: the expression does not parse, names no column, or does not give a yes or no for each row.
    """
    where = f"interactions.filters: `keep: {row_filter.keep}`"
    columns = _columns(row_filter.keep, [str(name) for name in frame.columns], where)
    unreadable = np.zeros(int(rows.sum()), dtype=bool)
    looked_at: dict[str, pd.Series] = {}
    for name in columns:
        looked_at[name], lost = numbers_or_texts(frame[name][rows].reset_index(drop=True), decimal)
        unreadable |= lost
    if not len(unreadable):
        return Filtered(np.zeros(len(frame), dtype=bool), np.zeros(len(frame), dtype=bool))
    try:
        passes = pd.DataFrame(looked_at).eval(row_filter.keep, engine="python")
    # pandas raises nearly every type there is for an expression that it cannot evaluate.
    except Exception as error:
        raise CardError(f"{where} cannot be evaluated ({type(error).__name__}: {error}). {_HELP}") from error
    if not isinstance(passes, pd.Series) or len(passes) != len(unreadable) or passes.dtype.kind not in "bO":
        raise CardError(f"{where} does not give yes or no for each row. {_HELP}")
    verdict = passes.map(lambda value: value is True or value is np.True_) if passes.dtype.kind == "O" else passes
    return Filtered(_spread(~verdict.to_numpy(dtype=bool) & ~unreadable, rows), _spread(unreadable, rows))


def _spread(found: BoolArray, rows: BoolArray) -> BoolArray:
    everywhere = np.zeros(len(rows), dtype=bool)
    everywhere[rows] = found
    return everywhere


_HELP = (
    "Write a pandas query over raw columns, e.g. quantity > 0 or `event:type` == 'view'; docs/datasets.md shows more."
)


def _columns(expression: str, known: Sequence[str], where: str) -> list[str]:
    """Columns that the expression names, after a look at what else is in it."""
    quoted = _QUOTED.findall(expression)
    plain = _QUOTED.sub(lambda match: f"quoted_{quoted.index(match[1])}_", expression)
    if "@" in plain or "__" in plain:
        raise CardError(f"{where}: `@` and `__` are not allowed. {_HELP}")
    try:
        tree = ast.parse(plain.strip(), mode="eval")
    except SyntaxError as error:
        raise CardError(f"{where} does not parse ({error.msg}). {_HELP}") from error
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and not (isinstance(node.func, ast.Attribute) and node.func.attr in _METHODS):
            raise CardError(f"{where}: only these may be called: {', '.join(sorted(_METHODS))}. {_HELP}")
        if isinstance(node, ast.Attribute) and node.attr not in _METHODS | _ACCESSORS:
            raise CardError(f"{where}: `.{node.attr}` is not allowed; a name with a dot stands in backticks. {_HELP}")
        if isinstance(node, ast.Lambda | ast.ListComp | ast.GeneratorExp | ast.SetComp | ast.DictComp | ast.NamedExpr):
            raise CardError(f"{where}: only comparisons are allowed. {_HELP}")
        if isinstance(node, ast.Name):
            match = re.fullmatch(r"quoted_(\d+)_", node.id)
            names.append(quoted[int(match[1])] if match else node.id)
    names = [name for name in dict.fromkeys(names) if name not in {"true", "false"} or name in known]
    missing = [name for name in names if name not in known]
    if missing:
        raise CardError(f"{where} names column(s) {missing}, which the raw table has not; it has {sorted(known)}.")
    if not names:
        raise CardError(f"{where} names no column. {_HELP}")
    return names

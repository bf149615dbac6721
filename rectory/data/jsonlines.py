"""JSON lines to an arrow table of text.

Arrow's own JSON reader guesses types: it turns ids into numbers and text that looks like a date into times, and fails
where a column changes from one to the other. Here numbers keep the digits they were written with.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

_BLOCK_LINES = 50_000
LIST_MARK = "\x1f"
"""Between the values of a list until the card's separator is known (ASCII: unit separator)."""


def json_columns(path: Path, encoding: str) -> list[str]:
    """Names in the first block of lines, in order of appearance."""
    for lines in _blocks(path, encoding):
        return list(_parse(lines)[0].columns)
    return []


def read_jsonl(path: Path, encoding: str) -> tuple[pa.Table, list[str]]:
    """Read all lines; empty ones are skipped.

    Returns:
        a table of string columns (nested records as parent.child), and the lines that are no JSON object.
    """
    tables, unreadable = [], []
    for lines in _blocks(path, encoding):
        frame, bad = _parse(lines)
        unreadable += bad
        tables.append(
            pa.table({name: pa.array(_as_text(frame[name]), pa.string(), from_pandas=True) for name in frame.columns})
        )
    return (pa.concat_tables(tables, promote_options="default") if tables else pa.table({})), unreadable


def _blocks(path: Path, encoding: str) -> Iterator[list[str]]:
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        source: Any = gzip.GzipFile(fileobj=raw) if packed else raw
        name = "utf-8-sig" if encoding.lower() in {"utf-8", "utf8"} else encoding
        text = io.TextIOWrapper(source, encoding=name)
        while block := list(islice(text, _BLOCK_LINES)):
            lines = [line for line in block if line.strip()]
            if lines:
                yield lines


def _parse(lines: list[str]) -> tuple[pd.DataFrame, list[str]]:
    try:
        # One call for the block: ten times as fast as one a line.
        records: list[dict[str, Any]] = _loads("[" + ",".join(lines) + "]")
        unreadable: list[str] = []
        if len(records) != len(lines) or not all(isinstance(record, dict) for record in records):
            raise ValueError("a line is not one object")
    except ValueError:
        records, unreadable = _parse_singly(lines)
    if any(isinstance(value, dict) for record in records for value in record.values()):
        return pd.json_normalize(records), unreadable
    return pd.DataFrame(records), unreadable


def _parse_singly(lines: list[str]) -> tuple[list[dict[str, Any]], list[str]]:
    records: list[dict[str, Any]] = []
    unreadable: list[str] = []
    for line in lines:
        try:
            record = _loads(line)
        except ValueError:
            record = None
        if isinstance(record, dict):
            records.append(record)
        else:
            unreadable.append(line.rstrip("\r\n"))
    return records, unreadable


def _loads(text: str) -> Any:
    return json.loads(text, parse_int=str, parse_float=str, parse_constant=lambda _: None)


def _as_text(column: pd.Series[Any]) -> pd.Series[Any]:
    if pd.api.types.infer_dtype(column, skipna=True) not in {"string", "empty"}:
        column = column.map(_cell)
    # Arrow would take "" for a value; empty is missing here as in csv files.
    return column.astype(object).where(column.notna() & (column != ""), np.nan)


def _cell(value: Any) -> Any:
    if isinstance(value, str) or value is None or value != value:  # noqa: PLR0124  NaN, the mark of an absent key
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return LIST_MARK.join(item if isinstance(item, str) else json.dumps(item) for item in value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True)

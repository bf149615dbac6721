"""How a file is written: encoding, separator, quotes, header; and a sample of its rows."""

from __future__ import annotations

import codecs
import csv
import gzip
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from rectory.data.card import UNREADABLE, TableFile
from rectory.data.columns import join_lists
from rectory.data.tabular import file_format, flat, read_columns, read_file
from rectory.errors import DataError

_HEAD_BYTES, _TAIL_BYTES = 12 << 20, 4 << 20
_HEAD_ROWS = 200_000
_PIECE_BYTES = 1 << 20
_SNIFF_LINES = 200
_SEPARATORS = (";", "\t", ",", "|")
_NULLS = ("NULL", "\\N", "NaN", "nan", "None", "#N/A", "N/A")
_DATA_CELL = re.compile(r"[-+]?[\d.,]*\d[\d.,]*|\d{1,4}[-./]\d{1,2}[-./]\d{1,4}([T ].*)?")


@dataclass(frozen=True)
class Profiled:
    """A file, how to read it, and rows from its beginning and its end (csv and jsonl cells as text)."""

    path: Path
    spec: TableFile
    rows: pd.DataFrame
    complete: bool
    """The rows are all that the file has."""


@dataclass(frozen=True)
class _Bytes:
    head: bytes
    tail: bytes
    encoding: str


def profile_file(path: Path, shown: str) -> Profiled:
    """Find out how a file is written and sample it.

    Args:
        shown: the path as the card will name it.
    Raises:
        DataError: the file is missing, empty or not readable as what it seems.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}. Name one that exists, or quote a name with spaces.")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes). Export it again.")
    plain = TableFile(path=shown)
    kind = file_format(path, plain)
    if kind == "parquet":
        return _profile_parquet(path, plain)
    known_endings = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".json")
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    plain = plain if suffixes and suffixes[-1] in known_endings else plain.model_copy(update={"format": kind})
    read = _stream(path)
    sample = read.head + read.tail
    spec = plain.model_copy(update={"encoding": read.encoding})
    if kind == "csv":
        spec = _csv_dialect(sample.decode(read.encoding, errors="replace"), spec)
    with tempfile.TemporaryDirectory(prefix="rectory-") as scratch:
        file = Path(scratch) / f"sample.{kind}"
        file.write_bytes(sample)
        table = read_file(file, spec)
    rows = join_lists(table, {}).to_pandas()
    rows = rows[rows[UNREADABLE].isna()].drop(columns=UNREADABLE) if UNREADABLE in rows else rows
    if kind == "csv":
        nulls = tuple(text for text in _NULLS if bool((rows == text).mean().gt(0.005).any()))
        spec = spec.model_copy(update={"nulls": nulls})
        rows = rows.mask(rows.isin(nulls)) if nulls else rows
    return Profiled(path, spec, rows.reset_index(drop=True), not read.tail)


def _profile_parquet(path: Path, spec: TableFile) -> Profiled:
    read_columns(path, spec)  # refuses what is no parquet, with a cure
    with pq.ParquetFile(path) as file:
        blocks = file.iter_batches(batch_size=_HEAD_ROWS)
        head = next(blocks, None)
        if head is None:
            raise DataError(f"{path} has columns but no rows. Export it again.")
        rows = [_plain(pa.Table.from_batches([head]))]
        complete = file.metadata.num_rows <= _HEAD_ROWS
        if not complete:
            rows.append(_plain(file.read_row_group(file.num_row_groups - 1)).tail(_HEAD_ROWS // 4))
    return Profiled(path, spec, pd.concat(rows, ignore_index=True), complete)


def _plain(table: pa.Table) -> pd.DataFrame:
    """As `fetch` will write it: no records, no lists."""
    frame: pd.DataFrame = join_lists(flat(table), {}).to_pandas()
    return frame


def _stream(path: Path) -> _Bytes:
    """Read once: first and last bytes, cut at line ends, and the encoding that holds for the whole file."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    head, tail, utf8, size = b"", b"", True, 0
    try:
        for piece in _pieces(path):
            size += len(piece)
            if len(head) < _HEAD_BYTES:
                head += piece
            else:
                tail = (tail + piece)[-_TAIL_BYTES:]
            if utf8:
                try:
                    decoder.decode(piece)
                except UnicodeDecodeError:
                    utf8 = False
    except (EOFError, OSError) as error:
        raise DataError(f"{path} cannot be unpacked ({error}): it is damaged or truncated. Copy it again.") from error
    if head[:2] in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE}:
        return _Bytes(head[: len(head) // 2 * 2], b"", "utf-16")
    if tail:
        head, tail = head[: head.rfind(b"\n") + 1], tail[tail.find(b"\n") + 1 :]
    if utf8:
        return _Bytes(head, tail, "utf-8-sig" if head.startswith(codecs.BOM_UTF8) else "utf-8")
    try:
        (head + tail).decode("cp1252")
    except UnicodeDecodeError:
        return _Bytes(head, tail, "latin-1")
    return _Bytes(head, tail, "cp1252")


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        source: Any = gzip.GzipFile(fileobj=raw) if packed else raw
        while piece := source.read(_PIECE_BYTES):
            yield piece


def _csv_dialect(text: str, spec: TableFile) -> TableFile:
    lines = text.removeprefix("\ufeff").splitlines(keepends=True)[:_SNIFF_LINES]
    tried = [
        (*_consistency(lines, separator, quoting), -_SEPARATORS.index(separator), separator, quoting)
        for separator in _SEPARATORS
        # On a tie the later wins: quotes are quotes unless the file makes more sense without.
        for quoting in (False, True)
    ]
    best = max(tried, key=lambda option: (option[0], option[1], option[2], option[4]))
    separator, quoting = str(best[3]), bool(best[4])
    rows = [row for row in _parse(lines, separator, quoting) if row]
    header = rows[0] if rows else []
    columns: tuple[str, ...] = ()
    if any(_DATA_CELL.fullmatch(cell.strip()) for cell in header):
        columns = tuple(f"column_{number}" for number in range(1, len(header) + 1))
    return spec.model_copy(update={"separator": separator, "quoting": quoting, "columns": columns})


def _consistency(lines: list[str], separator: str, quoting: bool) -> tuple[float, int]:
    """(share of rows with as many cells as the first row has, that number); (0, 1) when there is one cell."""
    widths = [len(row) for row in _parse(lines, separator, quoting) if row]
    if not widths or widths[0] < 2:
        return 0.0, 1
    return round(Counter(widths)[widths[0]] / len(widths), 2), widths[0]


def _parse(lines: list[str], separator: str, quoting: bool) -> list[list[str]]:
    mode: Literal[0, 3] = csv.QUOTE_MINIMAL if quoting else csv.QUOTE_NONE
    try:
        return list(csv.reader(lines, delimiter=separator, quoting=mode))
    except csv.Error:
        return []

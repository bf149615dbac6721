"""Files to arrow tables: csv, jsonl (both maybe gzipped) and parquet.

Cells of csv and jsonl files stay text, so that "007", "1.10", "NA" and 20-digit numbers arrive as they were written.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from rectory.data.capacity import Size, estimate_lines
from rectory.data.card import UNREADABLE, TableFile
from rectory.data.jsonlines import json_columns, read_jsonl
from rectory.errors import DataError

_ENDINGS = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".parquet": "parquet", ".pq": "parquet"}
_JSON_ENDINGS = (".jsonl", ".ndjson", ".json")
_HEADER_BYTES = 1 << 20
_BLOCK_BYTES = 8 << 20


def file_format(path: Path, spec: TableFile) -> str:
    """csv | jsonl | parquet, by the card or by the ending; what has no known ending is read as csv."""
    if spec.format != "auto":
        return spec.format
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    if suffixes and suffixes[-1] in _JSON_ENDINGS:
        return "jsonl"
    return _ENDINGS.get(suffixes[-1] if suffixes else "", "csv")


def read_columns(path: Path, spec: TableFile) -> list[str]:
    """Names of a file's columns, without reading all of it.

    Raises:
        DataError: the file is empty, is not in the stated format or encoding, or has a name twice.
    """
    names: list[str] = _guarded(path, spec, _column_names)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: column name(s) {twice} stand twice in the header. Rename them in the export.")
    return names


def estimate_size(paths: Sequence[Path], spec: TableFile) -> Size:
    """Rows and columns of the files: exact for parquet, by a sample of lines for text."""
    kind = file_format(paths[0], spec)
    if kind != "parquet":
        return Size(estimate_lines(paths), len(read_columns(paths[0], spec)), 0)
    schema = _guarded(paths[0], spec, lambda path, _: pq.read_schema(path))
    # The ids of users and items become text, whatever they are now.
    text = max(sum(not _is_fixed_width(field.type) for field in schema), min(2, len(schema)))
    rows = sum(_guarded(path, spec, lambda path, _: pq.read_metadata(path).num_rows) for path in paths)
    return Size(rows, text, len(schema) - text)


def read_file(path: Path, spec: TableFile) -> pa.Table:
    """Read one file, with UNREADABLE where lines did not parse.

    Raises:
        DataError: it does not parse.
    """
    table: pa.Table = _guarded(path, spec, _READERS[file_format(path, spec)])
    return table


def require_same_columns(first_path: Path, first: pa.Table, path: Path, table: pa.Table) -> None:
    """Raises:
    DataError: a file has other columns than the first one.
    """
    expected, found = set(first.column_names) - {UNREADABLE}, set(table.column_names) - {UNREADABLE}
    # Each line of a jsonl file names its own columns: one that nobody filled in that day is no fault.
    if expected == found or path.name.lower().removesuffix(".gz").endswith(_JSON_ENDINGS):
        return
    raise DataError(
        f"{path} has other columns than {first_path}: it lacks {sorted(expected - found)} and adds "
        f"{sorted(found - expected)}. Narrow the glob in the card to files of one layout, or export that file again."
    )


def _guarded(path: Path, spec: TableFile, read: Callable[[Path, TableFile], Any]) -> Any:
    """Call a reader; whatever is wrong with the file becomes one paragraph with a cure."""
    kind = file_format(path, spec)
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty (0 bytes). Export it again, or narrow the path in the card.")
        return read(path, spec)
    except FileNotFoundError:
        raise DataError(f"{path} is gone: it was there when the run began. Put it back and run again.") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is a damaged or truncated gzip file ({error}). Copy or export it again.") from error
    except (UnicodeError, pa.ArrowException, OSError, LookupError, csv.Error) as error:
        raise DataError(_explain(path, kind, spec, error)) from error


def _explain(path: Path, kind: str, spec: TableFile, error: Exception) -> str:
    text = " ".join(str(error).split())
    if kind == "parquet":
        return f"{path} cannot be read as parquet ({text}): it is truncated or something else. Write it again."
    if isinstance(error, UnicodeError) or "UTF8" in text or "UTF-8" in text:
        return (
            f"{path} is not in the encoding {spec.encoding} ({text}). Set `encoding:` beside its `path:` in the card; "
            "exports of spreadsheets are often cp1252."
        )
    if isinstance(error, LookupError):
        return (
            f"{path}: there is no encoding named {spec.encoding!r}. Use a name that Python knows, e.g. utf-8, cp1252."
        )
    return (
        f"{path} cannot be read as {kind} with separator {spec.separator!r} ({text}). Set `separator:`, or "
        "`quoting: false` if quote characters are ordinary text in it, beside its `path:` in the card."
    )


def _column_names(path: Path, spec: TableFile) -> list[str]:
    kind = file_format(path, spec)
    if kind == "parquet":
        return list(flat(pa.schema(pq.read_schema(path)).empty_table()).column_names)
    if kind == "jsonl":
        return json_columns(path, spec.encoding)
    return list(spec.columns) or _csv_header(path, spec)


def _csv_header(path: Path, spec: TableFile) -> list[str]:
    encoding = "utf-8-sig" if _is_utf8(spec.encoding) else spec.encoding
    with _opened(path) as handle:
        head = io.TextIOWrapper(io.BytesIO(handle.read(_HEADER_BYTES)), encoding=encoding, errors="replace", newline="")
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if spec.quoting else csv.QUOTE_NONE
    header = next((row for row in csv.reader(head, delimiter=spec.separator, quoting=quoting) if row), None)
    if header is None:
        raise DataError(f"{path} has no header and no rows. Export it again, or narrow the path in the card.")
    return header


def _read_csv(path: Path, spec: TableFile) -> pa.Table:
    names = read_columns(path, spec)
    unreadable: list[str] = []

    def set_aside(row: Any) -> str:
        unreadable.append(row.text)
        return "skip"

    with _opened(path) as handle:
        table = pa_csv.read_csv(
            handle,
            # Threads would call `set_aside` in an order that differs from run to run.
            read_options=pa_csv.ReadOptions(
                use_threads=False,
                column_names=names,
                skip_rows=0 if spec.columns else 1,
                block_size=_BLOCK_BYTES,
                encoding="utf8" if _is_utf8(spec.encoding) else spec.encoding,
            ),
            parse_options=pa_csv.ParseOptions(
                delimiter=spec.separator,
                quote_char='"' if spec.quoting else False,
                newlines_in_values=spec.quoting,
                invalid_row_handler=set_aside,
            ),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                null_values=["", *spec.nulls],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
    return with_unreadable(table, unreadable)


def _read_jsonl(path: Path, spec: TableFile) -> pa.Table:
    table, unreadable = read_jsonl(path, spec.encoding)
    return with_unreadable(table, unreadable)


def _read_parquet(path: Path, _: TableFile) -> pa.Table:
    # ParquetFile, not read_table: the latter would invent columns from folder names such as day=2020-01-01.
    with pq.ParquetFile(path) as file:
        return flat(file.read()).replace_schema_metadata(None)


_READERS: dict[str, Callable[[Path, TableFile], pa.Table]] = {
    "csv": _read_csv,
    "jsonl": _read_jsonl,
    "parquet": _read_parquet,
}


def with_unreadable(table: pa.Table, lines: Sequence[str]) -> pa.Table:
    """Append one row a line that did not parse: its text under UNREADABLE, all else null. They stand at the end."""
    if not lines:
        return table
    rest = pa.table({UNREADABLE: pa.array(lines, pa.string())})
    return pa.concat_tables([table, rest], promote_options="default")


def flat(table: pa.Table) -> pa.Table:
    """Nested records become columns named parent.child."""
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    return table


def _opened(path: Path) -> Any:
    with path.open("rb") as handle:
        packed = handle.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if packed else path.open("rb")


def _is_utf8(encoding: str) -> bool:
    return encoding.lower().replace("_", "-") in {"utf-8", "utf8", "utf-8-sig"}


def _is_fixed_width(kind: pa.DataType) -> bool:
    return bool(pa.types.is_primitive(kind) or pa.types.is_dictionary(kind) or pa.types.is_decimal(kind))

"""Source files to one arrow table, each file parsed once: a part is kept for each content that was read.

What is read again from parts is to the byte what a read from scratch gives, because a first read goes through its parts
too. Of several files one that cannot be read is set aside: it becomes one unreadable row that names it, and the rest of
the table gets in. A file whose content came before under another name adds nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rectory.data.card import UNREADABLE, TableFile
from rectory.data.columns import as_ids
from rectory.data.corrections import SOURCE_FILE
from rectory.data.forgotten import Forgotten
from rectory.data.tabular import file_format, read_columns, read_file, require_same_columns
from rectory.errors import DataError, FetchError
from rectory.files import read_json, replacing, sha256_file, sha256_json, write_json

_PART_VERSION = 1
"""Raise it when the same file would be parsed to another part than before."""
LEDGER = "ledger.json"


@dataclass(frozen=True)
class Source:
    """Files of one table.

    names: what to call them to people, in the order of paths.
    required: columns that the card names. user: that of the users, None: the table has none.
    """

    table: str
    paths: list[Path]
    names: list[str]
    spec: TableFile
    required: tuple[str, ...]
    user: str | None
    forgotten: Forgotten


@dataclass
class Ingested:
    """digests: sha256 of each file. parsed: files that had not been read before. repeated: file -> the file that it
    equals. aside: file -> why it could not be read. forgotten: rows of forgotten users that were left out."""

    digests: list[str] = field(default_factory=list)
    parsed: list[str] = field(default_factory=list)
    repeated: dict[str, str] = field(default_factory=dict)
    aside: dict[str, str] = field(default_factory=dict)
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)
    forgotten: int = 0


def readable(source: Source) -> list[Path]:
    """The files whose head can be read; the whole list when it is one file, whose fault is told as such."""
    if len(source.paths) == 1:
        return source.paths
    found = []
    for path in source.paths:
        try:
            _look(path, source)
        except DataError:
            continue
        found.append(path)
    return found


def ingest(source: Source, cache: Path) -> tuple[pa.Table, Ingested]:
    """Read the files of one table, from their parts where they were read before.

    Args:
        cache: folder of the data set's parts; the caller holds its lock.
    Returns:
        the table with the columns that most files have, UNREADABLE where lines or files did not parse, and
        SOURCE_FILE where there are several files.
    Raises:
        DataError: the only file, or every file, is unreadable or of another layout.
    """
    done = Ingested()
    tables: list[tuple[Path, str, pa.Table]] = []
    seen: dict[str, str] = {}
    faults: list[DataError] = []
    for path, name in zip(source.paths, source.names, strict=True):
        digest = sha256_file(path)
        done.digests.append(digest)
        if digest in seen:
            done.repeated[name] = seen[digest]
            continue
        seen[digest] = name
        try:
            table = _part(path, name, digest, source, cache=cache, done=done)
        except DataError as fault:
            if len(source.paths) == 1:
                raise
            faults.append(fault)
            done.aside[name] = str(fault)
            continue
        tables.append((path, name, table))
    if not tables:
        raise faults[0]
    return _joined(source, _of_one_layout(tables, done), done), done


def _of_one_layout(tables: list[tuple[Path, str, pa.Table]], done: Ingested) -> list[tuple[str, pa.Table]]:
    """The tables with the columns that most files have (of equally many, that of the first); others are set aside."""
    layouts = Counter(frozenset(table.column_names) - {UNREADABLE} for _, _, table in tables)
    usual = layouts.most_common(1)[0][0]
    like = next((path, table) for path, _, table in tables if set(table.column_names) - {UNREADABLE} == usual)
    kept = []
    for path, name, table in tables:
        try:
            require_same_columns(*like, path, table)
        except DataError as fault:
            done.aside[name] = str(fault)
            continue
        kept.append((name, table))
    return kept


def _joined(source: Source, tables: list[tuple[str, pa.Table]], done: Ingested) -> pa.Table:
    if len(source.paths) == 1:
        return tables[0][1]
    named = [_from_file(table, name) for name, table in tables]
    # A file that did not parse is one row that did not: it is counted, named and shown like any other.
    named += [
        _from_file(pa.table({UNREADABLE: pa.array([why], pa.string())}), name) for name, why in done.aside.items()
    ]
    try:
        return pa.concat_tables(named, promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError(
            f"the files {source.names[0]} ... {source.names[-1]} have a column in types that do not mix ({error}). "
            "Export them with equal types."
        ) from error


def _from_file(table: pa.Table, name: str) -> pa.Table:
    return table.append_column(SOURCE_FILE, pa.array([name] * table.num_rows, pa.string()).dictionary_encode())


def _look(path: Path, source: Source) -> None:
    """Raises:
    DataError: the head of the file cannot be read, or lacks a column that the card names.
    """
    found = read_columns(path, source.spec)
    if file_format(path, source.spec) == "parquet":
        try:
            pq.read_metadata(path)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path} cannot be read as parquet ({error}). Write it again.") from error
    elif file_format(path, source.spec) == "jsonl":
        # Lines of jsonl may name a column for the first time late in the file.
        return
    missing = sorted(set(source.required) - set(found))
    if missing and len(source.paths) > 1:
        raise DataError(f"{path} lacks column(s) {missing}; it has {sorted(found)}. Export it again.")


def _part(path: Path, name: str, digest: str, source: Source, *, cache: Path, done: Ingested) -> pa.Table:
    """The file's rows, without those of users who are to be forgotten."""
    told = source.spec.model_dump(mode="json", exclude={"path"})
    # The ending decides the format, so a file under another name may be another table.
    key = sha256_json(
        [_PART_VERSION, digest, file_format(path, source.spec), told, source.user, source.forgotten.digest]
    )
    part = cache / source.table / f"{key[:40]}.parquet"
    if not part.is_file():
        _look(path, source)
        table = read_file(path, source.spec)
        if sha256_file(path) != digest:
            raise FetchError(f"{path} was changed while it was read. Wait until its export has ended, then run again.")
        kept = without_forgotten(table, source.user, source.forgotten)
        kept = kept.replace_schema_metadata({"forgotten": str(table.num_rows - kept.num_rows)})
        with replacing(part) as scratch:
            pq.write_table(kept, scratch, compression="zstd")
        done.parsed.append(name)
    with pq.ParquetFile(part) as file:
        table = file.read()
    lost = int((table.schema.metadata or {}).get(b"forgotten", b"0"))
    done.forgotten += lost
    done.parts[part.name] = {"table": source.table, "file": name, "sha256": digest, "rows": table.num_rows}
    return table.replace_schema_metadata(None)


def without_forgotten(table: pa.Table, user: str | None, forgotten: Forgotten) -> pa.Table:
    """The table without rows of users who are to be forgotten. user: column of their ids."""
    if not forgotten.marks:
        return table
    gone = np.zeros(table.num_rows, dtype=bool)
    if user is not None and user in table.column_names:
        ids = as_ids(table.column(user)).to_pandas()
        distinct = ids.dropna().unique()
        gone |= ids.isin(distinct[forgotten.among(distinct)]).to_numpy(dtype=bool)
    if UNREADABLE in table.column_names:
        gone |= forgotten.in_lines(table.column(UNREADABLE).to_pylist())
    return table.filter(pa.array(~gone))


def keep_ledger(cache: Path, done: dict[str, Ingested], say: Callable[[str], None]) -> None:
    """Note which content was read when, and drop parts that no file has any more.

    Args:
        done: table -> what was read.
    """
    path = cache / LEDGER
    before: dict[str, Any] = read_json(path)["parts"] if path.is_file() else {}
    now = datetime.now(UTC).isoformat(timespec="seconds")
    parts = {
        key: {**facts, "first_read": before.get(key, {}).get("first_read", now)}
        for table in done.values()
        for key, facts in table.parts.items()
    }
    write_json(path, {"parts": parts, "aside": {name: one.aside for name, one in done.items()}})
    for part in cache.glob("*/*.parquet"):
        if part.name not in parts:
            part.unlink()
    for table, one in done.items():
        for name, other in one.repeated.items():
            say(f"{table}: {name} is the same as {other} and adds nothing")
        for name, why in one.aside.items():
            say(f"{table}: {name} was set aside: {why}")


def short(names: Sequence[str]) -> str:
    shown = list(names) if len(names) <= 4 else [*names[:3], f"... and {len(names) - 3} more"]
    return ", ".join(shown)

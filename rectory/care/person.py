"""Where a person stands in a file, of whatever kind, and how to take them out of it.

Structured files are looked at by the columns and keys that hold users' ids, so that an item with the same id stays. An
id that is distinctive is looked for as text everywhere as well: in log lines, pages, cells of quarantined rows.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rectory.files import replacing

GONE = "[forgotten]"
_SHORTEST_DISTINCTIVE = 5
_SQLITE = b"SQLite format 3\0"
_MOST_TEXT_BYTES = 1 << 30


@dataclass(frozen=True)
class Person:
    """user_id: exact. columns: names of columns and keys that hold users' ids.

    distinctive: the id is nothing else's (long enough, and no item's), so that its text anywhere means this person.
    """

    user_id: str
    columns: frozenset[str]
    distinctive: bool

    @property
    def word(self) -> re.Pattern[str]:
        return re.compile(rf"(?<![\w.-]){re.escape(self.user_id)}(?![\w-])")


def is_distinctive(user_id: str, item_ids: set[str]) -> bool:
    return len(user_id) >= _SHORTEST_DISTINCTIVE and user_id not in item_ids


def kind_of(path: Path) -> str:
    """parquet | npz | sqlite | gzip | text | binary, by content: files of DVC's cache have no endings."""
    with path.open("rb") as handle:
        head = handle.read(4096)
    if head[:4] == b"PAR1":
        return "parquet"
    if head[:4] == b"PK\x03\x04":
        return "npz" if path.suffix != ".whl" else "binary"
    if head.startswith(_SQLITE):
        return "sqlite"
    if head[:2] == b"\x1f\x8b":
        return "gzip"
    return "binary" if b"\0" in head else "text"


def mentions(path: Path, person: Person) -> bool:  # noqa: PLR0911  one answer for each kind
    """The person stands in the file; compressed files are looked at unpacked.

    Raises:
        OSError: it cannot be read.
    """
    kind = kind_of(path)
    if kind == "parquet":
        return _in_parquet(path, person)
    if kind == "npz":
        return _in_arrays(path, person)
    if kind == "sqlite":
        return _in_sqlite(path, person) or _in_bytes(path, person)
    if kind == "gzip":
        with suppress(EOFError, OSError), gzip.open(path, "rb") as handle:
            return _in_text(handle.read(_MOST_TEXT_BYTES), path, person)
        return False
    if kind == "binary":
        return _in_bytes(path, person)
    return _in_text(path.read_bytes(), path, person)


def take_out(path: Path, person: Person) -> None:
    """Rewrite the file without the person: rows and lines go, a mention elsewhere becomes `[forgotten]`.

    Files that are caches or cannot be rewritten (gzip, unknown kinds) are removed.
    """
    kind = kind_of(path)
    if kind == "parquet":
        _rewrite_parquet(path, person)
    elif kind == "sqlite":
        _rewrite_sqlite(path, person)
    elif kind == "text":
        _rewrite_text(path, person)
    else:
        path.unlink()


def _in_parquet(path: Path, person: Person) -> bool:
    with pq.ParquetFile(path) as file:
        texts = [field.name for field in file.schema_arrow if _is_text(field.type)]
        wanted = texts if person.distinctive else [name for name in texts if name in person.columns]
        if not wanted:
            return False
        for batch in file.iter_batches(columns=wanted):
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                if _rows_with(column, person, exact=name in person.columns).to_numpy(zero_copy_only=False).any():
                    return True
    return False


def _rows_with(column: Any, person: Person, *, exact: bool) -> Any:
    """(n,) bool array. exact: the cell is the id; else the id is a word in it."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        joined = pc.binary_join(column.cast(pa.list_(pa.string())), "\x1f")
        return pc.fill_null(pc.match_substring(joined, person.user_id), False)
    found = pc.equal(column, person.user_id)
    if not exact and person.distinctive:
        found = pc.or_kleene(found, pc.match_substring(column, person.user_id))
    return pc.fill_null(found, False)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _rewrite_parquet(path: Path, person: Person) -> None:
    with pq.ParquetFile(path) as file:
        table = file.read()
    gone = np.zeros(table.num_rows, dtype=bool)
    for name in table.column_names:
        # A row that mentions a distinctive id in any cell is about this person: a torn line in the quarantine, say.
        if _is_text(table.schema.field(name).type) and (name in person.columns or person.distinctive):
            column = table.column(name)
            parts = [_rows_with(chunk, person, exact=name in person.columns) for chunk in column.chunks]
            if parts:
                gone |= np.concatenate([part.to_numpy(zero_copy_only=False) for part in parts])
    kept = table.filter(pa.array(~gone))
    for at, name in enumerate(kept.column_names):
        # A dictionary would keep the id although no row has it.
        if pa.types.is_dictionary(kept.schema.field(name).type):
            plain = kept.column(name).cast(kept.schema.field(name).type.value_type)
            kept = kept.set_column(at, name, plain.dictionary_encode())
    with replacing(path) as scratch:
        pq.write_table(kept, scratch, compression="zstd")


def _in_arrays(path: Path, person: Person) -> bool:
    try:
        with np.load(path, allow_pickle=False) as archive:
            for name in archive.files:
                values = archive[name]
                if values.dtype.kind == "U" and (values == person.user_id).any():
                    return True
    except ValueError:
        return False
    return False


def _in_sqlite(path: Path, person: Person) -> bool:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as store:
        return any(
            store.execute(f'SELECT 1 FROM "{table}" WHERE "{column}" = ? LIMIT 1', (person.user_id,)).fetchone()  # noqa: S608  names from its own schema
            for table, column in _user_columns(store)
        )


def _user_columns(store: sqlite3.Connection) -> list[tuple[str, str]]:
    """Columns of users' ids in a live event log; MLflow and Prefect call the login of who ran something user_id too."""
    tables = {row[0] for row in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not {"events", "changes", "recommendations"} <= tables:
        return []
    found = []
    for table in sorted(tables):
        columns = {row[1] for row in store.execute(f'PRAGMA table_info("{table}")')}
        if "user_id" in columns:
            found.append((table, "user_id"))
    return found


def _rewrite_sqlite(path: Path, person: Person) -> None:
    """Delete and replace in one transaction, then let the file be written anew: deleted pages would keep the bytes."""
    with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as store:
        store.execute("BEGIN IMMEDIATE")
        log = _user_columns(store)
        for table, column in log:
            store.execute(f'DELETE FROM "{table}" WHERE "{column}" = ?', (person.user_id,))  # noqa: S608
        if log:
            told = "DELETE FROM changes WHERE key = ? AND what IN ('user', 'unlearn', 'forget')"
            store.execute(told, (person.user_id,))
        if person.distinctive:
            for table in [row[0] for row in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]:
                for column in [row[1] for row in store.execute(f'PRAGMA table_info("{table}")')]:
                    store.execute(
                        f'UPDATE OR IGNORE "{table}" SET "{column}" = replace("{column}", ?, ?) '  # noqa: S608
                        f'WHERE typeof("{column}") = \'text\' AND instr("{column}", ?)',
                        (person.user_id, GONE, person.user_id),
                    )
        store.execute("COMMIT")
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        store.execute("VACUUM")
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _in_bytes(path: Path, person: Person) -> bool:
    if not person.distinctive:
        return False
    wanted, before = person.user_id.encode(), b""
    with path.open("rb") as handle:
        while piece := handle.read(1 << 20):
            if wanted in before + piece:
                return True
            before = piece[-len(wanted) :]
    return False


def _in_text(content: bytes, path: Path, person: Person) -> bool:
    if person.user_id.encode() not in content:
        return False
    text = content.decode("utf-8", errors="replace")
    if person.distinctive and person.word.search(text):
        return True
    return _without(text, path, person) != text


def _rewrite_text(path: Path, person: Person) -> None:
    text = path.read_bytes().decode("utf-8", errors="surrogateescape")
    new = _without(text, path, person)
    if person.distinctive:
        new = person.word.sub(GONE, new)
    with replacing(path) as scratch:
        scratch.write_bytes(new.encode("utf-8", errors="surrogateescape"))


def _without(text: str, path: Path, person: Person) -> str:
    """The text without the records about the person that its form tells: JSON, JSON lines, csv, the report's pages."""
    lines = text.splitlines(keepends=True)
    if path.suffix == ".jsonl" or (lines and all(line.startswith("{") for line in lines[:3]) and len(lines) > 1):
        return "".join(line for line in lines if not _line_is_about(line, person))
    if path.suffix == ".html":
        page = re.escape(person.user_id)
        return re.sub(rf'(<article class="card user" aria-label="User ){page}".*?</article>', "", text, flags=re.DOTALL)
    with suppress(ValueError):
        value = json.loads(text)
        if isinstance(value, dict | list):
            kept = _pruned(value, person)
            return text if kept == value else json.dumps(kept, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    if path.suffix == ".csv" and lines:
        header = next(csv.reader([lines[0]]))
        at = [place for place, name in enumerate(header) if name in person.columns]
        if at:
            return lines[0] + "".join(line for line in lines[1:] if not _cells_are(line, at, person))
    return text


def _cells_are(line: str, at: list[int], person: Person) -> bool:
    cells = next(csv.reader(io.StringIO(line)), [])
    return any(place < len(cells) and cells[place] == person.user_id for place in at)


def _line_is_about(line: str, person: Person) -> bool:
    if person.user_id not in line:
        return False
    try:
        value = json.loads(line)
    except ValueError:
        return person.distinctive
    return _is_about(value, person) or (isinstance(value, dict) and _pruned(value, person) != value)


def _is_about(value: Any, person: Person) -> bool:
    return isinstance(value, dict) and any(value.get(name) == person.user_id for name in person.columns)


def _pruned(value: Any, person: Person) -> Any:
    """Records about the person leave their list; one that stands alone loses the id."""
    if isinstance(value, list):
        return [_pruned(one, person) for one in value if not _is_about(one, person)]
    if isinstance(value, dict):
        return {
            name: GONE if name in person.columns and one == person.user_id else _pruned(one, person)
            for name, one in value.items()
            if not (person.distinctive and name == person.user_id)
        }
    return value

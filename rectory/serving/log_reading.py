"""Reading the event log: what stands in it, in order, for whoever makes a live state of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from rectory.serving import tables
from rectory.serving.log_rows import event_of, item_of, user_of
from rectory.serving.marks import Forgotten
from rectory.serving.store import Store
from rectory.serving.types import Event, Item, User

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

CHUNK = 5000
"""Entries that are read at once."""


@dataclass(frozen=True)
class Removed:
    """An item has left the catalogue."""

    item_id: str


@dataclass(frozen=True)
class Unlearned:
    """Events that were taken back."""

    events: tuple[Event, ...]


Entry = Event | Item | User | Forgotten | Removed | Unlearned


@dataclass(frozen=True)
class Head:
    """log_id: another one means another log behind the same name. sequence: of the newest entry."""

    log_id: str
    sequence: int


@dataclass(frozen=True)
class Piece:
    """Entries in order; with them everything up to number `until` has been read. head: of the whole log, then."""

    entries: list[Entry]
    until: int
    head: Head


class LogReader:
    """What others have written, in this process or another. store: open."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def head(self) -> Head:
        """The newest entry that is committed."""
        with self.store.reading() as connection:
            return _head(connection)

    def read_since(self, sequence: int, limit: int = CHUNK) -> Piece:
        """Entries after `sequence`, at most `limit` numbers further. Forgotten ones are missing."""
        with self.store.reading() as connection:
            head = _head(connection)
            last = min(sequence + limit, head.sequence)
            if last <= sequence:
                return Piece([], last, head)
            entries = [*_events_between(connection, sequence, last), *_changes_between(connection, sequence, last)]
        entries.sort(key=lambda entry: entry[0])
        return Piece([entry for _, entry in entries], last, head)

    def events_after(self, moment: float, until: int) -> Iterator[list[Event]]:
        """Events whose own clock is later than `moment`, up to sequence number `until`, in order of acceptance."""
        column, at = tables.events.c, 0
        while True:
            query = (
                select(tables.events)
                .where(column.sequence > at, column.sequence <= until, column.timestamp > moment)
                .order_by(column.sequence)
                .limit(CHUNK)
            )
            with self.store.reading() as connection:
                rows = connection.execute(query).all()
            if not rows:
                return
            at = rows[-1].sequence
            yield [event_of(row) for row in rows]

    def catalogue(self) -> Iterator[list[Item] | list[User]]:
        """All items, then all users, in pieces."""
        for table, key, read in ((tables.items, "item_id", item_of), (tables.users, "user_id", user_of)):
            at = ""
            while True:
                query = select(table).where(table.c[key] > at).order_by(table.c[key]).limit(CHUNK)
                with self.store.reading() as connection:
                    rows = connection.execute(query).all()
                if not rows:
                    break
                at = rows[-1]._mapping[key]
                yield [read(row) for row in rows]  # type: ignore[misc]

    def withdrawals(self, until: int) -> Iterator[Entry]:
        """What a model that was trained before must drop: removed items, forgotten users, events taken back."""
        changes = tables.changes.c
        query = (
            select(tables.changes)
            .where(changes.sequence <= until, changes.what.in_(("remove_item", "forgotten", "unlearn")))
            .order_by(changes.sequence)
        )
        with self.store.reading() as connection:
            rows = connection.execute(query).all()
            removed = [row.key for row in rows if row.what == "remove_item"]
            back = set(connection.execute(select(tables.items.c.item_id)).scalars()) if removed else set()
            log_id = _head(connection).log_id
        for row in rows:
            if row.what != "remove_item":
                yield _entry(row, log_id)
            elif row.key not in back:
                yield Removed(row.key)

    def last_received(self) -> float:
        """When the newest event was accepted; 0 for an empty log."""
        with self.store.reading() as connection:
            newest = select(tables.events.c.received).order_by(tables.events.c.sequence.desc()).limit(1)
            return float(connection.execute(newest).scalar_one_or_none() or 0.0)


def _head(connection: Connection) -> Head:
    row = connection.execute(select(tables.log_head.c.log_id, tables.log_head.c.sequence)).one()
    return Head(row.log_id, row.sequence)


def _events_between(connection: Connection, after: int, last: int) -> list[tuple[int, Entry]]:
    column = tables.events.c
    rows = connection.execute(select(tables.events).where(column.sequence > after, column.sequence <= last))
    return [(row.sequence, event_of(row)) for row in rows]


def _changes_between(connection: Connection, after: int, last: int) -> list[tuple[int, Entry]]:
    changes = tables.changes.c
    rows = connection.execute(select(tables.changes).where(changes.sequence > after, changes.sequence <= last)).all()
    entries: list[tuple[int, Entry]] = []
    for what, table, key, read in (
        ("item", tables.items, "item_id", item_of),
        ("user", tables.users, "user_id", user_of),
    ):
        # Only the newest state is kept: an item that was put twice is read as it is now, and once.
        last_put = {row.key: row.sequence for row in rows if row.what == what}
        if last_put:
            found = connection.execute(select(table).where(table.c[key].in_(list(last_put))))
            entries += [(last_put[row._mapping[key]], read(row)) for row in found]
    log_id = _head(connection).log_id
    entries += [(row.sequence, _entry(row, log_id)) for row in rows if row.what not in {"item", "user"}]
    return entries


def _entry(row: Any, log_id: str) -> Entry:
    if row.what == "forgotten":
        return Forgotten(log_id, row.key)
    if row.what == "remove_item":
        return Removed(row.key)
    return Unlearned(tuple(Event(**event) for event in json.loads(row.payload)))

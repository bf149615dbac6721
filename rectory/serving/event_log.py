"""The event log: what was accepted, in order, once. Everything that the live state is made of can be read from it.

Accepted means durable: a call's future is done after the commit. Sequence numbers are given out inside the write
transaction, so their order is that of the commits, in every process and on every host that shares the store.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import delete, insert, select, update

from rectory.serving import tables
from rectory.serving.log_reading import CHUNK, Head, LogReader, Piece
from rectory.serving.log_rows import (
    Appended,
    append_all,
    as_json,
    change_row,
    event_of,
    item_row,
    put_rows,
    user_row,
)
from rectory.serving.marks import Forgotten
from rectory.serving.store import EventStoreError, Store, Writing
from rectory.serving.types import Answer, Event, Item, NotKnown, Request, User
from rectory.serving.writer import Commit, Writer

_log = logging.getLogger("rectory.serving")


@dataclass(frozen=True)
class Limits:
    """Bounds of what may wait and of one transaction; see the section `serve`."""

    commit_events: int = 2000
    max_waiting_events: int = 20_000
    max_waiting_answers: int = 50_000


class EventLog(LogReader):
    """One process's way to the log.

    Args:
        store: opened by `open`.
        committed: called in the writer's thread after each commit and before anybody is told.
    """

    def __init__(
        self, store: Store, limits: Limits | None = None, committed: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(store)
        self._limits = limits or Limits()
        self._committed = committed
        self._writer: Writer | None = None
        self._latest: Commit | None = None
        self._gone: set[str] = set()
        self._scrubbing = threading.Lock()

    def open(self) -> None:
        """Make the tables if need be and start writing.

        Raises:
            EventStoreError: the database cannot be reached or made.
        """
        self.store.open()
        self._mark_old_notes()
        limits = self._limits
        self._writer = Writer(
            self.store,
            limits.commit_events,
            limits.max_waiting_events,
            limits.max_waiting_answers,
            self._on_commit,
        )

    def close(self) -> None:
        """Write what waits, answers included."""
        if self._writer is not None:
            self._writer.close()
        if self.unscrubbed:
            self.scrub()
        self.store.close()

    @property
    def writer(self) -> Writer:
        if self._writer is None:
            raise RuntimeError("the event log is not open")
        return self._writer

    def _on_commit(self, commit: Commit) -> None:
        self._latest = commit
        self._committed()

    @property
    def unscrubbed(self) -> bool:
        """Deleted rows of somebody who is to be forgotten may still be found in the files: `scrub`."""
        return bool(self._gone)

    def scrub(self, patience_seconds: float = 0.5) -> None:
        """Take what was forgotten out of the database's files. If somebody is in the way it stays `unscrubbed`."""
        with self._scrubbing:
            gone = set(self._gone)
            try:
                clean = self.store.scrub(gone, patience_seconds)
            except EventStoreError as error:
                # What was to be deleted is; only its traces are left, until the next try.
                _log.warning("%s", error)
                clean = False
            if clean:
                self._gone -= gone

    def _mark_old_notes(self) -> None:
        """Logs of earlier versions named who was to be forgotten by the id itself."""
        changes = tables.changes.c
        old = select(changes.sequence, changes.key).where(changes.what == "forget")
        with self.store.reading() as connection:
            if connection.execute(old.limit(1)).first() is None:
                return
        with self.store.writing() as writing:
            rows = writing.connection.execute(old).all()
            for row in rows:
                mark = Forgotten.of(writing.log_id, row.key).mark
                note = update(tables.changes).where(changes.sequence == row.sequence)
                writing.connection.execute(note.values(what="forgotten", key=mark))
        self._gone |= {row.key for row in rows}
        self.scrub()

    def append(self, events: list[Event]) -> Future[Appended]:
        """Accept events, all or none; equal event_ids are accepted once, whoever sends them and how often.

        Raises:
            Overloaded: too many wait already. The future raises EventStoreError if the store refuses the commit.
        """
        return self.writer.append(events)

    def replace(self, events: list[Event]) -> Future[Appended]:
        """Accept events in place of those that the log has of the same kind, user and item."""

        def work(writing: Writing) -> Appended:
            for event in {(one.kind, one.user_id, one.item_id): one for one in events}.values():
                _take_back(writing, [*_pair(event.user_id, event.item_id), tables.events.c.kind == event.kind])
            return append_all(writing, [events])[0][0]

        return self.writer.do(work)

    def take_back(self, user_id: str, item_id: str, kind: str | None = None) -> Future[int]:
        """Remove a user's feedback on an item; the future has the number of events."""
        where = _pair(user_id, item_id) + ([tables.events.c.kind == kind] if kind is not None else [])
        return self.writer.do(lambda writing: _take_back(writing, where))

    def put_items(self, items: Sequence[tuple[Item, Any]]) -> Future[int]:
        """Insert or replace items. Each comes with its labels as they were sent."""

        def work(writing: Writing) -> int:
            put_rows(writing.connection, tables.items, "item_id", [item_row(item, labels) for item, labels in items])
            _note(writing, "item", [item.item_id for item, _ in items])
            return len(items)

        return self.writer.do(work)

    def change_item(self, item_id: str, changes: Mapping[str, Any]) -> Future[int]:
        """Change an item's columns (None: leave it), `add_category`, `drop_category`.

        The future raises NotKnown if the catalogue has no such item.
        """

        def work(writing: Writing) -> int:
            row = _row(writing, tables.items, "item_id", item_id)
            categories = changes.get("categories")
            kept: list[str] = json.loads(row["categories"]) if categories is None else list(categories)
            kept += [one for one in (changes.get("add_category"),) if one is not None]
            told = {
                "hidden": changes.get("hidden"),
                "categories": as_json([one for one in dict.fromkeys(kept) if one != changes.get("drop_category")]),
                "timestamp": changes.get("timestamp"),
                "labels": None if changes.get("labels") is None else as_json(changes["labels"]),
                "comment": changes.get("comment"),
            }
            _change_row(writing, tables.items, "item_id", row, told)
            _note(writing, "item", [item_id])
            return 1

        return self.writer.do(work)

    def change_user(self, user_id: str, changes: Mapping[str, Any]) -> Future[int]:
        """Change a user's labels or comment (None: leave it). The future raises NotKnown if there is no such user."""

        def work(writing: Writing) -> int:
            row = _row(writing, tables.users, "user_id", user_id)
            labels = None if changes.get("labels") is None else as_json(changes["labels"])
            _change_row(writing, tables.users, "user_id", row, {"labels": labels, "comment": changes.get("comment")})
            _note(writing, "user", [user_id])
            return 1

        return self.writer.do(work)

    def remove_item(self, item_id: str) -> Future[int]:
        """Take an item out of the catalogue; its events stay, they are what users did."""

        def work(writing: Writing) -> int:
            gone = writing.connection.execute(delete(tables.items).where(tables.items.c.item_id == item_id))
            _note(writing, "remove_item", [item_id])
            return int(gone.rowcount)

        return self.writer.do(work)

    def put_users(self, users: Sequence[tuple[User, Any]]) -> Future[int]:
        """Insert or replace users. Each comes with its labels as they were sent."""

        def work(writing: Writing) -> int:
            put_rows(writing.connection, tables.users, "user_id", [user_row(user, labels) for user, labels in users])
            _note(writing, "user", [user.user_id for user, _ in users])
            return len(users)

        return self.writer.do(work)

    def forget(self, user_id: str) -> Future[int]:
        """Remove all that is known of a user: events, catalogue row, answers. The future has the number of events.

        What stays is one line, without the id, by which every live process knows whom to forget; and, until `scrub`,
        what SQLite leaves of deleted rows in its files.
        """

        def work(writing: Writing) -> int:
            connection, changes = writing.connection, tables.changes
            gone = connection.execute(delete(tables.events).where(tables.events.c.user_id == user_id)).rowcount
            connection.execute(delete(tables.users).where(tables.users.c.user_id == user_id))
            connection.execute(delete(tables.recommendations).where(tables.recommendations.c.user_id == user_id))
            mark = Forgotten.of(writing.log_id, user_id).mark
            of_user = changes.c.what.in_(("unlearn", "user")) & (changes.c.key == user_id)
            told_before = (changes.c.what == "forgotten") & (changes.c.key == mark)
            connection.execute(delete(changes).where(of_user | told_before))
            _note(writing, "forgotten", [mark])
            self._gone.add(user_id)
            return int(gone)

        return self.writer.do(work)

    def drop_answers(self, gone: Forgotten, user_ids: set[str], made_until: float) -> None:
        """Give up a user's answers, written or not, that were made up to a moment; nobody waits for it.

        Args:
            user_ids: what the caller knows the user by; who has answers that wait to be written is added.
        """
        answers = tables.recommendations
        known = sorted(user_ids | self.writer.drop_answers(gone))
        theirs = answers.c.user_id.in_(known) & (answers.c.made <= made_until)

        def work(writing: Writing) -> int:
            dropped = int(writing.connection.execute(delete(answers).where(theirs)).rowcount)
            if dropped:
                self._gone.update(known)
            return dropped

        if known:
            self.writer.do(work)

    def prune_answers(self, made_before: float, most: int = 5000) -> Future[int]:
        """Drop old answers, at most `most` in one transaction so that nobody waits long; how many went."""
        answers = tables.recommendations
        old = select(answers.c.recommendation_id).where(answers.c.made < made_before).limit(most)

        def work(writing: Writing) -> int:
            ids = list(writing.connection.execute(old).scalars())
            if ids:
                writing.connection.execute(delete(answers).where(answers.c.recommendation_id.in_(ids)))
            return len(ids)

        return self.writer.do(work)

    def record(self, request: Request | None, answer: Answer, made: float, asked: dict[str, Any]) -> None:
        """Keep what was shown; written within a fraction of a second, without anybody waiting for it."""
        self.writer.record((request, answer, made, asked))

    def read_since(self, sequence: int, limit: int = CHUNK) -> Piece:
        """Entries after `sequence`, at most `limit` numbers further. Forgotten ones are missing."""
        own = self._latest
        if own is not None and own.before == sequence and own.events and len(own.events) <= limit:
            # What this process has just committed need not be read back; others' entries come with the next look.
            return Piece(list(own.events), own.until, Head(own.log_id, own.until))
        return super().read_since(sequence, limit)


def _pair(user_id: str, item_id: str) -> list[Any]:
    return [tables.events.c.user_id == user_id, tables.events.c.item_id == item_id]


def _take_back(writing: Writing, where: list[Any]) -> int:
    connection = writing.connection
    rows = connection.execute(select(tables.events).where(*where).order_by(tables.events.c.sequence)).all()
    if not rows:
        return 0
    connection.execute(delete(tables.events).where(*where))
    payload = json.dumps([asdict(event_of(row)) for row in rows], ensure_ascii=False)
    connection.execute(insert(tables.changes), [change_row(writing, "unlearn", rows[0].user_id, payload)])
    return len(rows)


def _row(writing: Writing, table: Any, key: str, value: str) -> dict[str, Any]:
    row = writing.connection.execute(select(table).where(table.c[key] == value)).mappings().first()
    if row is None:
        raise NotKnown(value)
    return dict(row)


def _change_row(writing: Writing, table: Any, key: str, row: dict[str, Any], told: dict[str, Any]) -> None:
    values = {name: value for name, value in told.items() if value is not None}
    if values:
        writing.connection.execute(update(table).where(table.c[key] == row[key]).values(**values))


def _note(writing: Writing, what: str, keys: list[str]) -> None:
    if keys:
        writing.connection.execute(insert(tables.changes), [change_row(writing, what, key) for key in keys])

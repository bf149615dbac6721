"""The database below the event log: SQLite (WAL, every commit on disk) or, by URL, PostgreSQL."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import uuid
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from rectory.errors import BusyError, StoreError, UsageError

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

    from rectory.workspace import Workspace

_log = logging.getLogger("rectory.serving")
URL_VARIABLE = "RECTORY_EVENTS_URL"
_MOST_BYTES_ANEW = 1 << 29
_SHORTEST_DISTINCTIVE = 5


class EventStoreError(StoreError):
    """The event store is locked, full or gone. Nothing of what was to be written was; try again."""

    retry_after_seconds = 2


class Overloaded(BusyError):
    """More events wait for their commit than may; nothing of this request was taken, send it again a little later."""

    retry_after_seconds = 1


@dataclass
class Writing:
    """A write transaction that holds the log's head, so that sequence numbers are given out in the order of commits."""

    connection: Connection
    log_id: str
    sequence: int

    def next(self) -> int:
        self.sequence += 1
        return self.sequence


class Store:
    """Connections and transactions.

    Args:
        url: SQLAlchemy URL, sqlite or postgresql.
        lock_seconds: patience with somebody else's lock.
    """

    def __init__(self, url: str, lock_seconds: float = 5.0) -> None:
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            self._url = make_url(url)
        except ArgumentError:
            # `from None`: the original error quotes the URL, and with it the password.
            raise UsageError(
                f"{URL_VARIABLE} is no database URL. Write e.g. postgresql://user:password@host/database."
            ) from None
        if self._url.get_backend_name() not in {"sqlite", "postgresql"}:
            raise UsageError(f"{URL_VARIABLE}: events are kept in sqlite or postgresql, not {self._url.drivername}.")
        self._lock_seconds = lock_seconds
        self._file = Path(self._url.database or "") if self.is_sqlite else None
        self._identity: tuple[int, int] | None = None
        self._engine: Engine | None = None

    @classmethod
    def of(cls, workspace: Workspace, lock_seconds: float = 5.0) -> Store:
        """The project's event store: RECTORY_EVENTS_URL, else .rectory/events.db."""
        return cls(os.environ.get(URL_VARIABLE) or f"sqlite:///{workspace.event_log.absolute()}", lock_seconds)

    @property
    def is_sqlite(self) -> bool:
        return self._url.get_backend_name() == "sqlite"

    @property
    def shown(self) -> str:
        """Where it is, without a password."""
        return str(self._file) if self._file else self._url.render_as_string(hide_password=True)

    @property
    def exists(self) -> bool:
        """Whether there is a file; a server is taken to be there."""
        return self._file is None or self._file.is_file()

    def open(self) -> None:
        """Make what is not there yet. Safe when several processes do it at once.

        Raises:
            EventStoreError: the database cannot be reached or made.
        """
        from sqlalchemy import insert, select

        from rectory.serving.tables import log_head, metadata

        with self._told("open"):
            if self._file is not None:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                self._file.touch(mode=0o600)
            self._connect()
            with self._begin(writes=True) as connection:
                if not self.is_sqlite:
                    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7283920)")
                metadata.create_all(connection)
                if connection.execute(select(log_head.c.id)).first() is None:
                    connection.execute(insert(log_head).values(id=1, log_id=uuid.uuid4().hex, sequence=0))

    def close(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    @contextlib.contextmanager
    def writing(self) -> Iterator[Writing]:
        """One transaction; when the block has ended well, what it wrote is on disk.

        Raises:
            EventStoreError: the store is locked, full, gone or out of reach; nothing was written.
        """
        from sqlalchemy import select, update

        from rectory.serving.tables import log_head

        with self._told("write"):
            self._same_file()
            with self._begin(writes=True) as connection:
                # On PostgreSQL the row's lock makes writers follow each other; on SQLite BEGIN IMMEDIATE has.
                found = connection.execute(select(log_head.c.log_id, log_head.c.sequence).with_for_update()).one()
                before = int(found.sequence)
                writing = Writing(connection, found.log_id, before)
                yield writing
                if writing.sequence != before:
                    connection.execute(update(log_head).values(sequence=writing.sequence))
            # A file that was moved away meanwhile took the commit with it: that is not "accepted".
            self._same_file(mend=False)

    def scrub(self, gone: Collection[str] = (), patience_seconds: float = 0.5) -> bool:
        """Take deleted rows out of the files of SQLite; on PostgreSQL its own vacuum does that.

        The write-ahead log is written back and emptied. In the database rows were overwritten as they were deleted, but
        not the copies that SQLite leaves between rows when it moves them: if the ids in `gone` are still found, the
        database is written anew, which keeps writers waiting.

        Returns:
            False: somebody reads an older state; try again.
        Raises:
            EventStoreError: somebody writes; try again.
        """
        if self._file is None or not self._file.is_file():
            return True
        with self._told("clean"), contextlib.closing(self._sqlite(patience_seconds)) as connection:
            if not _written_back(connection):
                return False
            if not _has_traces(self._file, gone):
                return True
            if self._file.stat().st_size > _MOST_BYTES_ANEW:
                _log.warning(
                    "traces of deleted rows are left in %s, which is too large to be written anew while it is in use: "
                    "do it by sqlite3's VACUUM, or by `rectory forget`, when nobody serves",
                    self._file,
                )
                return True
            connection.execute("VACUUM")
            return _written_back(connection)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that reads.

        Raises:
            EventStoreError: the store is gone or out of reach.
        """
        with self._told("read"):
            self._same_file()
            with self._begin(writes=False) as connection:
                yield connection

    @contextlib.contextmanager
    def _begin(self, *, writes: bool) -> Iterator[Connection]:
        with (self._engine or self._connect()).connect() as connection:
            chosen = connection.execution_options(rectory_writes=writes)
            with chosen.begin():
                yield chosen

    def _connect(self) -> Engine:
        from sqlalchemy import create_engine, event
        from sqlalchemy.pool import QueuePool

        if self._file is None:
            wait = f"-c lock_timeout={int(self._lock_seconds * 1000)}"
            self._engine = create_engine(
                self._url,
                pool_size=8,
                max_overflow=8,
                pool_pre_ping=True,
                pool_timeout=self._lock_seconds,
                connect_args={"options": wait, "connect_timeout": max(2, int(self._lock_seconds))},
            )
            return self._engine
        self._engine = create_engine(
            "sqlite://",
            creator=lambda: self._sqlite(self._lock_seconds),
            poolclass=QueuePool,
            pool_size=8,
            max_overflow=8,
            pool_timeout=self._lock_seconds,
        )
        self._identity = _identity(self._file)
        event.listen(self._engine, "connect", _configure_sqlite)
        event.listen(self._engine, "begin", _begin_sqlite)
        return self._engine

    def _sqlite(self, lock_seconds: float) -> sqlite3.Connection:
        # mode=rw: a file that is gone must be missed, not silently made anew and empty.
        uri = f"file:{quote(str(self._file))}?mode=rw"
        return sqlite3.connect(uri, uri=True, timeout=lock_seconds, check_same_thread=False)

    def _same_file(self, *, mend: bool = True) -> None:
        """Raises when the path no longer leads to the file that is open; with `mend` takes up one that came back."""
        if self._file is None:
            return
        found = _identity(self._file)
        if found is not None and found == self._identity:
            return
        self.close()
        if found is None or not mend:
            raise EventStoreError(
                f"the event store {self._file} is gone. Bring it back (nothing was accepted since), or restart the "
                "service to begin an empty one."
            )
        self._connect()

    @contextlib.contextmanager
    def _told(self, doing: str) -> Iterator[None]:
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (SQLAlchemyError, ImportError) as error:
            if _is_senders_fault(error):
                raise
            reason = " ".join(str(getattr(error, "orig", None) or error).split())[:200]
            raise EventStoreError(f"could not {doing} the event store {self.shown}: {reason}.") from error
        except sqlite3.Error as error:
            raise EventStoreError(f"could not {doing} the event store {self.shown}: {error}.") from error
        except OSError as error:
            raise EventStoreError(f"could not {doing} the event store {self.shown}: {error.strerror}.") from error


def _written_back(connection: sqlite3.Connection) -> bool:
    """Whether all of the write-ahead log went into the database, and nothing is left in it."""
    busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


def _has_traces(file: Path, gone: Collection[str]) -> bool:
    """Whether one of the ids is found in the file; one too short to be told from other bytes is taken to be."""
    wanted = [one.encode("utf-8", "surrogatepass") for one in gone]
    if any(len(one) < _SHORTEST_DISTINCTIVE for one in wanted):
        return True
    longest, before = max((len(one) for one in wanted), default=0), b""
    with file.open("rb") as handle:
        while wanted and (piece := handle.read(1 << 22)):
            seen = before + piece
            if any(one in seen for one in wanted):
                return True
            before = seen[-longest:]
    return False


def _is_senders_fault(error: Exception) -> bool:
    from sqlalchemy.exc import DataError, IntegrityError, StatementError

    return isinstance(error, DataError | IntegrityError) or type(error) is StatementError


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _configure_sqlite(connection: Any, _record: Any) -> None:
    # SQLAlchemy begins transactions (below), not the driver: the driver's own rules would split ours.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    # FULL: a commit returns when its bytes are on disk. NORMAL would lose the last ones in a power cut.
    cursor.execute("PRAGMA synchronous=FULL")
    # Whoever asks to be forgotten must leave the file too, not only its index: deleted rows are overwritten.
    cursor.execute("PRAGMA secure_delete=ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("rectory_writes", False)
    # IMMEDIATE: take the write lock at once; taking it later can fail half-way through.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

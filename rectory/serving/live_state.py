"""An engine and how far it has followed the log. Applying the log in its order is all that ever changes an engine."""

from __future__ import annotations

import heapq
import logging
import threading
from collections.abc import Callable, Iterable
from itertools import groupby

from rectory.serving.event_log import EventLog
from rectory.serving.log_reading import Entry, Head, Removed, Unlearned
from rectory.serving.marks import Forgotten, MarkedIds
from rectory.serving.types import Engine, Event, Item, User

_log = logging.getLogger("rectory.serving")


class OtherLog(Exception):
    """Behind the log's name there is another log now, or an older copy of it: begin anew from what it says."""


class LiveState:
    """One engine, kept up with the log.

    Args:
        now: seconds since 1970. tolerance_seconds: an event that is further ahead of it waits until it is due.
        forgotten: called with each user that is to be forgotten while the log is followed, and the ids that the engine
            knows them by.
    """

    def __init__(
        self,
        engine: Engine,
        log: EventLog,
        now: Callable[[], float],
        tolerance_seconds: float,
        forgotten: Callable[[Forgotten, list[str]], None] = lambda _, __: None,
    ) -> None:
        self.engine = engine
        self._log = log
        self._now = now
        self._tolerance = tolerance_seconds
        self._forgotten = forgotten
        self._trained_until = engine.known_until
        self._cursor = 0
        self._log_id = ""
        self._known = MarkedIds("", ())
        self._due: list[tuple[float, int, Event]] = []
        self._lock = threading.Lock()

    @property
    def cursor(self) -> int:
        """Number of the last entry that the engine has seen."""
        return self._cursor

    def catch_up(self) -> int:
        """Let the engine know all that was committed before the call; gives how many numbers further the log was.

        Raises:
            OtherLog: the log is another one than before; this state is of no more use.
            EventStoreError: the log cannot be read; nothing is lost, call again.
        """
        with self._lock:
            before = self._cursor
            if not self._log_id:
                self._rebuild()
            self._advance()
            return self._cursor - before

    def _rebuild(self) -> None:
        """Give a fresh engine all that the log knows and it does not."""
        head = self._log.head()
        self._known = MarkedIds(head.log_id, self.engine.user_ids)
        for piece in self._log.catalogue():
            self._apply(piece)
        for entry in self._log.withdrawals(head.sequence):
            self._withdraw(entry)
        # Of the training: an engine may move it as it learns.
        for events in self._log.events_after(self._trained_until, head.sequence):
            self._learn(events)
        self._cursor, self._log_id = head.sequence, head.log_id

    def _advance(self) -> None:
        while True:
            piece = self._log.read_since(self._cursor)
            self._check(piece.head)
            self._apply(piece.entries)
            for entry in piece.entries:
                if isinstance(entry, Forgotten):
                    self._forgotten(entry, self._known.find(entry))
            self._cursor = piece.until
            if self._cursor >= piece.head.sequence:
                break
        self._learn_due()

    def _check(self, head: Head) -> None:
        if head.log_id != self._log_id or head.sequence < self._cursor:
            raise OtherLog

    def _apply(self, entries: Iterable[Entry]) -> None:
        for kind, group in groupby(entries, key=type):
            batch = list(group)
            try:
                if kind is Event:
                    self._learn([one for one in batch if isinstance(one, Event)])
                elif kind is Item:
                    self.engine.put_items([one for one in batch if isinstance(one, Item)])
                elif kind is User:
                    self.engine.put_users([one for one in batch if isinstance(one, User)])
                else:
                    for one in batch:
                        self._drop(one)
            except Exception:  # noqa: BLE001 - whatever an engine raises; it is logged with its trace
                # One entry that the engine cannot take must not keep it from all that follow.
                _log.exception("the engine refused %d entries of kind %s", len(batch), kind.__name__)

    def _drop(self, entry: Entry) -> None:
        if isinstance(entry, Forgotten):
            self._due = [one for one in self._due if not entry.means(one[2].user_id)]
            heapq.heapify(self._due)
            for user_id in self._known.find(entry):
                self.engine.forget(user_id)
        elif isinstance(entry, Removed):
            self.engine.remove_item(entry.item_id)
        elif isinstance(entry, Unlearned):
            taken = {event.event_id for event in entry.events}
            waiting = {one[2].event_id for one in self._due} & taken
            self._due = [one for one in self._due if one[2].event_id not in waiting]
            heapq.heapify(self._due)
            if learnt := [event for event in entry.events if event.event_id not in waiting]:
                self.engine.unlearn(learnt)

    def _withdraw(self, entry: Entry) -> None:
        """Events that were taken back and came after the training were never learnt by a fresh engine."""
        if isinstance(entry, Unlearned):
            known = tuple(event for event in entry.events if event.timestamp <= self._trained_until)
            if not known:
                return
            entry = Unlearned(known)
        self._apply([entry])

    def _learn(self, events: list[Event]) -> None:
        now = self._now()
        ready = []
        for event in events:
            tolerance = 0.0 if event.context.get("write_back") else self._tolerance
            if event.timestamp > now + tolerance:
                heapq.heappush(self._due, (event.timestamp, len(self._due), event))
            else:
                ready.append(event)
        if not ready:
            return
        try:
            self.engine.learn(ready)
        except Exception:  # noqa: BLE001 - as above
            if len(ready) == 1:
                _log.exception("the engine refused an event")
                return
            _log.warning("the engine refused %d events; each is tried by itself", len(ready))
            for event in ready:
                self._learn([event])

    def _learn_due(self) -> None:
        now = self._now()
        due = []
        while self._due and self._due[0][0] <= now:
            due.append(heapq.heappop(self._due)[2])
        if due:
            self._learn(due)

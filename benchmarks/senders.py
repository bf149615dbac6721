"""Clients that post events to a service that dies again and again, and the books that must balance afterwards."""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx


class Sender(threading.Thread):
    """Posts events one after the other; an unanswered one is sent again, with the same id."""

    def __init__(self, number: int, items: Sequence[str]) -> None:
        super().__init__(daemon=True)
        self.number = number
        self.url: str | None = None
        self.acknowledged: list[str] = []
        self.sent = 0
        self._items = items
        self._ending = threading.Event()
        # One for all posts: making a client reads certificates for longer than a post takes.
        self._http = httpx.Client(timeout=30)

    def end(self) -> None:
        self._ending.set()

    def run(self) -> None:
        while not self._ending.is_set():
            events = [
                {
                    "event_id": f"{self.number}-{self.sent + at}",
                    "user_id": f"u{self.number}",
                    "item_id": self._items[(self.sent + at) % len(self._items)],
                    "kind": "buy",
                }
                for at in range(1 + self.sent % 3)
            ]
            while not self._post(events):
                if self._ending.wait(0.05):
                    return
            self.sent += len(events)

    def _post(self, events: list[dict[str, str]]) -> bool:
        url = self.url
        if url is None:
            return False
        try:
            answer = self._http.post(f"{url}/api/v1/events", json={"events": events})
        except httpx.TransportError:
            return False
        if answer.status_code != 200:
            return False
        self.acknowledged += [event["event_id"] for event in events]
        return True


@dataclass(frozen=True)
class Books:
    """lost: acknowledged events that the log does not have. doubled: ids that the log has more than once, or that were
    acknowledged more than once."""

    acknowledged: int
    lost: list[str]
    doubled: list[str]


def books(event_log: Path, senders: Sequence[Sender]) -> Books:
    """Compare what was acknowledged with what the log has."""
    acknowledged = Counter(event_id for sender in senders for event_id in list(sender.acknowledged))
    with closing(sqlite3.connect(event_log)) as log:
        found = Counter(row[0] for row in log.execute("SELECT event_id FROM events"))
    lost = [event_id for event_id in acknowledged if event_id not in found]
    doubled = [event_id for counts in (acknowledged, found) for event_id, count in counts.items() if count > 1]
    return Books(acknowledged.total(), lost, doubled)

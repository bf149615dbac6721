"""kill -9 of the service under load: what was acknowledged is there, once, and the state is rebuilt from it."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.serving.running import Server, serving

SENDERS = 8


class Sender(threading.Thread):
    """Posts events one after the other; an unanswered one is sent again, with the same id."""

    def __init__(self, number: int) -> None:
        super().__init__(daemon=True)
        self.number = number
        self.url: str | None = None
        self.acknowledged: list[str] = []
        self.sent = 0
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
                    "item_id": f"i{(self.sent + at) % 5}",
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


def logged(project: Path) -> Counter[str]:
    with sqlite3.connect(project / ".rectory" / "events.db") as log:
        return Counter(row[0] for row in log.execute("SELECT event_id FROM events"))


def check(project: Path, senders: list[Sender], server: Server) -> None:
    """Nothing acknowledged is missing, nothing is twice, and the live state is what the log says."""
    acknowledged = [event_id for sender in senders for event_id in list(sender.acknowledged)]
    found = logged(project)
    assert [event_id for event_id in acknowledged if event_id not in found] == []
    assert [event_id for event_id, count in found.items() if count != 1] == []
    assert len(acknowledged) == len(set(acknowledged))


def rounds(project: Path, kills: int) -> None:
    random = np.random.default_rng(3)
    senders = [Sender(number) for number in range(SENDERS)]
    for sender in senders:
        sender.start()
    try:
        for _ in range(kills):
            before = sum(len(sender.acknowledged) for sender in senders)
            # The champion changes all the time: the kill falls into a swap as well as into a commit.
            with serving(project, application="tests.serving.worker:restless", look_seconds=0.05) as server:
                check(project, senders, server)
                for sender in senders:
                    sender.url = server.url
                # At least some events, then at any moment: within a commit, between two, while it learns.
                deadline = time.monotonic() + 60
                while sum(len(sender.acknowledged) for sender in senders) < before + 50 and time.monotonic() < deadline:
                    time.sleep(0.01)
                time.sleep(float(random.random()) * 0.3)
                server.kill()
    finally:
        for sender in senders:
            sender.end()
        for sender in senders:
            sender.join(timeout=60)
    with serving(project) as server:
        check(project, senders, server)
        shown = {one["Id"]: one["Score"] for one in httpx.get(f"{server.url}/api/popular").json()}
        with sqlite3.connect(project / ".rectory" / "events.db") as log:
            assert shown == dict(log.execute("SELECT item_id, count(*) FROM events GROUP BY item_id"))
    assert sum(len(sender.acknowledged) for sender in senders) >= 50 * kills


def test_no_acknowledged_event_is_lost_or_doubled(tmp_path: Path) -> None:
    rounds(tmp_path, 2)


@pytest.mark.slow
def test_no_acknowledged_event_is_lost_or_doubled_in_fifty_kills(tmp_path: Path) -> None:
    rounds(tmp_path, 50)

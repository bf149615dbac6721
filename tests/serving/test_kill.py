"""kill -9 of the service under load: what was acknowledged is there, once, and the state is rebuilt from it."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from benchmarks.senders import Sender, books
from tests.serving.running import serving
from tests.waiting import until

SENDERS = 8
ITEMS = [f"i{number}" for number in range(5)]


def check(project: Path, senders: list[Sender]) -> None:
    """Nothing acknowledged is missing, and nothing is twice."""
    found = books(project / ".rectory" / "events.db", senders)
    assert (found.lost, found.doubled) == ([], [])


def rounds(project: Path, kills: int) -> None:
    random = np.random.default_rng(3)
    senders = [Sender(number, ITEMS) for number in range(SENDERS)]
    for sender in senders:
        sender.start()

    def accepted() -> int:
        return sum(len(sender.acknowledged) for sender in senders)

    try:
        for _ in range(kills):
            before = accepted()
            # The champion changes all the time: the kill falls into a swap as well as into a commit.
            with serving(project, application="tests.serving.worker:restless", look_seconds=0.05) as server:
                check(project, senders)
                for sender in senders:
                    sender.url = server.url
                # At least some events, then at any moment: within a commit, between two, while it learns.
                until(lambda least=before + 50: accepted() >= least, "events are accepted", 60, 0.01)
                time.sleep(float(random.random()) * 0.3)
                server.kill()
    finally:
        for sender in senders:
            sender.end()
        for sender in senders:
            sender.join(timeout=60)
    with serving(project) as server:
        check(project, senders)
        shown = {one["Id"]: one["Score"] for one in httpx.get(f"{server.url}/api/popular").json()}
        with sqlite3.connect(project / ".rectory" / "events.db") as log:
            assert shown == dict(log.execute("SELECT item_id, count(*) FROM events GROUP BY item_id"))
    assert accepted() >= 50 * kills


def test_no_acknowledged_event_is_lost_or_doubled(tmp_path: Path) -> None:
    rounds(tmp_path, 2)


@pytest.mark.slow
def test_no_acknowledged_event_is_lost_or_doubled_in_fifty_kills(tmp_path: Path) -> None:
    rounds(tmp_path, 50)

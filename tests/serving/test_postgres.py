"""The event log on a real PostgreSQL: the same order, once, durable, from several processes at once."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from rectory.data.card import load_card
from rectory.data.readers import fetch
from rectory.errors import UsageError
from rectory.serving.event_log import EventLog
from rectory.serving.log_queries import LogQueries
from rectory.serving.log_reading import Entry
from rectory.serving.marks import Forgotten
from rectory.serving.store import EventStoreError, Store
from rectory.serving.types import Answer, Event, Item, Shown
from rectory.workspace import Workspace
from tests.serving.running import serving
from tests.serving.test_events_source import CARD
from tests.waiting import until


def programs() -> Path | None:
    """Folder of initdb and pg_ctl."""
    found = shutil.which("initdb")
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return Path(found).parent if found else (installed[-1].parent if installed else None)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A PostgreSQL of this file's own; it refuses to run as root, so then it runs as its own user."""
    folder = programs()
    if folder is None:
        pytest.skip("PostgreSQL is not installed")
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        port = tried.getsockname()[1]
    home = Path(tempfile.mkdtemp(prefix="rectory-pg-"))
    owner: dict[str, int] = {}
    if os.getuid() == 0:
        try:
            found = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("there is no user postgres to run PostgreSQL as")
        owner = {"user": found.pw_uid, "group": found.pw_gid}
        os.chown(home, found.pw_uid, found.pw_gid)

    def run(*command: str) -> None:
        subprocess.run(command, check=True, capture_output=True, cwd=home, timeout=120, **owner)

    run(
        str(folder / "initdb"),
        "-D",
        f"{home}/data",
        "-U",
        "rectory",
        "-A",
        "trust",
        "--no-sync",
        "-E",
        "UTF8",
        "--locale=C",
    )
    options = f"-p {port} -k {home} -c listen_addresses=127.0.0.1"
    run(str(folder / "pg_ctl"), "-D", f"{home}/data", "-w", "-l", f"{home}/log", "-o", options, "start")
    try:
        yield f"postgresql://rectory@127.0.0.1:{port}/postgres"
    finally:
        run(str(folder / "pg_ctl"), "-D", f"{home}/data", "-m", "immediate", "stop")
        shutil.rmtree(home, ignore_errors=True)


def event(number: int, user: str = "u", item: str = "i") -> Event:
    return Event(f"e{number}", user, item, "buy", 1000.0 + number, 2000.0)


def _accepted(log: EventLog, number: int) -> bool:
    try:
        return log.append([event(number)]).result().accepted + 1 > 0
    except EventStoreError:
        return False


def entries(log: EventLog) -> list[Entry]:
    found: list[Entry] = []
    at = 0
    while True:
        piece = log.read_since(at)
        found += piece.entries
        if piece.until >= piece.head.sequence:
            return found
        at = piece.until


def test_two_processes_give_one_order_without_gaps_and_each_event_once(url: str) -> None:
    logs = [EventLog(Store(url)) for _ in range(2)]
    for log in logs:
        log.open()
    try:
        # A reader that follows meanwhile must not be shown number 8 before 7: it would never look for 7 again.
        with ThreadPoolExecutor(9) as pool:
            posted = [
                pool.submit(lambda at=at: logs[at % 2].append([event(at % 150)]).result().accepted) for at in range(300)
            ]
            seen: list[int] = []
            while not all(one.done() for one in posted) or (seen[-1] if seen else 0) < logs[0].head().sequence:
                piece = logs[0].read_since(seen[-1] if seen else 0)
                assert len(piece.entries) == piece.until - (seen[-1] if seen else 0), "a gap was shown"
                seen.append(piece.until)
            assert sum(one.result() for one in posted) == 150
        assert logs[0].head().sequence == 150
        assert entries(logs[0]) == entries(logs[1])
    finally:
        for log in logs:
            log.close()


def test_catalogue_forgetting_answers_and_search(url: str) -> None:
    log = EventLog(Store(url))
    log.open()
    before = log.head().sequence
    log.put_items(
        [(Item("apple", categories=("fruit",), comment="100% red_ripe"), {"a": 1}), (Item("pear"), None)]
    ).result()
    log.change_item("apple", {"add_category": "sale"}).result()
    log.append([event(1000, "gone"), event(1001, "gone", "j")]).result()
    log.take_back("gone", "j").result()
    assert log.forget("gone").result() == 1
    log.record(None, Answer("pg-1", "1", (Shown("apple", 1.0, "popular"),), "popular", 1.0), 5.0, {})
    queries = LogQueries(log.store)
    until(lambda: queries.kept("pg-1"))
    assert [one.entity for one in queries.items(10, text="100% RED_")[0]] == [
        Item("apple", categories=("fruit", "sale"), features={"a": 1}, comment="100% red_ripe")
    ]
    assert queries.items(10, text="1_0")[0] == [], "a wildcard is a letter here"
    assert log.read_since(before).entries[-1] == Forgotten.of(log.head().log_id, "gone")
    assert queries.feedback(10, user_id="gone")[0] == []
    log.close()


def test_a_server_that_is_away_is_told_without_the_password_and_one_that_comes_back_is_used(url: str) -> None:
    away = url.rsplit(":", 1)[0] + ":1/postgres"
    with pytest.raises(EventStoreError) as told:
        EventLog(Store(away.replace("rectory@", "rectory:secret@"), lock_seconds=1)).open()
    assert "secret" not in str(told.value)
    log = EventLog(Store(url))
    log.open()
    first = log.append([event(2000)]).result()
    with log.store.reading() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        )
    until(lambda: _accepted(log, 2001))
    assert log.head().sequence == first.sequence + 1
    log.close()
    with pytest.raises(UsageError, match="not mysql"):
        Store("mysql://somewhere/else")


def test_the_service_and_the_next_training_meet_there(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECTORY_EVENTS_URL", url)
    with serving(tmp_path) as server:
        events = [{"user_id": f"pg{at}", "item_id": "pgi", "kind": "buy", "context": {"price": at}} for at in range(20)]
        told = httpx.post(f"{server.url}/api/v1/events", json={"events": events}, timeout=60).json()
        assert told["accepted"] == 20
        server.kill()
    with serving(tmp_path) as server:
        shown = {one["Id"]: one["Score"] for one in httpx.get(f"{server.url}/api/popular", timeout=60).json()}
        assert shown["pgi"] == 20
    assert not (tmp_path / ".rectory" / "events.db").exists()
    card = tmp_path / "datasets" / "live.yaml"
    card.parent.mkdir()
    card.write_text(CARD)
    facts = fetch(load_card(card), Workspace(tmp_path / "run", tmp_path), 0.9)
    assert facts.rows["interactions"] >= 20 and "items" in facts.rows
    assert any(name.startswith("postgresql://") for name in facts.fetched)

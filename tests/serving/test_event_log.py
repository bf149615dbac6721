"""The event log by itself: durable before it is acknowledged, in order, once, never more than may wait."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rectory.errors import DataError
from rectory.serving.bulk import export_events, import_events
from rectory.serving.clock import Clock
from rectory.serving.event_log import EventLog, Limits
from rectory.serving.log_queries import LogQueries
from rectory.serving.log_reading import Entry, Removed, Unlearned
from rectory.serving.marks import Forgotten
from rectory.serving.store import EventStoreError, Overloaded, Store
from rectory.serving.types import Answer, Event, Item, Request, Shown, User


def event(number: int, user: str = "u", item: str = "i", kind: str = "buy", **more: Any) -> Event:
    return Event(f"e{number}", user, item, kind, 1000.0 + number, 2000.0, **more)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


@pytest.fixture
def log(path: Path) -> Iterator[EventLog]:
    opened = EventLog(Store(f"sqlite:///{path}", lock_seconds=0.3))
    opened.open()
    yield opened
    opened.close()


def entries(log: EventLog, since: int = 0) -> list[Entry]:
    return log.read_since(since).entries


def test_an_event_comes_back_as_it_was(log: EventLog) -> None:
    whole = event(1, value=2.5, recommendation_id="r", context={"device": "phone", "nested": [1, "é", None]})
    assert log.append([whole]).result().accepted == 1
    assert entries(log) == [whole]


def test_the_same_event_is_accepted_once_within_a_request_and_across(log: EventLog) -> None:
    first = log.append([event(1), event(2), event(1)]).result()
    assert (first.accepted, first.duplicates, first.sequence) == (2, 1, 2)
    again = log.append([event(2), event(3)]).result()
    assert (again.accepted, again.duplicates, again.sequence) == (1, 1, 3)
    assert [one.event_id for one in entries(log) if isinstance(one, Event)] == ["e1", "e2", "e3"]


def test_of_many_senders_of_the_same_exactly_one_is_counted(log: EventLog) -> None:
    with ThreadPoolExecutor(16) as pool:
        told = list(pool.map(lambda at: log.append([event(at % 40)]).result().accepted, range(400)))
    assert sum(told) == 40
    assert len(entries(log)) == 40


def test_two_processes_give_one_order_without_gaps(path: Path) -> None:
    logs = [EventLog(Store(f"sqlite:///{path}", lock_seconds=10)) for _ in range(2)]
    for one in logs:
        one.open()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda at: logs[at % 2].append([event(at)]).result(), range(200)))
    seen = [logs[0].read_since(at, 1).entries for at in range(200)]
    assert all(len(one) == 1 for one in seen)
    assert logs[0].head().sequence == 200
    assert entries(logs[0]) == entries(logs[1])
    for one in logs:
        one.close()


def test_who_waits_while_one_commits_goes_to_disk_together(path: Path) -> None:
    commits = []
    log = EventLog(Store(f"sqlite:///{path}"), committed=lambda: commits.append(1))
    log.open()
    all_wait = threading.Event()
    blocker = log.writer.do(lambda _: all_wait.wait(60))
    waiting = [log.append([event(at)]) for at in range(200)]
    all_wait.set()
    blocker.result()
    assert all(one.result().accepted == 1 for one in waiting)
    assert len(commits) <= 3, "one fsync for each event would be 200"
    log.close()


def test_it_is_on_disk_before_it_is_acknowledged(log: EventLog, path: Path) -> None:
    log.append([event(1)]).result()
    with sqlite3.connect(path) as other:
        assert other.execute("SELECT count(*) FROM events").fetchone() == (1,)
    with log.store.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2, "FULL"


def test_what_it_has_just_committed_is_not_read_back_and_is_the_same(log: EventLog, path: Path) -> None:
    whole = [event(1, value=2.5, context={"a": [1, None]}), event(2, "v", recommendation_id="r")]
    log.append([*whole, event(1)]).result()
    quick = log.read_since(0)
    log.writer.do(lambda _: None).result()  # A commit of something else: now it has to be read.
    read = log.read_since(0)
    assert quick == read and read.entries == whole
    log.append([event(1)]).result()
    assert log.read_since(2).entries == [], "a duplicate is nothing new"
    other = EventLog(Store(f"sqlite:///{path}"))
    other.open()
    other.append([event(7)]).result()
    other.close()
    assert log.read_since(2).entries == [event(7)], "what others commit after a duplicate of ours is seen"


def test_more_than_may_wait_is_refused_before_it_is_taken(path: Path) -> None:
    log = EventLog(Store(f"sqlite:///{path}"), Limits(max_waiting_events=10))
    log.open()
    go = threading.Event()
    held = log.writer.do(lambda _: go.wait(30))
    taken = [log.append([event(at)]) for at in range(9)]
    with pytest.raises(Overloaded, match="Nothing of this request was taken"):
        log.append([event(98), event(99)])
    go.set()
    held.result()
    assert [one.result().accepted for one in taken] == [1] * 9
    assert log.append([event(98), event(99)]).result().accepted == 2
    log.close()


def test_a_locked_store_refuses_and_what_was_refused_is_not_there(log: EventLog, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(EventStoreError, match="locked"):
        log.append([event(1)]).result()
    other.execute("ROLLBACK")
    other.close()
    assert log.append([event(2)]).result().accepted == 1
    assert [one.event_id for one in entries(log) if isinstance(one, Event)] == ["e2"]


def test_a_full_store_refuses_and_goes_on_when_there_is_room(log: EventLog, path: Path) -> None:
    log.append([event(1)]).result()

    def pages(limit: int) -> None:
        with log.store.reading() as connection:
            connection.exec_driver_sql(f"PRAGMA max_page_count = {limit}")

    with log.store.reading() as connection:
        used = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    pages(used + 1)
    big = [event(at, context={"note": "x" * 2000}) for at in range(10, 200)]
    with pytest.raises(EventStoreError, match="full"):
        log.append(big).result()
    assert len(entries(log)) == 1, "all of a request, or nothing"
    pages(1_000_000)
    assert log.append(big).result().accepted == len(big)


def test_a_store_that_is_gone_takes_nothing_and_goes_on_when_it_is_back(log: EventLog, path: Path) -> None:
    log.append([event(1)]).result()
    away = path.with_name("away")
    away.mkdir()
    for file in path.parent.glob("events.db*"):
        file.rename(away / file.name)
    with pytest.raises(EventStoreError, match="gone"):
        log.append([event(2)]).result()
    with pytest.raises(EventStoreError, match="gone"):
        log.head()
    assert not path.exists(), "an empty log in its place would hide the loss"
    for file in away.iterdir():
        file.rename(path.parent / file.name)
    assert log.append([event(3)]).result().sequence == 2
    assert [one.event_id for one in entries(log) if isinstance(one, Event)] == ["e1", "e3"]


def test_one_requests_fault_does_not_fail_its_neighbours(log: EventLog) -> None:
    go = threading.Event()
    held = log.writer.do(lambda _: go.wait(30))
    good, bad = log.append([event(1)]), log.writer.do(lambda _: 1 / 0)
    after = log.append([event(2)])
    go.set()
    held.result()
    assert good.result().accepted == after.result().accepted == 1
    with pytest.raises(ZeroDivisionError):
        bad.result()
    assert len(entries(log)) == 2


def test_catalogue_and_withdrawals_are_part_of_the_order(log: EventLog) -> None:
    apple = Item("apple", categories=("fruit",), features={"colour": "red"}, timestamp=5.0, comment="c")
    log.put_items([(apple, {"colour": "red"}), (Item("pear"), None)]).result()
    log.put_users([(User("ann", {"labels": ["x"]}), ["x"])]).result()
    log.append([event(1, "ann", "apple"), event(2, "bob", "apple"), event(3, "ann", "pear")]).result()
    assert log.take_back("ann", "apple").result() == 1
    log.remove_item("pear").result()
    assert log.forget("bob").result() == 1
    found = entries(log)
    assert found[:2] == [apple, User("ann", {"labels": ["x"]})]
    assert found[2:] == [
        event(3, "ann", "pear"),
        Unlearned((event(1, "ann", "apple"),)),
        Removed("pear"),
        Forgotten.of(log.head().log_id, "bob"),
    ]
    assert list(log.withdrawals(log.head().sequence)) == found[3:]
    log.put_items([(Item("pear"), None)]).result()
    assert Removed("pear") not in list(log.withdrawals(log.head().sequence)), "it is back"
    assert [one for piece in log.catalogue() for one in piece] == [apple, Item("pear"), User("ann", {"labels": ["x"]})]


def files_of(path: Path) -> bytes:
    """The database with what belongs to it, byte for byte."""
    return b"".join(one.read_bytes() for one in sorted(path.parent.glob(f"{path.name}*")))


def test_forgetting_leaves_nothing_but_the_note(log: EventLog, path: Path) -> None:
    log.put_users([(User("secret-user"), None)]).result()
    log.append([event(1, "secret-user", context={"note": "private-note"}), event(2, "secret-user", "j")]).result()
    log.take_back("secret-user", "j").result()
    answer = Answer("r1", "1", (Shown("private-item", 1.0, "popular"),), "popular", 1.0)
    log.record(Request("secret-user"), answer, 1.0, {})
    log.append([event(3, "other-user")]).result()
    for word in (b"secret-user", b"private-note"):
        assert word in files_of(path)
    log.forget("secret-user").result()
    assert log.unscrubbed
    # While the log is open: nothing waits for a restart.
    log.scrub()
    assert not log.unscrubbed
    for word in (b"secret-user", b"private"):
        assert word not in files_of(path)
    assert b"other-user" in files_of(path)
    (note,) = [one for one in entries(log) if isinstance(one, Forgotten)]
    assert note.means("secret-user") and not note.means("other-user") and "secret" not in note.mark


def test_of_many_users_in_many_pages_no_byte_of_a_forgotten_one_is_left(log: EventLog, path: Path) -> None:
    """Pages split and rows move as a log grows: copies that moving leaves behind count too."""
    draw = random.Random(5)  # noqa: S311 - a draw, no secret
    users = [f"user-{draw.getrandbits(64):016x}" for _ in range(60)]
    for at in range(60):
        made = [event(100 * at + k, draw.choice(users), f"i{draw.randrange(99)}") for k in range(50)]
        log.append(made).result()
        for user in draw.sample(users, 10):
            log.put_users([(User(user, {"about": "x" * draw.randrange(300)}), {"about": "x"})]).result()
            shown = (Shown("a" * draw.randrange(1, 300), 1.0, "popular"),)
            log.record(Request(user), Answer(f"{at}-{user}", "1", shown, "popular", 1.0), 1.0, {})
    gone, kept = users[:20], users[20:]
    for user in gone:
        log.forget(user).result()
    log.scrub()
    left = files_of(path)
    assert len(left) > 500_000
    assert [user for user in gone if user.encode() in left] == []
    assert all(user.encode() in left for user in kept)


def test_a_reader_that_holds_an_older_state_delays_the_scrubbing_and_does_not_prevent_it(
    log: EventLog, path: Path
) -> None:
    log.append([event(1, "secret-user")]).result()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM events").fetchone() == (1,)
        log.forget("secret-user").result()
        log.scrub()
        assert log.unscrubbed and b"secret-user" in files_of(path)
        reader.execute("COMMIT")
    log.scrub()
    assert not log.unscrubbed and b"secret-user" not in files_of(path)


def test_notes_of_earlier_versions_lose_their_ids(log: EventLog, path: Path) -> None:
    log.append([event(1)]).result()
    log.close()
    with contextlib.closing(sqlite3.connect(path)) as other, other:
        other.execute("UPDATE log_head SET sequence = 2")
        other.execute("INSERT INTO changes VALUES (2, 'forget', 'secret-user', NULL)")
    assert b"secret-user" in files_of(path)
    log.open()
    assert b"secret-user" not in files_of(path)
    assert entries(log, since=1) == [Forgotten.of(log.head().log_id, "secret-user")]


def test_an_answer_is_kept_with_its_question_and_what_followed(log: EventLog) -> None:
    asked = Request(
        "ann", n=2, history=(event(1),), exclude=frozenset({"x", "y"}), where={"category": "fruit"}, now=7.0
    )
    answer = Answer("r1", "v3", (Shown("a", 2.0, "personal", 0.25), Shown("b", 1.0, "popular")), "personal", 1.5)
    log.record(asked, answer, 8.0, {"path": "v1"})
    log.append([event(5, "ann", "a", recommendation_id="r1")]).result()
    log.writer.close()
    queries = LogQueries(log.store)
    kept = queries.kept("r1")
    assert kept is not None and (kept.request, kept.answer) == (asked, answer)
    told = queries.answer("r1")
    assert told is not None
    assert told["items"][0] == {"item_id": "a", "score": 2.0, "rung": "personal", "propensity": 0.25}
    assert [one["item_id"] for one in told["followed"]] == ["a"]
    assert queries.kept("nobody") is None


def test_answers_wait_within_bounds_and_the_dropped_are_counted(path: Path) -> None:
    log = EventLog(Store(f"sqlite:///{path}"), Limits(max_waiting_answers=5))
    log.open()
    go = threading.Event()
    held = log.writer.do(lambda _: go.wait(30))
    for at in range(8):
        log.record(None, Answer(f"r{at}", "1", (), "popular", 0.0), 1.0, {})
    assert log.writer.dropped_answers == 3
    go.set()
    held.result()
    log.close()
    with sqlite3.connect(path) as other:
        assert [row[0] for row in other.execute("SELECT recommendation_id FROM recommendations ORDER BY 1")] == [
            f"r{at}" for at in range(3, 8)
        ]


def test_old_answers_are_pruned_a_few_at_a_time(log: EventLog) -> None:
    for at in range(10):
        log.record(None, Answer(f"r{at}", "1", (), "popular", 0.0), float(at), {})
    assert [log.prune_answers(7.0, most=5).result() for _ in range(3)] == [5, 2, 0]
    with log.store.reading() as connection:
        left = connection.exec_driver_sql("SELECT recommendation_id FROM recommendations ORDER BY 1").scalars().all()
    assert left == ["r7", "r8", "r9"]


def test_a_user_with_a_hundred_thousand_events_is_taken_and_read(log: EventLog) -> None:
    for at in range(0, 100_000, 10_000):
        log.append([event(at + one) for one in range(10_000)]).result()
    total = sum(len(piece) for piece in log.events_after(0.0, log.head().sequence))
    assert total == 100_000
    page, cursor = LogQueries(log.store).feedback(1000, user_id="u")
    assert len(page) == 1000 and cursor


def test_the_clock_does_not_run_backwards_but_mends() -> None:
    times = iter([100.0, 50.0, 60.0, 101.0, 101.0 - 200_000])
    clock = Clock(lambda: next(times))
    assert [clock() for _ in range(5)] == [100.0, 100.0, 100.0, 101.0, 101.0 - 200_000]
    clock = Clock(lambda: 10.0)
    clock.not_before(12.0)
    assert clock() == 12.0


def test_import_is_checked_first_and_may_be_repeated(tmp_path: Path, path: Path) -> None:
    store = Store(f"sqlite:///{path}")
    lines = [
        {"user_id": "a", "item_id": "x", "kind": "buy", "timestamp": "2026-01-01T00:00:00Z", "value": 2},
        {"FeedbackType": "like", "UserId": "b", "ItemId": "y", "Timestamp": "2026-01-02"},
        {"user_id": "a", "item_id": "x", "kind": "buy", "timestamp": "2026-01-01T00:00:00+00:00"},
    ]
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join([*(json.dumps(line) for line in lines), "{half", '{"user_id": "a/b"}', ""]))
    with pytest.raises(DataError, match=r"2 line.*line 4: no JSON.*line 5"):
        import_events(file, store, now=2e9, max_future_seconds=0)
    assert not store.exists, "nothing was written"
    done = import_events(file, store, now=2e9, max_future_seconds=0, skip_unfit=True)
    assert (done.accepted, done.duplicates, done.unfit) == (2, 1, 2)
    assert import_events(file, store, now=2e9, max_future_seconds=0, skip_unfit=True).accepted == 0
    out = tmp_path / "out.jsonl"
    with out.open("w") as handle:
        assert export_events(store, handle) == 2
    copy = Store(f"sqlite:///{tmp_path / 'copy.db'}")
    assert import_events(out, copy, now=2e9, max_future_seconds=0).accepted == 2
    again = tmp_path / "again.jsonl"
    with again.open("w") as handle:
        export_events(copy, handle)
    assert again.read_text() == out.read_text()


def test_only_its_owner_reads_the_file(log: EventLog, path: Path) -> None:
    assert path.stat().st_mode & 0o077 == 0

"""What an engine is told of the log: all, in order, once, when it is due."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rectory.errors import StoreError
from rectory.params.serve import ServeParams
from rectory.serving.event_log import EventLog
from rectory.serving.forgetting import forget_in_log
from rectory.serving.live_state import LiveState, OtherLog
from rectory.serving.service import Champions, NotReady, Service
from rectory.serving.slot import Swap
from rectory.serving.store import Store
from rectory.serving.types import Event, Item, Request, User
from rectory.workspace import Workspace
from tests.serving.popular_engine import PopularEngine
from tests.waiting import until


def event(number: int, user: str = "u", item: str = "i", at: float | None = None, **context: object) -> Event:
    moment = 1000.0 + number if at is None else at
    return Event(f"e{number}", user, item, "buy", moment, 2000.0, context=dict(context))


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    opened = EventLog(Store(f"sqlite:///{tmp_path / 'events.db'}"))
    opened.open()
    yield opened
    opened.close()


def state(log: EventLog, engine: PopularEngine | None = None, now: float = 5000.0) -> LiveState:
    made = LiveState(engine or PopularEngine(), log, lambda: now, 300.0)
    made.catch_up()
    return made


def counts(live: LiveState) -> dict[str, float]:
    return {one.item_id: one.score for one in live.engine.popular("popular", 100).items}


def test_a_fresh_engine_gets_what_it_does_not_know(log: EventLog) -> None:
    log.append([event(at, f"u{at}", f"i{at % 2}") for at in range(6)]).result()
    assert counts(state(log)) == {"i0": 3.0, "i1": 3.0}
    assert counts(state(log, PopularEngine(known_until=1003.0))) == {"i0": 1.0, "i1": 1.0}


def test_rebuilt_or_followed_the_state_is_the_same(log: EventLog) -> None:
    followed = state(log)
    log.append([event(at, f"u{at % 3}", f"i{at % 4}") for at in range(40)]).result()
    followed.catch_up()
    log.put_items([(Item("new"), None)]).result()
    log.take_back("u0", "i0").result()
    log.forget("u1").result()
    log.append([event(50, "u1", "i3")]).result()
    log.remove_item("i2").result()
    followed.catch_up()
    assert counts(followed) == counts(state(log))
    assert "i2" not in counts(followed) and counts(followed)["new"] == 0.0


def test_what_a_training_knew_and_was_taken_back_is_unlearned(log: EventLog) -> None:
    log.append([event(1, "ann", "a"), event(9, "ann", "a")]).result()
    log.take_back("ann", "a").result()
    trained = PopularEngine(known_until=1005.0)
    trained.learn([event(1, "ann", "a")])
    assert counts(state(log, trained)) == {}


def test_an_event_of_the_future_is_learned_when_it_is_due(log: EventLog) -> None:
    now = [5000.0]
    live = LiveState(PopularEngine(), log, lambda: now[0], 300.0)
    live.catch_up()
    log.append(
        [event(1, at=9000.0), event(2, item="soon", at=5100.0), event(3, item="back", at=5100.0, write_back=True)]
    ).result()
    live.catch_up()
    assert counts(live) == {"soon": 1.0}, "within the tolerance it counts at once, unless it is a write-back"
    now[0] = 5101.0
    live.catch_up()
    assert counts(live) == {"soon": 1.0, "back": 1.0}
    log.forget("u").result()
    live.catch_up()
    now[0] = 9999.0
    live.catch_up()
    assert counts(live) == {}


def test_an_entry_that_the_engine_refuses_does_not_stop_the_rest(log: EventLog) -> None:
    class Picky(PopularEngine):
        def learn(self, events: list[Event]) -> None:
            if any(one.item_id == "bad" for one in events):
                raise ValueError("no")
            super().learn(events)

    live = state(log, Picky())
    log.append([event(1, item="a"), event(2, item="bad"), event(3, item="b")]).result()
    log.put_users([(User("x"), None)]).result()
    live.catch_up()
    assert counts(live) == {"a": 1.0, "b": 1.0}
    assert live.cursor == log.head().sequence


def test_another_log_behind_the_name_is_noticed(log: EventLog, tmp_path: Path) -> None:
    live = state(log)
    log.append([event(1)]).result()
    live.catch_up()
    with log.store.writing() as writing:
        writing.connection.exec_driver_sql("UPDATE log_head SET log_id = 'other'")
    with pytest.raises(OtherLog):
        live.catch_up()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"sqlite:///{tmp_path / 'service.db'}")


def test_events_are_taken_while_no_model_is_there_and_known_when_it_comes(store: Store) -> None:
    there = threading.Event()
    asked = []

    def current() -> str:
        asked.append(1)
        if not there.is_set():
            raise StoreError("the model store is down")
        return "popular-1"

    service = Service(Champions(current, PopularEngine), store, ServeParams())
    service.start()
    try:
        with pytest.raises(NotReady):
            service.engine.recommend(Request("u"))
        service.log.append([event(1)]).result()
        until(lambda: asked)
        assert not service.ready
        there.set()
        until(lambda: service.ready)
        assert service.engine.popular("popular", 1).items[0].item_id == "i"
    finally:
        service.stop()


def test_whatever_loading_raises_it_is_tried_again(store: Store) -> None:
    faults: list[Exception] = [ConnectionError("reset"), StoreError("away")]

    def load(version: str) -> PopularEngine:
        if faults:
            raise faults.pop()
        return PopularEngine(version)

    service = Service(Champions(lambda: "popular-1", load), store, ServeParams())
    service.start()
    try:
        until(lambda: service.ready)
        assert faults == []
    finally:
        service.stop()


def test_a_new_champion_is_brought_up_to_date_before_it_answers(store: Store) -> None:
    seat = ["popular-1"]
    told: list[Swap] = []
    service = Service(
        Champions(lambda: seat[0], PopularEngine, told=told.append), store, ServeParams(look_seconds=0.05)
    )
    service.start()
    try:
        until(lambda: service.ready)
        service.log.append([event(1)]).result()
        seat[0] = "popular-2"
        until(lambda: service.engine.version == "popular-2")
        assert service.engine.popular("popular", 1).items[0].score == 1.0
        service.log.append([event(2)]).result()
        assert service.engine.popular("popular", 1).items[0].score == 2.0
        assert [(one.version, one.outcome) for one in told] == [("popular-1", "seated"), ("popular-2", "seated")]
    finally:
        service.stop()


def test_a_store_that_was_replaced_gives_a_state_from_the_new_one(store: Store, tmp_path: Path) -> None:
    other = EventLog(Store(f"sqlite:///{tmp_path / 'other.db'}"))
    other.open()
    other.append([event(7, item="other")]).result()
    other.close()
    service = Service(Champions(lambda: "popular-1", PopularEngine), store, ServeParams())
    service.start()
    try:
        until(lambda: service.ready)
        service.log.append([event(1)]).result()
        for file in tmp_path.glob("service.db*"):
            file.unlink()
        (tmp_path / "other.db").rename(tmp_path / "service.db")
        until(lambda: [one.item_id for one in service.engine.popular("popular", 5).items] == ["other"])
        assert service.log.append([event(8, item="other")]).result().accepted == 1
        until(lambda: service.ready)
    finally:
        service.stop()


def test_forgetting_from_outside_reaches_a_running_service(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, tmp_path)
    assert forget_in_log(workspace, "u") == 0
    assert not workspace.event_log.exists()
    service = Service(Champions(lambda: "popular-1", PopularEngine), Store.of(workspace), ServeParams())
    service.start()
    try:
        until(lambda: service.ready)
        service.log.append([event(1), event(2)]).result()
        answer = service.answered(Request("u"), service.recommend(Request("u")), {})
        assert forget_in_log(workspace, "u") == 2
        until(lambda: service.engine.popular("popular", 5).items == ())
        until(lambda: service.kept(answer.recommendation_id) is None)
    finally:
        service.stop()

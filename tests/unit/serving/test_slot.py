"""The slot: who answers while versions come and go, under readers that never stop asking."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rectory.errors import DataError, StoreError
from rectory.params.serve import ServeParams
from rectory.serving.champions import champions
from rectory.serving.slot import ModelSlot, Swap
from rectory.serving.slot_checks import Answers, Latency
from rectory.serving.types import Answer, Event, Request, Shown
from rectory.workspace import Workspace

LOG = [Event(f"e{n}", f"u{n % 3}", f"i{n % 7}", "click", float(n), float(n)) for n in range(50)]


@dataclass
class Named:
    """Every item of its answers carries its own version: a mixed answer would show."""

    version: str
    learned: list[str] = field(default_factory=list)
    shown: tuple[str, ...] = ("a", "b", "c")
    seconds: float = 0.0

    def learn(self, events: list[Event]) -> None:
        self.learned += [event.event_id for event in events]

    def recommend(self, request: Request) -> Answer:
        until = time.thread_time() + self.seconds
        while time.thread_time() < until:
            pass  # a slow model keeps a processor busy
        items = tuple(Shown(f"{self.version}-{one}", 1.0, "personal") for one in self.shown[: request.n])
        return Answer(f"r-{self.version}", self.version, items, "personal", 0.1)


@dataclass
class Following:
    engine: Any
    place: int = 0

    def catch_up(self) -> int:
        new = LOG[self.place :]
        self.engine.learn(new)
        self.place += len(new)
        return len(new)


@dataclass
class Store:
    seated: str | None = "1"
    down: bool = False
    engines: dict[str, Named] = field(default_factory=dict)
    damaged: set[str] = field(default_factory=set)

    def champion(self) -> str | None:
        if self.down:
            raise StoreError("the model store cannot be reached")
        return self.seated

    def load(self, version: str) -> Following:
        if version in self.damaged:
            raise DataError("seen.npz is damaged")
        return Following(self.engines.setdefault(version, Named(version)))


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Whether it comes true in time."""
    deadline = time.monotonic() + seconds
    while not (done := condition()) and time.monotonic() < deadline:
        threading.Event().wait(0.001)
    return done


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def slot(store: Store) -> ModelSlot:
    return ModelSlot(store.champion, store.load, [Answers(["u1", "nobody"])])


def test_the_first_champion_is_seated_with_all_that_the_log_holds(slot: ModelSlot, store: Store) -> None:
    assert not slot.ready
    swap = slot.look()
    assert swap is not None and (swap.version, swap.outcome, swap.replaced) == ("1", "seated", None)
    assert slot.ready and store.engines["1"].learned == [event.event_id for event in LOG]


def test_nobody_seated_is_nothing_to_do(slot: ModelSlot, store: Store) -> None:
    store.seated = None
    assert slot.look() is None and slot.engine is None


def test_the_same_champion_is_not_loaded_again(slot: ModelSlot) -> None:
    slot.look()
    engine = slot.engine
    assert slot.look() is None and slot.engine is engine


def test_a_store_that_is_down_leaves_the_engine_and_is_asked_again(slot: ModelSlot, store: Store) -> None:
    slot.look()
    store.down, store.seated = True, "2"
    assert slot.look() is None
    assert slot.engine is not None and slot.engine.version == "1"
    store.down = False
    swap = slot.look()
    assert swap is not None and swap.outcome == "seated" and slot.engine.version == "2"


def test_damaged_files_are_refused_once_and_the_old_model_stays(store: Store) -> None:
    told: list[Swap] = []
    slot = ModelSlot(store.champion, store.load, [], told.append)
    slot.look()
    store.seated, store.damaged = "2", {"2"}
    swap = slot.look()
    assert swap is not None and swap.outcome == "refused" and "damaged" in swap.reason
    assert slot.engine is not None and slot.engine.version == "1"
    assert slot.look() is None, "a refused version is not loaded over and over"
    store.seated = "3"
    assert slot.look() is not None and slot.engine.version == "3"
    assert [(one.version, one.outcome) for one in told] == [("1", "seated"), ("2", "refused"), ("3", "seated")]


@pytest.mark.parametrize(("shown", "says"), [((), "empty list"), (("a", "a"), "twice")])
def test_answers_that_nobody_should_see_are_refused(
    slot: ModelSlot, store: Store, shown: tuple[str, ...], says: str
) -> None:
    slot.look()
    store.seated, store.engines["2"] = "2", Named("2", shown=shown)
    swap = slot.look()
    assert swap is not None and swap.outcome == "refused" and says in swap.reason
    assert slot.engine is not None and slot.engine.version == "1"


def test_a_slower_model_is_refused_by_the_limit_and_beside_the_one_in_service() -> None:
    quick, slow = Named("1"), Named("2", seconds=0.03)
    assert Latency(["u1", "u2"], 20.0, 100.0)(slow, quick) is not None  # type: ignore[arg-type]
    told = Latency(["u1", "u2"], 200.0, 3.0)(slow, quick)  # type: ignore[arg-type]
    assert told is not None and "in service" in told
    assert Latency(["u1", "u2"], 1000.0, 3.0)(slow, quick) is None  # type: ignore[arg-type]


def test_a_slower_champion_is_refused_and_the_old_one_stays(store: Store, tmp_path: Path) -> None:
    checks = champions(Workspace(tmp_path, tmp_path), ServeParams(slowest_milliseconds=20.0)).checks
    slot = ModelSlot(store.champion, store.load, checks)
    store.engines["1"] = Named("1", seconds=0.03)
    first = slot.look()
    assert first is not None and first.outcome == "seated", "a slow model is better than none"
    store.seated, store.engines["2"] = "2", Named("2", seconds=0.03)
    swap = slot.look()
    assert swap is not None and swap.outcome == "refused" and "allowed are 20" in swap.reason
    assert slot.engine is not None and slot.engine.version == "1"
    store.seated = "3"
    assert slot.look() is not None and slot.engine.version == "3"


def test_twenty_swaps_under_load_give_no_failed_and_no_mixed_answer(slot: ModelSlot, store: Store) -> None:
    slot.look()
    stop, faults, asked = threading.Event(), [], [0, 0, 0]
    everyone_asks = threading.Barrier(4)

    def ask(place: int) -> None:
        everyone_asks.wait()
        while not stop.is_set():
            engine = slot.engine
            assert engine is not None
            answer = engine.recommend(Request("u1"))
            asked[place] += 1
            if {one.item_id.split("-")[0] for one in answer.items} != {answer.model_version}:
                faults.append(answer)

    readers = [threading.Thread(target=ask, args=(place,)) for place in range(3)]
    for reader in readers:
        reader.start()
    everyone_asks.wait()
    for version in range(2, 22):
        store.seated = str(version)
        swap = slot.look()
        assert swap is not None and swap.outcome == "seated"
        before = list(asked)
        assert wait_for(lambda before=before: all(now > then for now, then in zip(asked, before, strict=True)))
    stop.set()
    for reader in readers:
        reader.join()
    assert not faults
    assert all(engine.learned == [one.event_id for one in LOG] for engine in store.engines.values())

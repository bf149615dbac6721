"""What stands behind the endpoints: the event log, the engine that follows it, and the answers that were given."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rectory.errors import StoreError
from rectory.params.rules import RulesParams
from rectory.serving.clock import Clock
from rectory.serving.event_log import EventLog, Limits
from rectory.serving.keys import ApiKeys, KeyRing
from rectory.serving.live_state import LiveState, OtherLog
from rectory.serving.log_queries import Kept, LogQueries
from rectory.serving.marks import Forgotten
from rectory.serving.notifier import Notifier
from rectory.serving.process import keep_from_collector, step_back
from rectory.serving.rules import Rules
from rectory.serving.slot import Check, ModelSlot, Swap
from rectory.serving.store import EventStoreError, Store
from rectory.serving.types import Answer, Engine, Request, Why, WhyNot

if TYPE_CHECKING:
    from rectory.params.serve import ServeParams

_log = logging.getLogger("rectory.serving")
_RECENT_ANSWERS = 5000
_KEYS_SECONDS = 1.0
_WARN_SECONDS = 10.0
_PRUNE_SECONDS = 3600.0
_PRUNE_AGAIN_SECONDS = 1.0
_FIRST_RETRY_SECONDS = 0.5
_MAX_RETRY_SECONDS = 30.0


class NotReady(StoreError):
    """No model is loaded (yet). Events are taken meanwhile."""

    retry_after_seconds = 2


@dataclass(frozen=True)
class Champions:
    """Where engines come from.

    current: version that holds the seat now, None before the first; load: its engine. Both raise RectoryError.
    checks: what a loaded engine must show before it answers. told: hears of each swap and refusal.
    warm: makes the first engine of a process quicker while it answers already; a later one is warm before.
    """

    current: Callable[[], str | None]
    load: Callable[[str], Engine]
    checks: Sequence[Check] = ()
    told: Callable[[Swap], None] = lambda _: None
    warm: Callable[[Engine], None] = lambda _: None


class Service:
    """One worker process of the live service.

    Args:
        champions: asked again and again for who holds the seat.
        store: of the event log.
        rules: the merchandising rules in force.
        remember: called with a user who is to be forgotten before the log forgets them: trainings must not know them.
    """

    def __init__(
        self,
        champions: Champions,
        store: Store,
        params: ServeParams,
        rules: Callable[[], Rules] = lambda: Rules(RulesParams()),
        remember: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.params = params
        self.store = store
        self.timed: Callable[[float], None] = lambda _: None
        self._rules = rules
        self.remember = remember
        self.clock = Clock()
        limits = Limits(params.commit_events, params.max_waiting_events, params.max_waiting_answers)
        self.log = EventLog(store, limits, self._committed)
        self.queries = LogQueries(store)
        self.keys = KeyRing(ApiKeys(store))
        self.slot = ModelSlot(
            champions.current, lambda version: self._follower(champions.load(version)), champions.checks, self._swapped
        )
        self.last_swap: Swap | None = None
        self.store_error: str | None = None
        self._told, self._warm = champions.told, champions.warm
        self._recent: OrderedDict[str, Kept] = OrderedDict()
        self._recent_lock = threading.Lock()
        self._wake = threading.Event()
        self._look = threading.Event()
        self._other_log = False
        self._ending = threading.Event()
        self._threads: list[threading.Thread] = []
        self._notifier: Notifier | None = None

    def start(self) -> None:
        """Open the log, follow it, load the champion in the background.

        Raises:
            EventStoreError: the event store cannot be opened.
        """
        self.log.open()
        self.clock.not_before(min(self.log.last_received(), time.time() + 86_400))
        self.keys.refresh()
        self._notifier = Notifier.from_environment(self._wake.set)
        for name, work in (("champion-watch", self._watch), ("log-follower", self._follow)):
            thread = threading.Thread(target=work, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Write what waits and end."""
        self._ending.set()
        self._wake.set()
        self._look.set()
        for thread in self._threads:
            thread.join(timeout=30)
        self.log.close()
        if self._notifier is not None:
            self._notifier.close()

    @property
    def ready(self) -> bool:
        return self.slot.ready and self.store_error is None

    @property
    def engine(self) -> Engine:
        """The engine that answers now.

        Raises:
            NotReady: none is loaded.
        """
        engine = self.slot.engine
        if engine is None:
            raise NotReady("no model is loaded yet.")
        return engine

    @property
    def rules_fault(self) -> str | None:
        """What is wrong with the rules as they are written now; None: they are in force."""
        return getattr(self._rules, "fault", None)

    def look(self) -> None:
        """Ask the model store now, and not at the next turn, who holds the seat."""
        self._look.set()

    def recommend(self, request: Request) -> Answer:
        """The engine's answer under the rules in force."""
        return self._rules().recommend(self.engine, request)

    def recommend_many(self, requests: list[Request]) -> list[Answer]:
        """One answer for each request, all by one engine and under the same rules."""
        engine, rules = self.engine, self._rules()
        return engine.recommend_many(requests) if rules.idle else [rules.recommend(engine, one) for one in requests]

    def why(self, request: Request, item_id: str) -> Why:
        """Reasons for an item, the shop's own rules among them."""
        return self._rules().why(self.engine, request, item_id)

    def why_not(self, request: Request, item_id: str) -> WhyNot:
        """Where an item was lost, the shop's own rules among the stages."""
        return self._rules().why_not(self.engine, request, item_id)

    def answered(self, request: Request | None, answer: Answer, asked: dict[str, Any]) -> Answer:
        """Keep an answer, for `why` at once and in the log soon."""
        with self._recent_lock:
            self._recent[answer.recommendation_id] = Kept(request, answer)
            if len(self._recent) > _RECENT_ANSWERS:
                self._recent.popitem(last=False)
        self.timed(answer.milliseconds / 1000)
        self.log.record(request, answer, self.clock(), asked)
        return answer

    def kept(self, recommendation_id: str) -> Kept | None:
        """An answer of any worker, from memory or the log (where it arrives within a fraction of a second)."""
        recent = self._recent.get(recommendation_id)
        return recent if recent is not None else self.queries.kept(recommendation_id)

    def _drop_answers(self, gone: Forgotten, user_ids: list[str]) -> None:
        """A user was forgotten, here or by another worker: so are the answers of this one."""
        with self._recent_lock:
            asked = {key: kept.request.user_id for key, kept in self._recent.items() if kept.request}
        theirs = {*user_ids, *gone.among(asked.values())}
        with self._recent_lock:
            for key, user_id in asked.items():
                if user_id in theirs:
                    self._recent.pop(key, None)
        self.log.drop_answers(gone, theirs, self.clock())

    def status(self) -> dict[str, Any]:
        """What an operator wants to know of this worker."""
        engine = self.slot.engine
        return {
            "pid": os.getpid(),
            "ready": self.ready,
            "model_version": engine.version if engine else None,
            "sequence": self.log.head().sequence,
            "waiting_events": self.log.writer.waiting,
            "dropped_answers": self.log.writer.dropped_answers,
            "redis": bool(self._notifier and self._notifier.connected),
            "last_swap": asdict(self.last_swap) if self.last_swap else None,
        }

    def _follower(self, engine: Engine) -> LiveState:
        return LiveState(engine, self.log, self.clock, self.params.max_future_seconds, self._drop_answers)

    def _swapped(self, swap: Swap) -> None:
        self.last_swap = swap
        if swap.outcome == "seated":
            keep_from_collector()
            _log.info("version %s serves, %.1f s after it was named", swap.version, swap.seconds)
        else:
            _log.error("version %s is refused, %s stays: %s", swap.version, swap.replaced or "nobody", swap.reason)
        self._told(swap)

    def _committed(self) -> None:
        """In the writer's thread: whoever is told "accepted" finds the event in this worker's next answer."""
        self._feed()
        if self._notifier is not None:
            self._notifier.publish()

    def _feed(self) -> None:
        try:
            self.slot.feed()
            self.store_error = None
        except OtherLog:
            if not self._other_log:
                _log.warning("the event log is another one than before: the live state is built anew")
            self._other_log = True
            self._look.set()

    def _follow(self) -> None:
        keys_at = warned_at = prune_at = 0.0
        while not self._ending.is_set():
            self._wake.wait(self.params.poll_milliseconds / 1000)
            self._wake.clear()
            try:
                self._feed()
                if time.monotonic() - keys_at >= _KEYS_SECONDS:
                    keys_at = time.monotonic()
                    self.keys.refresh()
                    if self.log.unscrubbed:
                        self.log.scrub()
                if time.monotonic() >= prune_at:
                    prune_at = time.monotonic() + (_PRUNE_SECONDS if self._prune() else _PRUNE_AGAIN_SECONDS)
                self.store_error = None
            except EventStoreError as error:
                self.store_error = str(error)
                if time.monotonic() - warned_at >= _WARN_SECONDS:
                    warned_at = time.monotonic()
                    _log.warning("%s", error)
            except Exception:  # noqa: BLE001 - the follower must live; the trace is logged
                _log.exception("following the log failed; it is tried again")
                self._ending.wait(1.0)

    def _prune(self) -> bool:
        """Drop some of the answers that are older than they are kept; False: there may be more."""
        if self.params.answers_days is None:
            return True
        before = self.clock() - 86_400 * self.params.answers_days
        return self.log.prune_answers(before).result(timeout=60) == 0

    def _watch(self) -> None:
        """Seat whoever holds the seat, again and again; soon while nobody serves."""
        failures, serving = 0, False
        while not self._ending.is_set():
            anew, self._other_log = self._other_log, False
            try:
                swap = self.slot.look(anew=anew)
                self._other_log |= anew and swap is None
                failures = 0
                if not serving and (engine := self.slot.engine) is not None:
                    # From now on there is somebody whose answers a load could slow down.
                    serving = True
                    step_back()
                    self._warm(engine)
            except Exception:  # noqa: BLE001 - whatever a model store raises; the trace is logged
                failures += 1
                self._other_log |= anew
                _log.exception("the champion could not be loaded; it is tried again")
            pause = self.params.look_seconds if self.slot.ready and not self._other_log else _FIRST_RETRY_SECONDS
            self._look.wait(min(pause * 2**failures, _MAX_RETRY_SECONDS))
            self._look.clear()

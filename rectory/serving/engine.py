"""The champion plus what has happened since: one object that learns from each event and answers at once."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np

from rectory.arrays import Array, Float64Array, Int32Array
from rectory.features.training_set import SECONDS_PER_DAY
from rectory.serving.asked import Asked
from rectory.serving.champion import Champion
from rectory.serving.clock import LogTime
from rectory.serving.codes import UNKNOWN, Codes
from rectory.serving.histories import Histories, Taken
from rectory.serving.links import Links, followed
from rectory.serving.mixing import LINKED, Mix
from rectory.serving.people import People
from rectory.serving.places import Places
from rectory.serving.reasons import champion_words, reasons_for, why_not_stages
from rectory.serving.shelf import Shelf
from rectory.serving.signals import World, look
from rectory.serving.trends import Trend
from rectory.serving.types import Answer, Event, Item, ItemFacts, NotKnown, Request, Rung, Shown, User, Why, WhyNot

if TYPE_CHECKING:
    from rectory.registry.store import Version
    from rectory.workspace import Workspace

HALF_LIVES_DAYS = (1.0, 7.0, 28.0)
"""Of what is taken now: terms day, week, month."""
_NEWEST = 100
"""Items, posted or first taken latest, that are candidates for everybody."""
_WARM_AT_ONCE = 128
"""Users whose lists are made in one turn: answers wait for it, some 40 ms among 100,000 items."""
_BREATH_SECONDS = 0.002
"""Between turns, for answers to pass."""
_MAX_FUTURE_SECONDS = 300.0
IMPRESSION = "impression"


@dataclass(frozen=True)
class Taste:
    """How events count, as the card says.

    weights: kind -> weight; kinds that are not named weigh 1, weight 0 says nothing of taste.
    value_as_weight: multiply by the event's value.
    """

    weights: Mapping[str, float]
    value_as_weight: bool = False

    def of(self, event: Event) -> float:
        """Weight of an event; 0: it teaches nothing."""
        if event.kind == IMPRESSION:
            return 0.0
        weight = float(self.weights.get(event.kind, 1.0))
        return max(weight * event.value if self.value_as_weight else weight, 0.0)


@dataclass(frozen=True)
class Log:
    """Coded rows that were there before serving began. user, item, time (seconds), weight: (n,)."""

    user: Int32Array
    item: Int32Array
    time: Float64Array
    weight: Array

    @property
    def end(self) -> float:
        return float(self.time.max(initial=0.0))


class LiveEngine:
    """See `rectory.serving.types.Engine`. One lock: learning and answering take turns, each a millisecond or so.

    Args:
        champion: a fitted bundle. version: of it, as answers name it.
        users, items: codes, those of the bundle first.
        log: rows up to now. links: what goes with what. shelf: the catalogue.
        mix: weights of what is added up. taste: how events count.
        historic: the log has ended: what happens now follows its newest event (`LogTime`).
    """

    def __init__(
        self,
        champion: Champion,
        version: str,
        *,
        users: Codes,
        items: Codes,
        log: Log,
        links: Links,
        shelf: Shelf,
        mix: Mix,
        taste: Taste,
        historic: bool,
    ) -> None:
        self._lock = RLock()
        self._champion, self._version = champion, version
        self._users, self._items, self._taste = users, items, taste
        self._histories = Histories(log.user, log.item, log.time, log.weight, len(users))
        self._known_until, self._time = log.end, LogTime(log.end, ended=historic)
        self._forgotten: set[int] = set()
        n = len(items)
        day, week, month = (
            Trend(days, log.item, log.time, log.weight, n_items=n, now=log.end) for days in HALF_LIVES_DAYS
        )
        # What weighs nothing need not be made.
        people = People(log.user, log.item, log.time, n) if "people" in mix.linked else None
        self._world = World(
            links=links,
            people=people,
            trends=(day, week, month),
            shelf=shelf,
            settings=mix.settings,
            repeats=champion.bundle.repeats,
            places=Places(),
            newest=_first_taken(log, n),
        )
        self._mix, self._weights = mix, mix.vector
        self.uses_now = any(value for name, value in mix.weights.items() if name.startswith("now"))

    @classmethod
    def load(cls, workspace: Workspace, version: Version | None = None) -> LiveEngine:
        """The engine of a registered version (None: the champion), with all rows of the newest tables.

        Raises:
            UsageError: there is no champion. StoreError: the model's files are gone. DataError: its data is.
        """
        from rectory.serving.loading import gather

        return gather(workspace, version).engine()

    @property
    def version(self) -> str:
        return self._version

    @property
    def known_until(self) -> float:
        """Moment of the newest interaction that was there when serving began; what came later is to be learned."""
        return self._known_until

    @property
    def repeats(self) -> bool:
        """An item that was taken may be recommended again."""
        return self._world.repeats

    def facts(self, item_ids: list[str]) -> list[ItemFacts]:
        """What is known of items beside their interactions, in the order asked."""
        with self._lock:
            return [self._world.shelf.facts(item_id) for item_id in item_ids]

    def last_taken(self, user_id: str) -> dict[str, float]:
        """Item -> moment of the last time that this user took it."""
        with self._lock:
            taken = self._histories.of(self._users.code(user_id))
            names = [self._items.ids[code] for code in taken.items.tolist()]
            return dict(zip(names, map(self._time.back, taken.time.tolist()), strict=True))

    @property
    def user_ids(self) -> Sequence[str]:
        return self._users.ids

    @property
    def mix(self) -> Mix:
        return self._mix

    @property
    def champion(self) -> Champion:
        return self._champion

    def taken(self, user_id: str) -> Taken:
        """A user's whole history, the oldest first; empty for a stranger."""
        return self._histories.of(self._users.code(user_id))

    # Learning.

    def learn(self, events: list[Event]) -> None:
        """Take events up, in the order given."""
        with self._lock:
            for event in events:
                weight = self._taste.of(event)
                if weight > 0:
                    moment = self._time.learned(min(event.timestamp, event.received + _MAX_FUTURE_SECONDS))
                    self.take(self._users.add(event.user_id), event.item_id, moment, weight)

    def take(self, user: int, item_id: str, moment: float, weight: float) -> None:
        """One interaction of a user's code, in the model's time (`LogTime`)."""
        item = self._items.code(item_id)
        if item == UNKNOWN:
            item = self._items.add(item_id)
            self._grow()
            self._is_new(item, moment)
        before = self._histories.of(user)
        if not len(before) or moment >= before.time[-1]:
            self._world.links.take(item, *followed(before, moment, self._world.settings.moment_seconds))
            if self._world.people is not None:
                self._world.people.take(user, item)
        self._histories.add(user, item, moment, weight)
        for trend in self._world.trends:
            trend.add(item, moment, weight)
        self._time.reached(moment)

    def unlearn(self, events: list[Event]) -> None:
        """Take events back: out of the user's history and out of what is popular. What followed what stays counted."""
        with self._lock:
            for event in events:
                user, item = self._users.code(event.user_id), self._items.code(event.item_id)
                if UNKNOWN in (user, item) or self._taste.of(event) == 0:
                    continue
                moment = self._time.of(event.timestamp)
                weight = self._histories.remove(user, item, moment)
                for trend in self._world.trends:
                    trend.add(item, moment, -weight)
                self._champion.forget(user)

    def forget(self, user_id: str) -> None:
        """Nothing of this user is used any more: the id is from now on that of a stranger."""
        with self._lock:
            user = self._users.code(user_id)
            if user != UNKNOWN:
                self._histories.forget(user)
                self._champion.forget(user)
                if self._world.people is not None:
                    self._world.people.forget(user)
                self._forgotten.add(user)

    def put_items(self, items: list[Item]) -> None:
        """Add or replace items; a new one may be recommended at once."""
        with self._lock:
            for item in items:
                new = item.item_id not in self._items
                code = self._world.shelf.put(item)
                self._grow()
                if new:
                    self._is_new(code, self._now(item.timestamp))

    def remove_item(self, item_id: str) -> None:
        """Not recommended any more; what was learned of it stays."""
        with self._lock:
            if (code := self._items.code(item_id)) != UNKNOWN:
                self._world.shelf.remove(code)

    def put_users(self, users: list[User]) -> None:
        """Take up users; one without interactions is answered as a newcomer."""
        with self._lock:
            for user in users:
                self._users.add(user.user_id)

    # Answering.

    def recommend(self, request: Request) -> Answer:
        """The best items for a user or a session."""
        began = time.perf_counter()
        with self._lock:
            asked = Asked.of(self, request)
            view = asked.view()
            wanted = request.offset + request.n
            if len(view.items) < wanted:
                view = asked.view(filled_to=wanted)
            score = view.x @ self._weights
            order = _first(score, wanted)[request.offset :]
            codes, scores = view.items[order].tolist(), score[order].tolist()
            rungs = asked.rungs(view.x[order])
            shown = tuple(
                Shown(self._items.ids[code], value, rung)
                for code, value, rung in zip(codes, scores, rungs, strict=True)
            )
        first: Rung = shown[0].rung if shown else "popular"
        return Answer(uuid.uuid4().hex, self._version, shown, first, 1000 * (time.perf_counter() - began))

    def batch_list(self, user_id: str, n: int) -> list[str]:
        """The champion's list alone, made the way that answers are but with nothing that the training did not know.

        Through the engine's own id maps, signals and order: it must be what batch scoring gives this user.
        """
        with self._lock:
            ranked = self._champion.of_batch(self._users.code(user_id))
            allowed = np.zeros(len(self._items), dtype=np.bool_)
            allowed[ranked.items] = True
            view = look(
                self._world, UNKNOWN, Taken.nothing(), (ranked, None), allowed=allowed, now=self._time.latest, linked=()
            )
            order = _first(view.x @ Mix.frozen().vector, n)
            return [self._items.ids[code] for code in view.items[order].tolist()]

    def warm(self, seconds: float) -> int:
        """Make the lists of those who were here last, by the training and by what they took since; of how many users.

        Args:
            seconds: of processor time that it may take.
        """
        with self._lock:
            self._champion.rehearse(self._time.latest)
        until, done = time.thread_time() + seconds, 0
        users = self._histories.latest_first()
        users = users[(users < self._champion.n_users) & ~np.isin(users, list(self._forgotten))]
        for start in range(0, len(users), _WARM_AT_ONCE):
            if time.thread_time() > until:
                return done
            some = users[start : start + _WARM_AT_ONCE]
            with self._turn():
                self._champion.warm(some, [self._histories.of(user) for user in some.tolist()])
            done += len(some)
        for user in users.tolist() if self.uses_now else ():
            if time.thread_time() > until:
                break
            with self._turn():
                self._champion.now(user, self._histories.of(user), self._now(None), session=False)
        return done

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """The lock, for work in the background: one that is let go and taken again at once is got by nobody else."""
        time.sleep(_BREATH_SECONDS)
        with self._lock:
            yield

    def recommend_many(self, requests: list[Request]) -> list[Answer]:
        """One answer for each request."""
        return [self.recommend(request) for request in requests]

    def examine(self, request: Request) -> tuple[Int32Array, Array]:
        """Candidates and their signals, as `recommend` would weigh them: what weights are fitted on."""
        with self._lock:
            view = Asked.of(self, request).view(linked=LINKED)
            return view.items, view.x

    def code(self, item_id: str) -> int:
        """Code of an item, -1 for an unknown one."""
        return self._items.code(item_id)

    def user_code(self, user_id: str) -> int:
        """Code of a user; a new one for somebody never seen."""
        return self._users.add(user_id)

    def similar(self, item_id: str, n: int, offset: int = 0, where: dict[str, Any] | None = None) -> Answer:
        """Items that go with an item: taken by the same people or after it, or alike in what they are.

        An unknown item goes with nothing.
        """
        began = time.perf_counter()
        with self._lock:
            item, allowed = self._items.code(item_id), self._world.shelf.allowed(where or {})
            if item == UNKNOWN:
                return Answer(uuid.uuid4().hex, self._version, (), "neighbours", 0.0)
            score = self._alike(item)
            rung: Rung = "neighbours" if score.any() else "popular"
            score += 1e-3 * self._world.trends[2].shares(np.arange(len(score)))
            codes = np.flatnonzero(allowed)
            codes = codes[codes != item]
            shown = self._shown(codes, score[codes], n, offset, rung)
        return Answer(uuid.uuid4().hex, self._version, shown, rung, 1000 * (time.perf_counter() - began))

    def popular(self, name: str, n: int, offset: int = 0, where: dict[str, Any] | None = None) -> Answer:
        """The same list for everyone: `popular` (a month's half-life), `trending` (a day's), `latest`."""
        began = time.perf_counter()
        with self._lock:
            codes = np.flatnonzero(self._world.shelf.allowed(where or {}))
            rung: Rung = "latest" if name in ("latest", "new") else "popular"
            if rung == "latest":
                newest = self._world.newest
                codes = np.array([code for code in codes.tolist() if code in newest], dtype=np.int64)
                score = np.array([newest[code] for code in codes.tolist()], dtype=np.float64)
            else:
                score = self._world.trends[0 if name == "trending" else 2].shares(codes)
            shown = self._shown(codes, score, n, offset, rung)
        return Answer(uuid.uuid4().hex, self._version, shown, rung, 1000 * (time.perf_counter() - began))

    def why(self, request: Request, item_id: str) -> Why:
        """Reasons that add up to the item's score for this request.

        Raises:
            NotKnown: nobody has ever heard of the item.
        """
        with self._lock:
            item = self._items.code(item_id)
            if item == UNKNOWN:
                raise NotKnown(item_id)
            asked = Asked.of(self, request)
            view = asked.view(more=item)
            at = int(np.searchsorted(view.items, item))
            score = float(view.x[at] @ self._weights)
            words = champion_words(self._champion.bundle.kind, 0 <= asked.user_of_champion < self._champion.n_users)
            return Why(item_id, score, reasons_for(view, at, self._weights, self._world.shelf, words))

    def why_not(self, request: Request, item_id: str) -> WhyNot:
        """Where the item was lost on its way to the list of this request.

        Raises:
            NotKnown: nobody has ever heard of the item.
        """
        with self._lock:
            item = self._items.code(item_id)
            if item == UNKNOWN:
                raise NotKnown(item_id)
            asked = Asked.of(self, request)
            return WhyNot(item_id, tuple(why_not_stages(self, asked, item)))

    # Parts.

    def _grow(self) -> None:
        """Room for all codes."""
        self._world.shelf.grow()
        self._world.links.grow(len(self._items))
        for trend in self._world.trends:
            trend.grow(len(self._items))

    def _alike(self, item: int) -> Float64Array:
        """(n_items,) how much each item goes with one."""
        score = self._world.links.row(item)[: len(self._items)]
        profile = self._world.shelf.profile(np.array([item], dtype=np.int32), np.ones(1))
        if profile is not None:
            score += self._world.shelf.content(profile, np.arange(len(score), dtype=np.int32))
        return score

    def _shown(self, codes: Array, score: Array, n: int, offset: int, rung: Rung) -> tuple[Shown, ...]:
        order = _first(score, offset + n)[offset:]
        return tuple(Shown(self._items.ids[codes[at]], float(score[at]), rung) for at in order.tolist())

    def _now(self, asked: float | None) -> float:
        return self._time.now() if asked is None else self._time.of(asked)

    def _is_new(self, item: int, moment: float) -> None:
        newest = self._world.newest
        newest[item] = moment
        if len(newest) > _NEWEST:
            del newest[min(newest, key=lambda code: newest[code])]


def _first(score: Array, n: int) -> Array:
    """Places of the n largest, the largest first; of equal ones the smaller place."""
    if len(score) > 4 * n:
        least = np.partition(score, len(score) - n)[len(score) - n]
        some = np.flatnonzero(score >= least)
        return some[np.argsort(-score[some], kind="stable")][:n]
    return np.argsort(-score, kind="stable")[:n]


def _first_taken(log: Log, n_items: int) -> dict[int, float]:
    """The items that were first taken latest, within a month of the log's end."""
    first = np.full(n_items, np.inf)
    np.minimum.at(first, log.item, log.time)
    lately = np.flatnonzero(np.isfinite(first) & (first > log.end - 30 * SECONDS_PER_DAY))
    some = lately[np.argsort(first[lately])][-_NEWEST:]
    return {int(code): float(first[code]) for code in some}

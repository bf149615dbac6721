"""A small engine that does all that the contract asks, by counting: most taken first, nothing twice for a user."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter, defaultdict
from typing import Any

from rectory.serving.types import Answer, Event, Item, ItemFacts, NotKnown, Request, Shown, User, Why, WhyNot


class PopularEngine:
    """Counts events for each item. Items are known once they were posted or taken."""

    def __init__(self, version: str = "popular-1", known_until: float = 0.0) -> None:
        self._version = version
        self._known_until = known_until
        self._counts: Counter[str] = Counter()
        self._by_user: dict[str, Counter[str]] = defaultdict(Counter)
        self._items: dict[str, Item] = {}
        self._removed: set[str] = set()
        self._last: dict[str, dict[str, float]] = defaultdict(dict)
        self.users: dict[str, User] = {}
        self.user_ids: list[str] = []
        self._lock = threading.RLock()

    @property
    def version(self) -> str:
        return self._version

    @property
    def known_until(self) -> float:
        return self._known_until

    @property
    def repeats(self) -> bool:
        return False

    def facts(self, item_ids: list[str]) -> list[ItemFacts]:
        with self._lock:
            return [self._facts(item_id) for item_id in item_ids]

    def last_taken(self, user_id: str) -> dict[str, float]:
        with self._lock:
            return dict(self._last.get(user_id, {}))

    def _facts(self, item_id: str) -> ItemFacts:
        item = self._items.get(item_id)
        if item is None:
            return ItemFacts(item_id, known=self._counts[item_id] > 0)
        words = frozenset(f"{name}={value}" for name, value in item.features.items())
        return ItemFacts(item_id, True, item.hidden, item.comment, None, item.categories, item.features, words)

    def learn(self, events: list[Event]) -> None:
        with self._lock:
            for event in events:
                self._meet(event.user_id)
                self._last[event.user_id][event.item_id] = event.timestamp
                self._counts[event.item_id] += 1
                self._by_user[event.user_id][event.item_id] += 1

    def unlearn(self, events: list[Event]) -> None:
        with self._lock:
            for event in events:
                self._counts[event.item_id] -= 1
                self._by_user[event.user_id][event.item_id] -= 1

    def forget(self, user_id: str) -> None:
        with self._lock:
            for item_id, count in self._by_user.pop(user_id, Counter()).items():
                self._counts[item_id] -= count
            self.users.pop(user_id, None)

    def put_items(self, items: list[Item]) -> None:
        with self._lock:
            for item in items:
                self._items[item.item_id] = item
                self._removed.discard(item.item_id)

    def remove_item(self, item_id: str) -> None:
        with self._lock:
            self._items.pop(item_id, None)
            self._removed.add(item_id)

    def put_users(self, users: list[User]) -> None:
        with self._lock:
            for user in users:
                self._meet(user.user_id)
            self.users.update({user.user_id: user for user in users})

    def _meet(self, user_id: str) -> None:
        if user_id not in self.user_ids:
            self.user_ids.append(user_id)

    def recommend(self, request: Request) -> Answer:
        with self._lock:
            seen = {item for item, count in self._by_user.get(request.user_id or "", Counter()).items() if count > 0}
            seen |= {event.item_id for event in request.history}
            ranked = self._ranked(request.where, seen | request.exclude)
        return self._answer(ranked, request.n, request.offset, request.history)

    def recommend_many(self, requests: list[Request]) -> list[Answer]:
        return [self.recommend(request) for request in requests]

    def similar(self, item_id: str, n: int, offset: int = 0, where: dict[str, Any] | None = None) -> Answer:
        with self._lock:
            known = item_id in self._items or self._counts[item_id] > 0
            ranked = self._ranked(where or {}, {item_id}) if known else []
        return self._answer(ranked, n, offset)

    def popular(self, name: str, n: int, offset: int = 0, where: dict[str, Any] | None = None) -> Answer:
        with self._lock:
            if name == "latest":
                dated = [
                    (one.timestamp or 0.0, one.item_id)
                    for one in self._items.values()
                    if self._fits(one.item_id, where or {})
                ]
                ranked = [(item, moment) for moment, item in sorted(dated, reverse=True)]
            else:
                ranked = self._ranked(where or {}, set())
        return self._answer(ranked, n, offset)

    def why(self, request: Request, item_id: str) -> Why:  # noqa: ARG002 - the same for everybody
        with self._lock:
            if item_id not in self._items and self._counts[item_id] <= 0:
                raise NotKnown(item_id)
            count = float(self._counts[item_id])
            return Why(item_id, count, ((f"taken {count:.0f} times", count),))

    def why_not(self, request: Request, item_id: str) -> WhyNot:
        with self._lock:
            if item_id not in self._items and self._counts[item_id] <= 0:
                raise NotKnown(item_id)
            seen = self._by_user.get(request.user_id or "", Counter())[item_id] > 0
            return WhyNot(
                item_id, (("known", True, "in the catalogue"), ("seen", not seen, "taken before" if seen else "new"))
            )

    def _ranked(self, where: dict[str, Any], without: set[str]) -> list[tuple[str, float]]:
        names = {*self._items, *(item for item, count in self._counts.items() if count > 0)} - self._removed - without
        fit = [name for name in names if self._fits(name, where)]
        return sorted(((name, float(self._counts[name])) for name in fit), key=lambda pair: (-pair[1], pair[0]))

    def _fits(self, item_id: str, where: dict[str, Any]) -> bool:
        item = self._items.get(item_id, Item(item_id))
        if item.hidden:
            return False
        for name, asked in where.items():
            had = list(item.categories) if name == "category" else [item.features.get(name)]
            if not set(map(str, had)) & {str(one) for one in (asked if isinstance(asked, list) else [asked])}:
                return False
        return True

    def _answer(self, ranked: list[tuple[str, float]], n: int, offset: int, history: tuple[Event, ...] = ()) -> Answer:
        began = time.perf_counter()
        rung = "session" if history else "popular"
        shown = tuple(Shown(item, score, rung) for item, score in ranked[offset : offset + n])
        return Answer(uuid.uuid4().hex, self._version, shown, rung, 1000 * (time.perf_counter() - began))

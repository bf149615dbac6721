"""What the parts of the live service say to each other. Ids are strings; moments are seconds since 1970, UTC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Rung = Literal["pinned", "personal", "session", "neighbours", "popular", "latest", "editorial"]
"""Which rung of the configured chain gave an item; the chain ends where the list is full."""


@dataclass(frozen=True)
class Event:
    """Something that a user did, or was shown.

    event_id: given by the sender, or made of the other fields; the log keeps one event for each id.
    kind: the feedback's type, an `event` of the data card ("purchase", "click"); "impression" is nobody's taste.
    timestamp: when it happened by the sender's clock. received: when it was accepted by ours.
    value: as the card's value column (a quantity, a rating).
    recommendation_id: the answer that led to it, if the sender knows.
    """

    event_id: str
    user_id: str
    item_id: str
    kind: str
    timestamp: float
    received: float
    value: float = 1.0
    recommendation_id: str | None = None
    context: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Item:
    """An item as the catalogue API knows it. features: declared feature -> value or values (text: one string)."""

    item_id: str
    hidden: bool = False
    categories: tuple[str, ...] = ()
    features: dict[str, Any] = field(default_factory=dict)
    timestamp: float | None = None
    comment: str = ""


@dataclass(frozen=True)
class User:
    """A user as the catalogue API knows it."""

    user_id: str
    features: dict[str, Any] = field(default_factory=dict)
    comment: str = ""


@dataclass(frozen=True)
class Request:
    """One question.

    user_id: None for an anonymous session. history: events that the caller sends along (a session).
    n, offset: places offset .. offset + n of the list. exclude: item ids that must not be in it.
    where: feature -> the value that an item must have, or a list of values of which it must have one; {"category": ...}
    among them. A number must equal; {"min": a, "max": b} asks for a range, either end may be missing.
    context: time, device, place.
    """

    user_id: str | None
    n: int = 10
    offset: int = 0
    history: tuple[Event, ...] = ()
    exclude: frozenset[str] = frozenset()
    where: dict[str, Any] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)
    now: float | None = None


@dataclass(frozen=True)
class Shown:
    """One place of an answer. propensity: chance with which this item was to be shown here; 1.0 without exploration."""

    item_id: str
    score: float
    rung: Rung
    propensity: float = 1.0


@dataclass(frozen=True)
class Answer:
    """A list with all that later questions about it need."""

    recommendation_id: str
    model_version: str
    items: tuple[Shown, ...]
    rung: Rung
    milliseconds: float


@dataclass(frozen=True)
class Why:
    """Reasons for one item, largest first; contributions add up to `score`."""

    item_id: str
    score: float
    reasons: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class WhyNot:
    """Where an item was lost on its way to a user's list. stages: (stage, passed, what happened there) in order."""

    item_id: str
    stages: tuple[tuple[str, bool, str], ...]


@dataclass(frozen=True)
class ItemFacts:
    """What is known of an item beside its interactions.

    known: False for an id that nobody has heard of; the rest is empty then. hidden: may not be shown.
    features: declared feature -> value or values, as the table or the catalogue API has them.
    words: "feature=value" of each declared value: what likeness of content is computed from.
    """

    item_id: str
    known: bool
    hidden: bool = False
    title: str = ""
    image: str | None = None
    categories: tuple[str, ...] = ()
    features: dict[str, Any] = field(default_factory=dict)
    words: frozenset[str] = frozenset()

    def values(self, name: str) -> tuple[str, ...]:
        """Values of a feature as texts; `category` gives the categories where no feature is called so."""
        value = self.features.get(name, self.categories if name == "category" else None)
        if value is None:
            return ()
        many = value if isinstance(value, list | tuple | set | frozenset) else (value,)
        return tuple(str(one) for one in many)


class NotKnown(LookupError):
    """An engine knows nothing of what it was asked about (`why` of an item that is not in the catalogue)."""


class Engine(Protocol):
    """One champion with what has happened since: all that the HTTP layer asks.

    Safe to call from several threads. `learn` is seen by every call that begins after it returned. Events come in the
    order of the log, each once; a rebuilt engine is given all that the log has after `known_until`, then what follows.

    version: of the model, as answers name it.
    known_until: events of the log up to this moment (their own clock) are in the model already.
    user_ids: whom it knows, in a list that only grows; for finding those who are to be forgotten.
    unlearn: take events back that `learn` or the training had seen (a client deleted its feedback).
    repeats: an item that was taken may be recommended again.
    facts: one for each id, in order. last_taken: item -> moment of the last time that this user took it.
    similar: an unknown item gives an empty answer. popular: name is "popular", "trending" or "latest".
    why, why_not: raise NotKnown for an item that nobody knows.
    """

    @property
    def version(self) -> str: ...
    @property
    def known_until(self) -> float: ...
    @property
    def repeats(self) -> bool: ...
    @property
    def user_ids(self) -> Sequence[str]: ...
    def facts(self, item_ids: list[str]) -> list[ItemFacts]: ...
    def last_taken(self, user_id: str) -> dict[str, float]: ...
    def learn(self, events: list[Event]) -> None: ...
    def unlearn(self, events: list[Event]) -> None: ...
    def forget(self, user_id: str) -> None: ...
    def put_items(self, items: list[Item]) -> None: ...
    def remove_item(self, item_id: str) -> None: ...
    def put_users(self, users: list[User]) -> None: ...
    def recommend(self, request: Request) -> Answer: ...
    def recommend_many(self, requests: list[Request]) -> list[Answer]: ...
    def similar(self, item_id: str, n: int, offset: int = 0, where: dict[str, Any] | None = None) -> Answer: ...
    def popular(self, name: str, n: int, offset: int = 0, where: dict[str, Any] | None = None) -> Answer: ...
    def why(self, request: Request, item_id: str) -> Why: ...
    def why_not(self, request: Request, item_id: str) -> WhyNot: ...

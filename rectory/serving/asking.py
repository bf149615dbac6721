"""What endpoints share: making events and questions out of bodies, asking the engine, keeping what it answered."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Annotated, Any, TypeVar

from fastapi import HTTPException, Path, Query
from pydantic import AfterValidator

from rectory.serving.bodies import EventBody, FeedbackBody, RecommendBody, SessionEvent, SessionFeedback
from rectory.serving.inputs import check_id, check_kind, check_text
from rectory.serving.service import Service
from rectory.serving.types import Answer, Event, Request

T = TypeVar("T")
UserId = Annotated[str, Path(), AfterValidator(check_id)]
ItemId = Annotated[str, Path(), AfterValidator(check_id)]
KindPath = Annotated[str, Path(), AfterValidator(check_kind)]
CategoryPath = Annotated[str, Path(max_length=256), AfterValidator(check_text)]
Count = Annotated[int, Query(ge=1, le=100_000, description="Length of the list; at most serve.max_list.")]
Offset = Annotated[int, Query(ge=0, le=100_000)]
Cursor = Annotated[str, Query(max_length=1000)]
Categories = Annotated[list[str] | None, Query(max_length=100)]

EXAMPLE_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": "No JSON, or an id that cannot be one"},
    401: {"description": "No valid API key"},
    403: {"description": "The key may not do this"},
    404: {"description": "Not known"},
    413: {"description": "The body is too large"},
    422: {"description": "A value is out of range, or a time too far in the future"},
    429: {"description": "Too much at once; Retry-After says when to come again"},
    503: {"description": "No model is loaded, or the event store is not available; nothing was taken"},
}


async def done(future: Future[T]) -> T:
    """Wait for the writer without holding up the event loop."""
    return await asyncio.wrap_future(future)


def bounded(service: Service, n: int) -> int:
    """n, if lists may be that long."""
    if n > service.params.max_list:
        raise HTTPException(422, f"n is {n}; lists have at most {service.params.max_list} places (serve.max_list).")
    return n


def few_enough(service: Service, things: Sequence[Any]) -> None:
    """Refuses more things than one request may have."""
    if len(things) > service.params.max_events:
        raise HTTPException(
            422, f"{len(things)} in one request; at most {service.params.max_events} (serve.max_events): send several."
        )


def event_from(body: EventBody, now: float, latest: float, place: int) -> Event:
    """The event of a body; without an id it gets one that the same event sent again would get too."""
    timestamp = now if body.timestamp is None else body.timestamp
    if timestamp > latest:
        raise HTTPException(
            422,
            f"event {place} lies {timestamp - now:.0f} s in the future by this machine's clock "
            "(serve.max_future_seconds). None of this request was taken: set the clock right and send it again.",
        )
    # Without a time of its own it cannot be told from a second one: then each is one.
    event_id = body.event_id or (uuid.uuid4().hex if body.timestamp is None else _digest(body))
    return Event(
        event_id=event_id,
        user_id=body.user_id,
        item_id=body.item_id,
        kind=body.kind,
        timestamp=timestamp,
        received=now,
        value=body.value,
        recommendation_id=body.recommendation_id,
        context=body.context,
    )


def _digest(body: EventBody) -> str:
    parts = "\x1f".join((body.kind, body.user_id, body.item_id, repr(body.timestamp)))
    return hashlib.sha256(parts.encode()).hexdigest()[:32]


def events_from(service: Service, bodies: Sequence[EventBody]) -> list[Event]:
    """Events of one request: all are fit, or none is taken."""
    few_enough(service, bodies)
    now = service.clock()
    latest = now + service.params.max_future_seconds
    return [event_from(body, now, latest, place) for place, body in enumerate(bodies)]


def of_feedback(body: FeedbackBody) -> EventBody:
    """Gorse's feedback as an event. A Value of 0, its clients' default, counts as 1."""
    context = {**body.Context, "comment": body.Comment} if body.Comment else body.Context
    return EventBody.model_construct(
        event_id=body.EventId,
        user_id=body.UserId,
        item_id=body.ItemId,
        kind=body.FeedbackType,
        timestamp=body.Timestamp,
        value=body.Value or 1.0,
        recommendation_id=body.RecommendationId,
        context=context,
    )


def session_history(service: Service, bodies: Sequence[SessionEvent | SessionFeedback]) -> tuple[Event, ...]:
    """What a session did, oldest first; it is asked with and not kept as events."""
    now = service.clock()
    events = []
    for place, body in enumerate(bodies):
        if isinstance(body, SessionFeedback):
            item, kind, at, value = body.ItemId, body.FeedbackType, body.Timestamp, body.Value or 1.0
        else:
            item, kind, at, value = body.item_id, body.kind, body.timestamp, body.value
        events.append(Event(f"session-{place}", "", item, kind, now if at is None else at, now, value))
    return tuple(sorted(events, key=lambda event: event.timestamp))


def question(service: Service, body: RecommendBody) -> Request:
    """The engine's question of a body."""
    return Request(
        user_id=body.user_id,
        n=bounded(service, body.n),
        offset=body.offset,
        history=session_history(service, body.history),
        exclude=frozenset(body.exclude),
        where=body.where,
        context=body.context,
        now=service.clock(),
    )


def in_categories(categories: Sequence[str] | None) -> dict[str, Any]:
    """A filter: the item has one of these categories; no category, no filter."""
    named = [one for one in categories or [] if one]
    if not named:
        return {}
    return {"category": named[0] if len(named) == 1 else named}


def recommend(service: Service, request: Request, asked: dict[str, Any]) -> Answer:
    """Ask the engine and keep the answer with its propensities."""
    return service.answered(request, service.recommend(request), asked)


def written_back(request: Request, answer: Answer, kind: str, now: float, delay: float) -> list[Event]:
    """Events that say that an answer's items were seen by the user (Gorse's write-back)."""
    return [
        Event(
            event_id=f"{answer.recommendation_id}-{place}",
            user_id=request.user_id or "",
            item_id=one.item_id,
            kind=kind,
            timestamp=now + delay,
            received=now,
            recommendation_id=answer.recommendation_id,
            context={"write_back": True},
        )
        for place, one in enumerate(answer.items)
    ]

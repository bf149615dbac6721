"""Events, items, users and answers as rows of the event store, and back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, select

from rectory.serving import tables
from rectory.serving.types import Answer, Event, Item, Request, Shown, User

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Row

    from rectory.serving.store import Writing

# SQLite takes 32,766 values in one statement, PostgreSQL 65,535.
IDS_AT_ONCE = 10_000


@dataclass(frozen=True)
class Appended:
    """accepted: new to the log. duplicates: their event_id was there already. sequence: of the last new one."""

    accepted: int
    duplicates: int
    sequence: int


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def append_all(writing: Writing, requests: Sequence[list[Event]]) -> tuple[list[Appended], list[Event]]:
    """Insert the events of several requests; of equal event_ids the first one stays. Gives the new ones too."""
    known = _known_ids(writing.connection, [event.event_id for events in requests for event in events])
    rows: list[dict[str, Any]] = []
    new: list[Event] = []
    done = []
    for events in requests:
        accepted = 0
        for event in events:
            if event.event_id in known:
                continue
            known.add(event.event_id)
            rows.append(event_row(event, writing.next()))
            new.append(event)
            accepted += 1
        done.append(Appended(accepted, len(events) - accepted, writing.sequence))
    if rows:
        writing.connection.execute(insert(tables.events), rows)
    return done, new


def _known_ids(connection: Connection, ids: list[str]) -> set[str]:
    column = tables.events.c.event_id
    known: set[str] = set()
    for at in range(0, len(ids), IDS_AT_ONCE):
        known.update(connection.execute(select(column).where(column.in_(ids[at : at + IDS_AT_ONCE]))).scalars())
    return known


def event_row(event: Event, sequence: int) -> dict[str, Any]:
    return {
        "sequence": sequence,
        "event_id": event.event_id,
        "user_id": event.user_id,
        "item_id": event.item_id,
        "kind": event.kind,
        "timestamp": event.timestamp,
        "received": event.received,
        "value": event.value,
        "recommendation_id": event.recommendation_id,
        "context": as_json(event.context) if event.context else None,
    }


def event_of(row: Row[Any]) -> Event:
    return Event(
        event_id=row.event_id,
        user_id=row.user_id,
        item_id=row.item_id,
        kind=row.kind,
        timestamp=row.timestamp,
        received=row.received,
        value=row.value,
        recommendation_id=row.recommendation_id,
        context=json.loads(row.context) if row.context else {},
    )


def change_row(writing: Writing, what: str, key: str, payload: str | None = None) -> dict[str, Any]:
    return {"sequence": writing.next(), "what": what, "key": key, "payload": payload}


def put_rows(connection: Connection, table: Any, key: str, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows; those whose key is there are replaced. Of equal keys the last one counts."""
    latest = {row[key]: row for row in rows}
    ids = list(latest)
    for at in range(0, len(ids), IDS_AT_ONCE):
        connection.execute(delete(table).where(table.c[key].in_(ids[at : at + IDS_AT_ONCE])))
    if latest:
        connection.execute(insert(table), list(latest.values()))


def item_row(item: Item, labels: Any) -> dict[str, Any]:
    return {
        "item_id": item.item_id,
        "hidden": item.hidden,
        "categories": as_json(list(item.categories)),
        "labels": as_json(labels),
        "timestamp": item.timestamp,
        "comment": item.comment,
    }


def item_of(row: Row[Any]) -> Item:
    return Item(
        item_id=row.item_id,
        hidden=row.hidden,
        categories=tuple(json.loads(row.categories)),
        features=features_of(json.loads(row.labels)),
        timestamp=row.timestamp,
        comment=row.comment,
    )


def user_row(user: User, labels: Any) -> dict[str, Any]:
    return {"user_id": user.user_id, "labels": as_json(labels), "comment": user.comment}


def user_of(row: Row[Any]) -> User:
    return User(user_id=row.user_id, features=features_of(json.loads(row.labels)), comment=row.comment)


def features_of(labels: Any) -> dict[str, Any]:
    """Labels as the API takes them -> features: an object is its features; a list or a word is a feature `labels`."""
    if isinstance(labels, dict):
        return labels
    return {"labels": labels} if labels else {}


def answer_row(request: Request | None, answer: Answer, made: float, asked: dict[str, Any]) -> dict[str, Any]:
    """asked: what else is worth knowing of the question (path, context)."""
    told = dict(asked)
    if request is not None:
        told["request"] = {
            **asdict(request),
            "exclude": sorted(request.exclude),
            "now": request.now if request.now is not None else made,
        }
    return {
        "recommendation_id": answer.recommendation_id,
        "user_id": request.user_id if request else None,
        "made": made,
        "model_version": answer.model_version,
        "rung": answer.rung,
        "milliseconds": answer.milliseconds,
        "request": as_json(told),
        "items": as_json([[one.item_id, one.score, one.rung, one.propensity] for one in answer.items]),
    }


def request_of(told: dict[str, Any]) -> Request | None:
    """The question of a kept answer; None: it was not about a user or a session."""
    asked = told.get("request")
    if asked is None:
        return None
    history = tuple(Event(**event) for event in asked["history"])
    return Request(**{**asked, "history": history, "exclude": frozenset(asked["exclude"])})


def shown_of(items: str) -> list[Shown]:
    return [Shown(*one) for one in json.loads(items)]


def save_answers(
    connection: Connection, answers: Iterable[tuple[Request | None, Answer, float, dict[str, Any]]]
) -> None:
    """Insert answers; recommendation_ids are made anew for each, so none is there twice."""
    rows = [answer_row(*one) for one in answers]
    if rows:
        connection.execute(insert(tables.recommendations), rows)

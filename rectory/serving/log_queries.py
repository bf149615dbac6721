"""Reads of the event store on behalf of the API: feedback, items, users by page, and answers that were given."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from rectory.serving import tables
from rectory.serving.log_rows import event_of, item_of, request_of, shown_of, user_of
from rectory.serving.store import Store
from rectory.serving.types import Answer, Event, Item, Request, User


@dataclass(frozen=True)
class Kept:
    """An answer and its question; request is None for lists that are for nobody in particular."""

    request: Request | None
    answer: Answer


class BadCursor(ValueError):
    """A cursor that was not given out by this API."""


@dataclass(frozen=True)
class Labelled:
    """An item or a user with its labels as they were sent."""

    entity: Item | User
    labels: Any


def cursor_of(last: str) -> str:
    return base64.urlsafe_b64encode(last.encode()).decode()


def place_of(cursor: str) -> str:
    """What `cursor_of` was made from; "" for an empty cursor.

    Raises:
        BadCursor: it is none of ours.
    """
    try:
        return base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise BadCursor("the cursor is not one that this API gave out") from None


class LogQueries:
    """Reads; each is one short transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def feedback(
        self,
        n: int,
        cursor: str = "",
        *,
        user_id: str | None = None,
        item_id: str | None = None,
        kind: str | None = None,
    ) -> tuple[list[Event], str]:
        """Events in the order of the log, and the cursor of the next page ("" after the last one)."""
        column = tables.events.c
        place = place_of(cursor)
        if place and not (place.isascii() and place.isdigit() and len(place) <= 18):
            raise BadCursor("the cursor is not one that this API gave out")
        query = select(tables.events).where(column.sequence > int(place or 0)).order_by(column.sequence).limit(n + 1)
        for name, value in (("user_id", user_id), ("item_id", item_id), ("kind", kind)):
            if value is not None:
                query = query.where(column[name] == value)
        with self._store.reading() as connection:
            rows = connection.execute(query).all()
        more = cursor_of(str(rows[n - 1].sequence)) if len(rows) > n else ""
        return [event_of(row) for row in rows[:n]], more

    def items(self, n: int, cursor: str = "", text: str = "") -> tuple[list[Labelled], str]:
        """Items by id; text: those that have it in their id, comment, categories or labels."""
        return self._page(tables.items, "item_id", n, cursor, text)

    def users(self, n: int, cursor: str = "") -> tuple[list[Labelled], str]:
        """Users by id."""
        return self._page(tables.users, "user_id", n, cursor, "")

    def item(self, item_id: str) -> Labelled | None:
        return self._one(tables.items, "item_id", item_id)

    def user(self, user_id: str) -> Labelled | None:
        return self._one(tables.users, "user_id", user_id)

    def kept(self, recommendation_id: str) -> Kept | None:
        """An answer that was given, with its question."""
        row = self._answer(recommendation_id)
        if row is None:
            return None
        shown = tuple(shown_of(row.items))
        answer = Answer(row.recommendation_id, row.model_version, shown, row.rung, row.milliseconds)
        return Kept(request_of(json.loads(row.request)), answer)

    def answer(self, recommendation_id: str) -> dict[str, Any] | None:
        """The same as plain values: who, when, which model, what was shown with which propensity, what followed."""
        row = self._answer(recommendation_id)
        if row is None:
            return None
        column = tables.events.c
        followed = select(tables.events).where(
            column.recommendation_id == recommendation_id, column.user_id == row.user_id
        )
        with self._store.reading() as connection:
            events = [event_of(one) for one in connection.execute(followed.order_by(column.sequence).limit(1000))]
        return {
            "recommendation_id": row.recommendation_id,
            "user_id": row.user_id,
            "made": row.made,
            "model_version": row.model_version,
            "rung": row.rung,
            "milliseconds": row.milliseconds,
            "items": [
                {"item_id": one.item_id, "score": one.score, "rung": one.rung, "propensity": one.propensity}
                for one in shown_of(row.items)
            ],
            "followed": [
                {"item_id": one.item_id, "kind": one.kind, "timestamp": one.timestamp, "value": one.value}
                for one in events
            ],
        }

    def _answer(self, recommendation_id: str) -> Any:
        query = select(tables.recommendations).where(tables.recommendations.c.recommendation_id == recommendation_id)
        with self._store.reading() as connection:
            return connection.execute(query).first()

    def _page(self, table: Any, key: str, n: int, cursor: str, text: str) -> tuple[list[Labelled], str]:
        query = select(table).where(table.c[key] > place_of(cursor)).order_by(table.c[key]).limit(n + 1)
        if text:
            found = table.c[key].icontains(text, autoescape=True)
            for name in ("comment", "categories", "labels"):
                found = found | table.c[name].icontains(text, autoescape=True)
            query = query.where(found)
        with self._store.reading() as connection:
            rows = connection.execute(query).all()
        more = cursor_of(rows[n - 1]._mapping[key]) if len(rows) > n else ""
        return [_labelled(row) for row in rows[:n]], more

    def _one(self, table: Any, key: str, value: str) -> Labelled | None:
        with self._store.reading() as connection:
            row = connection.execute(select(table).where(table.c[key] == value)).first()
        return None if row is None else _labelled(row)


def _labelled(row: Any) -> Labelled:
    entity: Item | User = item_of(row) if "item_id" in row._mapping else user_of(row)
    return Labelled(entity, json.loads(row.labels))

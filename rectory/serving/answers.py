"""From what the engine and the log say to the bytes of an answer."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic_core import to_json
from starlette.responses import Response

from rectory.serving.log_queries import Labelled
from rectory.serving.types import Answer, Event, Item, User

RECOMMENDATION_HEADER = "X-Recommendation-Id"
_NO_TIME = "0001-01-01T00:00:00Z"


def json_answer(value: Any, recommendation_id: str | None = None, status: int = 200) -> Response:
    """A JSON response made in one go: answer models are there for the OpenAPI, they need not be run each time."""
    headers = {RECOMMENDATION_HEADER: recommendation_id} if recommendation_id else None
    return Response(to_json(value, inf_nan_mode="null"), status, headers, "application/json")


def written(moment: float | None) -> str:
    """RFC 3339, as Gorse writes times."""
    if moment is None:
        return _NO_TIME
    text = datetime.fromtimestamp(moment, UTC).isoformat()
    return text.replace("+00:00", "Z")


def scored(answer: Answer) -> list[dict[str, Any]]:
    return [{"Id": one.item_id, "Score": one.score} for one in answer.items]


def native(answer: Answer) -> dict[str, Any]:
    return {
        "recommendation_id": answer.recommendation_id,
        "model_version": answer.model_version,
        "rung": answer.rung,
        "milliseconds": answer.milliseconds,
        "items": [
            {"item_id": one.item_id, "score": one.score, "rung": one.rung, "propensity": one.propensity}
            for one in answer.items
        ],
    }


def feedback_answer(event: Event) -> dict[str, Any]:
    return {
        "FeedbackType": event.kind,
        "UserId": event.user_id,
        "ItemId": event.item_id,
        "Timestamp": written(event.timestamp),
        "Value": event.value,
        "Comment": str(event.context.get("comment", "")),
        "EventId": event.event_id,
    }


def item_answer(found: Labelled) -> dict[str, Any]:
    item = found.entity
    assert isinstance(item, Item)  # noqa: S101 - the query was for items
    return {
        "ItemId": item.item_id,
        "IsHidden": item.hidden,
        "Categories": list(item.categories),
        "Timestamp": written(item.timestamp),
        "Labels": found.labels,
        "Comment": item.comment,
    }


def user_answer(found: Labelled) -> dict[str, Any]:
    user = found.entity
    assert isinstance(user, User)  # noqa: S101 - the query was for users
    return {"UserId": user.user_id, "Labels": found.labels, "Comment": user.comment}

"""Gorse's paths about feedback. Each time that something happened is an event of its own; docs/serving.md says more."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException
from starlette.responses import Response

from rectory.serving.answers import feedback_answer, json_answer
from rectory.serving.asking import (
    EXAMPLE_REFUSALS,
    Count,
    Cursor,
    ItemId,
    KindPath,
    UserId,
    bounded,
    done,
    events_from,
    of_feedback,
)
from rectory.serving.bodies import FeedbackAnswer, FeedbackBody, FeedbackPage, Success
from rectory.serving.service import Service

Feedback = list[FeedbackBody]


def feedback_router(service: Service) -> APIRouter:
    """Paths under /api/feedback and those that list a user's or an item's feedback."""
    router = APIRouter(prefix="/api", tags=["feedback"], responses=EXAMPLE_REFUSALS)

    @router.post("/feedback", response_model=Success)
    async def insert_feedback(feedback: Feedback) -> Response:
        """Accept feedback; what the log has already (by EventId, else by type, user, item and time) is passed over."""
        events = events_from(service, [of_feedback(one) for one in feedback])
        if not events:
            return json_answer({"RowAffected": 0})
        appended = await done(service.log.append(events))
        return json_answer({"RowAffected": appended.accepted})

    @router.put("/feedback", response_model=Success)
    async def replace_feedback(feedback: Feedback) -> Response:
        """Accept feedback in place of what there was of the same type, user and item."""
        events = events_from(service, [of_feedback(one) for one in feedback])
        if events:
            await done(service.log.replace(events))
        return json_answer({"RowAffected": len(events)})

    @router.get("/feedback", response_model=FeedbackPage)
    def get_feedback(n: Count = 10, cursor: Cursor = "") -> Response:
        """All feedback by page, in the order of acceptance."""
        return _page(service, n, cursor)

    @router.get("/feedback/{feedback_type}", response_model=FeedbackPage)
    def get_typed_feedback(feedback_type: KindPath, n: Count = 10, cursor: Cursor = "") -> Response:
        """Feedback of one type by page."""
        return _page(service, n, cursor, kind=feedback_type)

    @router.get("/feedback/{user_id}/{item_id}", response_model=list[FeedbackAnswer])
    def get_user_item_feedback(user_id: UserId, item_id: ItemId) -> Response:
        """A user's feedback on an item."""
        return _list(service, user_id=user_id, item_id=item_id)

    @router.get("/feedback/{feedback_type}/{user_id}/{item_id}", response_model=FeedbackAnswer)
    def get_one_feedback(feedback_type: KindPath, user_id: UserId, item_id: ItemId) -> Response:
        """A user's newest feedback of one type on an item."""
        n = service.params.max_list
        found, _ = service.queries.feedback(n, user_id=user_id, item_id=item_id, kind=feedback_type)
        if not found:
            raise HTTPException(404, "there is no such feedback.")
        return json_answer(feedback_answer(found[-1]))

    @router.delete("/feedback/{user_id}/{item_id}", response_model=Success)
    async def delete_user_item_feedback(user_id: UserId, item_id: ItemId) -> Response:
        """Take a user's feedback on an item back."""
        return json_answer({"RowAffected": await done(service.log.take_back(user_id, item_id))})

    @router.delete("/feedback/{feedback_type}/{user_id}/{item_id}", response_model=Success)
    async def delete_one_feedback(feedback_type: KindPath, user_id: UserId, item_id: ItemId) -> Response:
        """Take a user's feedback of one type on an item back."""
        return json_answer({"RowAffected": await done(service.log.take_back(user_id, item_id, feedback_type))})

    @router.get("/user/{user_id}/feedback", response_model=list[FeedbackAnswer])
    def get_user_feedback(user_id: UserId) -> Response:
        """A user's feedback, oldest first, at most serve.max_events."""
        return _list(service, user_id=user_id)

    @router.get("/user/{user_id}/feedback/{feedback_type}", response_model=list[FeedbackAnswer])
    def get_typed_user_feedback(user_id: UserId, feedback_type: KindPath) -> Response:
        """A user's feedback of one type."""
        return _list(service, user_id=user_id, kind=feedback_type)

    @router.get("/item/{item_id}/feedback", response_model=list[FeedbackAnswer])
    def get_item_feedback(item_id: ItemId) -> Response:
        """Feedback on an item."""
        return _list(service, item_id=item_id)

    @router.get("/item/{item_id}/feedback/{feedback_type}", response_model=list[FeedbackAnswer])
    def get_typed_item_feedback(item_id: ItemId, feedback_type: KindPath) -> Response:
        """Feedback of one type on an item."""
        return _list(service, item_id=item_id, kind=feedback_type)

    return router


def _page(service: Service, n: int, cursor: str, kind: str | None = None) -> Response:
    found, more = service.queries.feedback(bounded(service, n), cursor, kind=kind)
    return json_answer({"Cursor": more, "Feedback": [feedback_answer(event) for event in found]})


def _list(
    service: Service, user_id: str | None = None, item_id: str | None = None, kind: str | None = None
) -> Response:
    found, _ = service.queries.feedback(service.params.max_events, user_id=user_id, item_id=item_id, kind=kind)
    return json_answer([feedback_answer(event) for event in found])

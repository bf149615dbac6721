"""Rectory's own paths: all that an answer has, batches, events with ids, why and why not."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException
from pydantic import AfterValidator
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from rectory.serving.answers import json_answer, native
from rectory.serving.asking import (
    EXAMPLE_REFUSALS,
    Count,
    ItemId,
    UserId,
    bounded,
    done,
    events_from,
    few_enough,
    question,
    recommend,
)
from rectory.serving.bodies import (
    BatchAnswer,
    BatchBody,
    EventsAnswer,
    EventsBody,
    Health,
    RecommendAnswer,
    RecommendBody,
    WhyAnswer,
    WhyNotAnswer,
)
from rectory.serving.inputs import check_id
from rectory.serving.log_queries import Kept
from rectory.serving.service import Service
from rectory.serving.types import NotKnown, Request

RecommendationId = Annotated[str, AfterValidator(check_id)]


def native_router(service: Service) -> APIRouter:
    """Paths under /api/v1, /api/why and /api/whynot."""
    router = APIRouter(prefix="/api", tags=["rectory"], responses=EXAMPLE_REFUSALS)

    @router.post("/v1/recommend", response_model=RecommendAnswer)
    async def recommend_one(body: RecommendBody) -> Response:
        """Items for a user or a session, each with the chance that it had to be shown there."""
        answer = recommend(service, question(service, body), {"path": "v1"})
        return json_answer(native(answer), answer.recommendation_id)

    @router.post("/v1/recommend/batch", response_model=BatchAnswer)
    async def recommend_batch(body: BatchBody) -> Response:
        """Several questions at once; answers come in their order."""
        few_enough(service, body.requests)
        requests = [question(service, one) for one in body.requests]
        # A large batch takes a while: other requests are answered meanwhile.
        answers = await run_in_threadpool(service.recommend_many, requests)
        for request, answer in zip(requests, answers, strict=True):
            service.answered(request, answer, {"path": "batch"})
        return json_answer({"answers": [native(answer) for answer in answers]})

    @router.post("/v1/events", response_model=EventsAnswer)
    async def accept_events(body: EventsBody) -> Response:
        """Accept events, all or none. When this is answered they are on disk, and the next answer knows of them."""
        events = events_from(service, body.events)
        if not events:
            return json_answer({"accepted": 0, "duplicates": 0, "sequence": 0})
        done_with = await done(service.log.append(events))
        told = {"accepted": done_with.accepted, "duplicates": done_with.duplicates, "sequence": done_with.sequence}
        return json_answer(told)

    @router.get("/v1/recommendations/{recommendation_id}")
    def get_recommendation(recommendation_id: RecommendationId) -> Response:
        """What an answer showed, by which model, and which events named it since."""
        found = service.queries.answer(recommendation_id)
        if found is None:
            raise HTTPException(404, "no such answer is kept; answers are written within a fraction of a second.")
        return json_answer(found)

    @router.get("/v1/status")
    def status() -> Response:
        """Model, log position and what waits, of the worker that answers."""
        return json_answer(service.status())

    @router.get("/why/{recommendation_id}/{item_id}", response_model=WhyAnswer)
    def why(recommendation_id: RecommendationId, item_id: ItemId) -> Response:
        """Why an item was in an answer."""
        kept, request = _asked(service, recommendation_id)
        if item_id not in {one.item_id for one in kept.answer.items}:
            raise HTTPException(404, "that answer did not show this item; /api/whynot/{user}/{item} says why not.")
        engine = service.engine
        try:
            found = service.why(request, item_id)
        except NotKnown as error:
            raise HTTPException(404, f"the model that serves now knows nothing of it: {error}") from None
        told: dict[str, Any] = {
            "recommendation_id": recommendation_id,
            "item_id": item_id,
            "score": found.score,
            "model_version": engine.version,
            "shown_by": kept.answer.model_version,
            "reasons": [{"text": text, "contribution": part} for text, part in found.reasons],
        }
        return json_answer(told)

    @router.get("/whynot/{user_id}/{item_id}", response_model=WhyNotAnswer)
    def why_not(user_id: UserId, item_id: ItemId, n: Count = 10) -> Response:
        """Where on the way an item was lost that is not in a user's list."""
        engine = service.engine
        try:
            found = service.why_not(Request(user_id, bounded(service, n), now=service.clock()), item_id)
        except NotKnown as error:
            raise HTTPException(404, f"nobody knows this item: {error}") from None
        told = {
            "user_id": user_id,
            "item_id": item_id,
            "model_version": engine.version,
            "stages": [{"stage": name, "passed": passed, "text": text} for name, passed, text in found.stages],
        }
        return json_answer(told)

    return router


def health_router(service: Service) -> APIRouter:
    """Probes; they ask for no key and say nothing of the inside."""
    router = APIRouter(prefix="/api/health", tags=["health"])

    def health(status: int) -> Response:
        fault = "not available" if service.store_error else None
        told = {
            "Ready": service.ready,
            "DataStoreError": fault,
            "CacheStoreError": None,
            "DataStoreConnected": fault is None,
            "CacheStoreConnected": True,
        }
        return json_answer(told, status=status)

    @router.get("/live", response_model=Health)
    async def live() -> Response:
        """200 as long as the process answers."""
        return health(200)

    @router.get("/ready", response_model=Health, responses={503: {"model": Health, "description": "Not yet"}})
    async def ready() -> Response:
        """200 when a model is loaded and the event store answers, else 503."""
        return health(200 if service.ready else 503)

    return router


def _asked(service: Service, recommendation_id: str) -> tuple[Kept, Request]:
    kept = service.kept(recommendation_id)
    if kept is None:
        raise HTTPException(404, "no such answer is kept.")
    if kept.request is None:
        raise HTTPException(404, "that list was for everybody: its order is that of popularity or of time.")
    return kept, kept.request

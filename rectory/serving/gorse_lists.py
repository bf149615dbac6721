"""Gorse's paths that give lists: for a user, a session, an item, for everybody."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, HTTPException, Query
from pydantic import AfterValidator
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from rectory.serving.answers import json_answer, scored
from rectory.serving.asking import (
    EXAMPLE_REFUSALS,
    Categories,
    CategoryPath,
    Count,
    ItemId,
    Offset,
    UserId,
    bounded,
    done,
    few_enough,
    in_categories,
    recommend,
    session_history,
    written_back,
)
from rectory.serving.bodies import Scored, SessionFeedback
from rectory.serving.inputs import check_id, check_kind, duration
from rectory.serving.service import Service
from rectory.serving.types import Answer, Request

_ITEM_TO_ITEM = ("neighbors", "similar")
_FOR_EVERYBODY = {"popular": "popular", "trending": "trending", "latest": "latest", "new": "latest"}
_MAX_DELAY_SECONDS = 10 * 365 * 86_400.0

WriteBackType = Annotated[str | None, Query(alias="write-back-type")]
WriteBackDelay = Annotated[str, Query(alias="write-back-delay", max_length=64)]
OfUser = Annotated[str, Query(alias="user-id", max_length=256, description="Leave out what this user's events name.")]
Version = Annotated[str, Header(alias="X-API-Version", max_length=8)]
Session = list[SessionFeedback]
Name = Annotated[str, AfterValidator(check_id)]


def list_router(service: Service) -> APIRouter:  # noqa: PLR0915 - one short function for each path
    """Paths under /api/recommend, /api/session and those of lists for an item or for everybody."""
    router = APIRouter(prefix="/api", tags=["recommendation"], responses=EXAMPLE_REFUSALS)

    async def for_user(
        user_id: str, where: dict[str, Any], place: tuple[int, int], back: tuple[str | None, str], version: str
    ) -> Response:
        kind, delay = _write_back(*back)
        request = Request(user_id, bounded(service, place[0]), place[1], where=where, now=service.clock())
        answer = recommend(service, request, {"path": "recommend"})
        if kind and answer.items:
            await done(service.log.append(written_back(request, answer, kind, service.clock(), delay)))
        items = scored(answer) if version == "2" else [one.item_id for one in answer.items]
        return json_answer(items, answer.recommendation_id)

    @router.get("/recommend/{user_id}", response_model=list[str] | list[Scored])
    async def get_recommend(  # noqa: PLR0917 - FastAPI calls it by name
        user_id: UserId,
        n: Count = 10,
        offset: Offset = 0,
        category: Categories = None,
        write_back_type: WriteBackType = None,
        write_back_delay: WriteBackDelay = "",
        api_version: Version = "",
    ) -> Response:
        """Items for a user: ids, or with `X-API-Version: 2` ids and scores."""
        back = (write_back_type, write_back_delay)
        return await for_user(user_id, in_categories(category), (n, offset), back, api_version)

    @router.get("/recommend/{user_id}/{category}", response_model=list[str] | list[Scored])
    async def get_recommend_in_category(  # noqa: PLR0917 - FastAPI calls it by name
        user_id: UserId,
        category: CategoryPath,
        n: Count = 10,
        offset: Offset = 0,
        write_back_type: WriteBackType = None,
        write_back_delay: WriteBackDelay = "",
        api_version: Version = "",
    ) -> Response:
        """Items of a category for a user."""
        back = (write_back_type, write_back_delay)
        return await for_user(user_id, in_categories([category]), (n, offset), back, api_version)

    async def for_session(session: Session, categories: list[str], n: int, offset: int) -> Response:
        few_enough(service, session)
        history = session_history(service, session)
        where = in_categories(categories)
        request = Request(None, bounded(service, n), offset, history, where=where, now=service.clock())
        answer = recommend(service, request, {"path": "session"})
        return json_answer(scored(answer), answer.recommendation_id)

    @router.post("/session/recommend", response_model=list[Scored])
    async def session_recommend(session: Session, n: Count = 10, offset: Offset = 0) -> Response:
        """Items for what a session did, which is not kept."""
        return await for_session(session, [], n, offset)

    @router.post("/session/recommend/{category}", response_model=list[Scored])
    async def session_recommend_in_category(
        session: Session, category: CategoryPath, n: Count = 10, offset: Offset = 0
    ) -> Response:
        """Items of a category for what a session did."""
        return await for_session(session, [category], n, offset)

    def like_item(item_id: str, categories: list[str] | None, n: int, offset: int) -> Response:
        answer = service.engine.similar(item_id, bounded(service, n), offset, in_categories(categories))
        service.answered(None, answer, {"path": "similar", "item_id": item_id})
        return json_answer(scored(answer), answer.recommendation_id)

    @router.get("/item-to-item/{name}/{item_id}", response_model=list[Scored])
    async def item_to_item(
        name: Name, item_id: ItemId, n: Count = 10, offset: Offset = 0, category: Categories = None
    ) -> Response:
        """Items like an item; name: neighbors or similar."""
        if name not in _ITEM_TO_ITEM:
            raise HTTPException(404, f"there is no such list; there are {', '.join(_ITEM_TO_ITEM)}.")
        return like_item(item_id, category, n, offset)

    @router.get("/item/{item_id}/neighbors", response_model=list[Scored])
    async def neighbors(item_id: ItemId, n: Count = 10, offset: Offset = 0) -> Response:
        """Items like an item."""
        return like_item(item_id, None, n, offset)

    @router.get("/item/{item_id}/neighbors/{category}", response_model=list[Scored])
    async def neighbors_in_category(
        item_id: ItemId, category: CategoryPath, n: Count = 10, offset: Offset = 0
    ) -> Response:
        """Items of a category like an item."""
        return like_item(item_id, [category], n, offset)

    async def for_everybody(name: str, categories: list[str] | None, n: int, offset: int, user_id: str) -> Response:
        if name not in _FOR_EVERYBODY:
            raise HTTPException(404, f"there is no such list; there are {', '.join(_FOR_EVERYBODY)}.")
        bounded(service, n)
        known: set[str] = set()
        if user_id:
            events, _ = await run_in_threadpool(service.queries.feedback, service.params.max_list, user_id=user_id)
            known = {event.item_id for event in events}
        where = in_categories(categories)
        answer = service.engine.popular(_FOR_EVERYBODY[name], n + len(known), offset, where)
        shown = tuple(one for one in answer.items if one.item_id not in known)[:n]
        told = Answer(answer.recommendation_id, answer.model_version, shown, answer.rung, answer.milliseconds)
        service.answered(None, told, {"path": name})
        return json_answer(scored(told), told.recommendation_id)

    @router.get("/non-personalized/{name}", response_model=list[Scored])
    async def non_personalized(
        name: Name, n: Count = 10, offset: Offset = 0, category: Categories = None, user_id: OfUser = ""
    ) -> Response:
        """Items for everybody; name: popular, trending, latest or new."""
        return await for_everybody(name, category, n, offset, user_id)

    @router.get("/popular", response_model=list[Scored])
    async def popular(n: Count = 10, offset: Offset = 0, user_id: OfUser = "") -> Response:
        """Popular items."""
        return await for_everybody("popular", None, n, offset, user_id)

    @router.get("/popular/{category}", response_model=list[Scored])
    async def popular_in_category(
        category: CategoryPath, n: Count = 10, offset: Offset = 0, user_id: OfUser = ""
    ) -> Response:
        """Popular items of a category."""
        return await for_everybody("popular", [category], n, offset, user_id)

    @router.get("/latest", response_model=list[Scored])
    async def latest(n: Count = 10, offset: Offset = 0, user_id: OfUser = "") -> Response:
        """The newest items."""
        return await for_everybody("latest", None, n, offset, user_id)

    @router.get("/latest/{category}", response_model=list[Scored])
    async def latest_in_category(
        category: CategoryPath, n: Count = 10, offset: Offset = 0, user_id: OfUser = ""
    ) -> Response:
        """The newest items of a category."""
        return await for_everybody("latest", [category], n, offset, user_id)

    return router


def _write_back(kind: str | None, delay: str) -> tuple[str | None, float]:
    try:
        seconds = duration(delay)
        named = check_kind(kind) if kind else None
    except ValueError as error:
        raise HTTPException(400, f"write-back: {error}") from None
    if seconds > _MAX_DELAY_SECONDS:
        raise HTTPException(422, "write-back-delay is longer than ten years.")
    return named, seconds

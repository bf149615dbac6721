"""Gorse's paths about items and users."""

from __future__ import annotations

import logging
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from rectory.errors import RectoryError
from rectory.serving.answers import item_answer, json_answer, user_answer
from rectory.serving.asking import (
    EXAMPLE_REFUSALS,
    CategoryPath,
    Count,
    Cursor,
    ItemId,
    UserId,
    bounded,
    done,
    few_enough,
)
from rectory.serving.bodies import (
    ItemAnswer,
    ItemBody,
    ItemPage,
    ItemPatch,
    Success,
    UserAnswer,
    UserBody,
    UserPage,
    UserPatch,
)
from rectory.serving.log_rows import features_of
from rectory.serving.service import Service
from rectory.serving.types import Item, User

_log = logging.getLogger("rectory.serving")
_LATER = {"Retry-After": "2"}
Search = Annotated[str, Query(max_length=200, description="Words in the id, comment, categories or labels.")]
Items = list[ItemBody]
Users = list[UserBody]


def item_router(service: Service) -> APIRouter:
    """Paths under /api/item and /api/items."""
    router = APIRouter(prefix="/api", tags=["items"], responses=EXAMPLE_REFUSALS)

    async def put(bodies: list[ItemBody]) -> Response:
        few_enough(service, bodies)
        if bodies:
            await done(service.log.put_items([(_item(body), body.Labels) for body in bodies]))
        return json_answer({"RowAffected": len(bodies)})

    async def change(item_id: str, **changes: Any) -> Response:
        await done(service.log.change_item(item_id, changes))
        return json_answer({"RowAffected": 1})

    @router.post("/item", response_model=Success)
    async def insert_item(item: ItemBody) -> Response:
        """Insert or replace an item; it can be recommended as soon as this is answered."""
        return await put([item])

    @router.post("/items", response_model=Success)
    async def insert_items(items: Items) -> Response:
        """Insert or replace items."""
        return await put(items)

    @router.get("/items", response_model=ItemPage)
    def get_items(n: Count = 10, cursor: Cursor = "", q: Search = "") -> Response:
        """Items by page, or those that have the words of `q`."""
        found, more = service.queries.items(bounded(service, n), cursor, q)
        return json_answer({"Cursor": more, "Items": [item_answer(one) for one in found]})

    @router.get("/item/{item_id}", response_model=ItemAnswer)
    def get_item(item_id: ItemId) -> Response:
        """An item as it was posted."""
        found = service.queries.item(item_id)
        if found is None:
            raise HTTPException(404, "no such item was posted.")
        return json_answer(item_answer(found))

    @router.patch("/item/{item_id}", response_model=Success)
    async def modify_item(item_id: ItemId, patch: ItemPatch) -> Response:
        """Change what is given of an item, leave the rest."""
        return await change(
            item_id,
            hidden=patch.IsHidden,
            categories=patch.Categories,
            timestamp=patch.Timestamp,
            labels=patch.Labels,
            comment=patch.Comment,
        )

    @router.delete("/item/{item_id}", response_model=Success)
    async def delete_item(item_id: ItemId) -> Response:
        """Take an item out of the catalogue and of every list. What users did with it stays in the log."""
        await done(service.log.remove_item(item_id))
        return json_answer({"RowAffected": 1})

    @router.put("/item/{item_id}/category/{category}", response_model=Success)
    async def insert_item_category(item_id: ItemId, category: CategoryPath) -> Response:
        """Put an item into a category."""
        return await change(item_id, add_category=category)

    @router.delete("/item/{item_id}/category/{category}", response_model=Success)
    async def delete_item_category(item_id: ItemId, category: CategoryPath) -> Response:
        """Take an item out of a category."""
        return await change(item_id, drop_category=category)

    return router


def user_router(service: Service) -> APIRouter:
    """Paths under /api/user and /api/users."""
    router = APIRouter(prefix="/api", tags=["users"], responses=EXAMPLE_REFUSALS)

    async def put(bodies: list[UserBody]) -> Response:
        few_enough(service, bodies)
        if bodies:
            users = [(User(one.UserId, features_of(one.Labels), one.Comment), one.Labels) for one in bodies]
            await done(service.log.put_users(users))
        return json_answer({"RowAffected": len(bodies)})

    @router.post("/user", response_model=Success)
    async def insert_user(user: UserBody) -> Response:
        """Insert or replace a user."""
        return await put([user])

    @router.post("/users", response_model=Success)
    async def insert_users(users: Users) -> Response:
        """Insert or replace users."""
        return await put(users)

    @router.get("/users", response_model=UserPage)
    def get_users(n: Count = 10, cursor: Cursor = "") -> Response:
        """Users by page."""
        found, more = service.queries.users(bounded(service, n), cursor)
        return json_answer({"Cursor": more, "Users": [user_answer(one) for one in found]})

    @router.get("/user/{user_id}", response_model=UserAnswer)
    def get_user(user_id: UserId) -> Response:
        """A user as it was posted."""
        found = service.queries.user(user_id)
        if found is None:
            raise HTTPException(404, "no such user was posted.")
        return json_answer(user_answer(found))

    @router.patch("/user/{user_id}", response_model=Success)
    async def modify_user(user_id: UserId, patch: UserPatch) -> Response:
        """Change what is given of a user, leave the rest."""
        await done(service.log.change_user(user_id, {"labels": patch.Labels, "comment": patch.Comment}))
        return json_answer({"RowAffected": 1})

    @router.delete("/user/{user_id}", response_model=Success)
    async def delete_user(user_id: UserId) -> Response:
        """Forget a user for good: events, answers, what was learned of them live; no training knows them again."""
        try:
            # First of all: should this process die now, the same request completes it.
            await run_in_threadpool(service.remember, user_id)
        except RectoryError as error:
            _log.error("a user could not be entered into the ledger of the forgotten: %s", error)
            raise HTTPException(
                503, "the ledger of the forgotten cannot be written now; nothing was deleted. Send it again.", _LATER
            ) from None
        await done(service.log.forget(user_id))
        return json_answer({"RowAffected": 1})

    return router


def _item(body: ItemBody) -> Item:
    return Item(
        item_id=body.ItemId,
        hidden=body.IsHidden,
        categories=tuple(dict.fromkeys(body.Categories or ())),
        features=features_of(body.Labels),
        timestamp=body.Timestamp,
        comment=body.Comment,
    )

"""The storefront's paths: home, item, actions; and /ops."""

from __future__ import annotations

import uuid
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Cookie, Form, HTTPException, Query
from pydantic import AfterValidator
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, RedirectResponse, Response

from rectory.serving.asking import ItemId, done
from rectory.serving.inputs import check_id
from rectory.serving.service import Service
from rectory.serving.storefront.ops import ops_page
from rectory.serving.storefront.render import render
from rectory.serving.storefront.shelves import Shelf, hue_of, shelf_of, titled
from rectory.serving.types import Event, Request

USER_COOKIE = "rectory_shop_user"
ACTIONS = {"click": "Look at it", "cart": "Add to basket", "purchase": "Buy"}
"""Kind of event -> words on its button. Opening an item's page is the click."""
_HOME, _RELATED, _ROW, _YOURS = 12, 6, 8, 8
_WHY_SHOWN = 2

ShopUser = Annotated[str | None, Cookie(alias=USER_COOKIE, max_length=256)]
RecommendationId = Annotated[str, Query(alias="from", max_length=64)]
FormId = Annotated[str, Form(max_length=256), AfterValidator(check_id)]


def storefront_router(service: Service) -> APIRouter:
    """Pages for people; no part of the API's contract, so not in its OpenAPI."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    def home(user: ShopUser = None) -> HTMLResponse:
        """A visitor's own page: recommended, popular, new."""
        engine = service.engine
        asked = Request(_fit(user), _HOME, now=service.clock())
        answer = service.answered(asked, service.recommend(asked), {"path": "shop home"})
        reasons = {one.item_id: _reasons(service, asked, one.item_id) for one in answer.items}
        rows = [
            shelf_of(engine, "Recommended for you" if user else "Recommended", answer, reasons),
            *(_for_everybody(service, title, name) for title, name in (("Trending", "trending"), ("New", "latest"))),
        ]
        return _page("home.html.j2", service, user, shelves=[row for row in rows if row.cards], answer=answer)

    @router.get("/shop/item/{item_id}")
    async def item(item_id: ItemId, user: ShopUser = None, shown_by: RecommendationId = "") -> HTMLResponse:
        """An item with what goes with it. Opening it from a list is a click."""
        facts = service.engine.facts([item_id])[0]
        if not facts.known:
            raise HTTPException(404, "no such item")
        if (name := _fit(user)) is not None:
            await done(service.log.append([_event(service, name, item_id, "click", shown_by)]))
        return await run_in_threadpool(item_page, item_id, user, shown_by)

    def item_page(item_id: str, user: str | None, shown_by: str) -> HTMLResponse:
        engine = service.engine
        answer = engine.similar(item_id, _RELATED)
        service.answered(None, answer, {"path": "shop item", "item_id": item_id})
        return _page(
            "item.html.j2",
            service,
            user,
            item=engine.facts([item_id])[0],
            hue=hue_of(item_id),
            shown_by=shown_by,
            reasons=_reasons(service, Request(_fit(user), _HOME, now=service.clock()), item_id, all_of_them=True),
            shelves=[one for one in [shelf_of(engine, "Goes with it", answer)] if one.cards],
        )

    @router.post("/shop/act")
    async def act(
        request: HttpRequest,
        item_id: FormId,
        kind: Annotated[str, Form(max_length=32)],
        shown_by: Annotated[str, Form(max_length=64)] = "",
        user: ShopUser = None,
    ) -> Response:
        """A button was pressed: the event is on disk, and the next page knows of it."""
        _same_site(request)
        name = _fit(user)
        if kind not in ACTIONS or name is None:
            raise HTTPException(422, "choose a user first, and one of the shop's buttons")
        await done(service.log.append([_event(service, name, item_id, kind, shown_by)]))
        return RedirectResponse("/", 303)

    @router.post("/shop/user")
    def become(request: HttpRequest, user_id: Annotated[str, Form(max_length=256)] = "") -> Response:
        """Become a user; an empty name is nobody, "new" a newcomer."""
        _same_site(request)
        name = user_id.strip()
        name = f"visitor-{uuid.uuid4().hex[:8]}" if name == "new" else name
        response = RedirectResponse("/", 303)
        if name and _fit(name) is None:
            raise HTTPException(422, "that can be nobody's id")
        if name:
            response.set_cookie(USER_COOKIE, quote(name), httponly=True, samesite="lax", max_age=86_400)
        else:
            response.delete_cookie(USER_COOKIE)
        return response

    @router.get("/ops")
    def ops(hours: Annotated[float, Query(gt=0, le=24 * 90)] = 24.0) -> HTMLResponse:
        """How it is going: clicks, conversions, latency, fallbacks, exposure, the model and its age."""
        return HTMLResponse(ops_page(service, hours))

    def _for_everybody(service: Service, title: str, name: str) -> Shelf:
        answer = service.engine.popular(name, _ROW)
        return shelf_of(service.engine, title, service.answered(None, answer, {"path": f"shop {name}"}))

    return router


def _page(template: str, service: Service, user: str | None, **facts: Any) -> HTMLResponse:
    engine, name = service.engine, _fit(user)
    yours: list[dict[str, Any]] = []
    if name is not None:
        taken = sorted(engine.last_taken(name).items(), key=lambda one: -one[1])[:_YOURS]
        yours = titled(engine, [item for item, _ in taken])
    html = render(template, user=name, yours=yours, version=engine.version, actions=ACTIONS, **facts)
    # A page is of one moment: going back must show what the last click changed.
    return HTMLResponse(html, headers={"Cache-Control": "no-store"})


def _reasons(service: Service, asked: Request, item_id: str, *, all_of_them: bool = False) -> list[tuple[str, float]]:
    """What spoke for an item, largest first."""
    try:
        found = [one for one in service.why(asked, item_id).reasons if one[1] > 0]
    except LookupError:
        return []
    return found if all_of_them else found[:_WHY_SHOWN]


def _event(service: Service, user_id: str, item_id: str, kind: str, shown_by: str) -> Event:
    now = service.clock()
    told = shown_by if shown_by.isalnum() else None
    return Event(uuid.uuid4().hex, user_id, item_id, kind, now, now, recommendation_id=told or None)


def _fit(user: str | None) -> str | None:
    """The cookie's user id, if it can be one."""
    from urllib.parse import unquote

    name = unquote(user or "")
    try:
        return check_id(name) if name else None
    except ValueError:
        return None


def _same_site(request: HttpRequest) -> None:
    """Another site's page may not press our buttons."""
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise HTTPException(403, "this form was sent by another site")

"""The HTTP application: routes, the guard at the door, errors as short JSON."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse

from rectory import __doc__ as _about
from rectory.serving.answers import RECOMMENDATION_HEADER
from rectory.serving.gorse_catalogue import item_router, user_router
from rectory.serving.gorse_feedback import feedback_router
from rectory.serving.gorse_lists import list_router
from rectory.serving.guard import Guard, describe_faults
from rectory.serving.inputs import BAD_ID
from rectory.serving.log_queries import BadCursor
from rectory.serving.native_api import health_router, native_router
from rectory.serving.prometheus import metrics_router
from rectory.serving.service import NotReady, Service
from rectory.serving.store import EventStoreError, Overloaded
from rectory.serving.storefront.pages import storefront_router
from rectory.serving.types import NotKnown

_DESCRIPTION = (
    "Recommendations that learn from each event. Paths with capitals in their bodies are those of Gorse, so that its "
    "clients can be pointed here; /api/v1, /api/why and /api/whynot are Rectory's own. docs/serving.md says more."
)


def create_app(service: Service, *, keys_asked: bool, manage: bool = True) -> FastAPI:
    """The application around one service.

    Args:
        keys_asked: an API key is needed for everything but the probes.
        manage: start and stop the service with the application.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if manage:
            service.start()
        try:
            yield
        finally:
            if manage:
                service.stop()

    app = FastAPI(
        title="Rectory",
        summary=(_about or "").splitlines()[0] or None,
        description=_DESCRIPTION,
        version="1",
        lifespan=lifespan,
        redoc_url=None,
        # The guard drops a trailing slash; a redirect would repeat the caller's Host header.
        redirect_slashes=False,
    )
    app.state.service = service
    # Routers are asked in turn whether a path is theirs: what is asked for most comes first.
    for router in (
        list_router,
        feedback_router,
        native_router,
        item_router,
        user_router,
        health_router,
        metrics_router,
    ):
        app.include_router(router(service))
    if service.params.storefront and not keys_asked:
        # A browser has no API key to send: these pages are for this machine.
        app.include_router(storefront_router(service))
    _handle_errors(app)
    app.add_middleware(Guard, params=service.params, ring=service.keys, keys_asked=keys_asked)
    if service.params.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(service.params.cors_origins),
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Content-Type", "X-API-Key", "X-API-Version"],
            expose_headers=[RECOMMENDATION_HEADER, "Retry-After"],
        )
    return app


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def unfit(_: Request, error: RequestValidationError) -> JSONResponse:
        faults: list[Any] = list(error.errors())
        malformed = any(fault.get("type") in {"json_invalid", BAD_ID} for fault in faults)
        return JSONResponse({"detail": describe_faults(faults)}, 400 if malformed else 422)

    @app.exception_handler(BadCursor)
    async def bad_cursor(_: Request, error: BadCursor) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 400)

    @app.exception_handler(NotKnown)
    async def not_known(_: Request, error: NotKnown) -> JSONResponse:
        return JSONResponse({"detail": f"not known: {error}"}, 404)

    @app.exception_handler(Overloaded)
    async def overloaded(_: Request, error: Overloaded) -> JSONResponse:
        return _later(429, str(error), error.retry_after_seconds)

    @app.exception_handler(EventStoreError)
    async def store_away(_: Request, error: EventStoreError) -> JSONResponse:
        # Where the store is and what it says is for the log, not for callers.
        service: Service = app.state.service
        service.store_error = str(error)
        text = "the event store is not available; nothing of this request was taken. Send it again a little later."
        return _later(503, text, error.retry_after_seconds)

    @app.exception_handler(NotReady)
    async def not_ready(_: Request, error: NotReady) -> JSONResponse:
        text = "no model is loaded yet. Events are accepted meanwhile; ask again in a few seconds."
        return _later(503, text, error.retry_after_seconds)


def _later(status: int, text: str, seconds: int) -> JSONResponse:
    return JSONResponse({"detail": text}, status, headers={"Retry-After": str(seconds)})

"""The door: who may come in, how often, with how large a body. Plain ASGI, so that it costs microseconds."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import re
import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from anyio.to_thread import run_sync

from rectory.serving.keys import ApiKey, KeyRing, Scope, allows
from rectory.serving.limits import TokenBuckets

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Send
    from starlette.types import Scope as AsgiScope

    from rectory.params.serve import ServeParams

_log = logging.getLogger("rectory.serving")
# Wrong keys that one address may present: a few at once, then one a second.
_WRONG_PER_SECOND, _WRONG_AT_ONCE = 1.0, 20
_LOOPBACK = re.compile(rb"(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?", re.IGNORECASE)
_LOOPBACK_ORIGIN = re.compile(rb"https?://" + _LOOPBACK.pattern, re.IGNORECASE)
_SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
)
_QUESTIONS = ("/api/session/recommend", "/api/v1/recommend")


def needed_scope(method: str, path: str) -> Scope | None:
    """What a key must allow for a request; None: no key is asked for."""
    if path in {"/api/health/live", "/api/health/ready"}:
        return None
    if method in {"GET", "HEAD", "OPTIONS"} or (method == "POST" and path.startswith(_QUESTIONS)):
        return "read"
    if method == "DELETE" and path.startswith(("/api/user/", "/api/item/")) and "/category/" not in path:
        return "admin"
    return "write"


class _BodyTooLarge(Exception):
    pass


class Guard:
    """Middleware that checks host, key, rate and size, and lets no stack trace out.

    Args:
        keys_asked: whether a key is needed; without one only loopback names may be asked for, so that a web page that
            points its own name at this machine gets nothing.
    """

    def __init__(self, app: ASGIApp, *, params: ServeParams, ring: KeyRing, keys_asked: bool) -> None:
        self._app = app
        self._ring = ring
        self._keys_asked = keys_asked
        self._origins = frozenset(params.cors_origins)
        self._max_body = params.max_body_kb * 1024
        rate = params.requests_per_second
        self._buckets = TokenBuckets(rate, params.burst) if rate is not None else None
        self._wrong = TokenBuckets(_WRONG_PER_SECOND, _WRONG_AT_ONCE)

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        if len(path) > 1 and path.endswith("/"):
            scope["path"] = path = path.rstrip("/") or "/"
        headers = dict(scope["headers"])
        refused = await self._refusal(scope, headers, needed_scope(scope["method"], path))
        if refused is not None:
            await _answer(send, *refused)
            return
        await self._pass(scope, headers, receive, send)

    async def _refusal(
        self, scope: AsgiScope, headers: dict[bytes, bytes], needed: Scope | None
    ) -> tuple[int, str, float | None] | None:
        """(status, text, seconds to wait) if the request may not pass."""
        caller = str((scope.get("client") or ("", 0))[0])
        if needed is not None and self._keys_asked:
            found = await self._admitted(caller, headers, needed)
            if not isinstance(found, ApiKey):
                return found
            caller = found.key_id
        elif not self._keys_asked and not _LOOPBACK.fullmatch(headers.get(b"host", b"")):
            return 421, "without API keys only the name localhost is served; see docs/serving.md.", None
        elif not self._keys_asked and self._is_foreign(scope["method"], headers):
            return 403, "a page of another origin may not change anything here; see serve.cors_origins.", None
        if needed is not None and self._buckets is not None and (wait := self._buckets.take(caller)) > 0:
            return 429, "too many requests; see serve.requests_per_second.", wait
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and len(length) < 20 and int(length) > self._max_body:
            return 413, f"the body may have {self._max_body // 1024} kB (serve.max_body_kb).", None
        return None

    def _is_foreign(self, method: str, headers: dict[bytes, bytes]) -> bool:
        """Whether a browser sends this for a page that is not from here: a form needs nobody's leave to do so."""
        origin = headers.get(b"origin")
        if origin is None or method in {"GET", "HEAD", "OPTIONS"}:
            return False
        return not _LOOPBACK_ORIGIN.fullmatch(origin) and origin.decode("latin-1") not in self._origins

    async def _admitted(
        self, address: str, headers: dict[bytes, bytes], needed: Scope
    ) -> ApiKey | tuple[int, str, float | None]:
        if self._wrong.empty(address):
            return 429, "too many wrong keys from this address; wait a little.", 1.0
        key = await self._key(headers)
        if key is None:
            self._wrong.take(address)
            return 401, "send a valid API key as X-API-Key; `rectory keys create` makes one.", None
        if not allows(key.scope, needed):
            return 403, f"this key may {key.scope}; this request needs one that may {needed}.", None
        return key

    async def _key(self, headers: dict[bytes, bytes]) -> ApiKey | None:
        presented = headers.get(b"x-api-key", b"").decode("latin-1")
        if not presented:
            kind, _, presented = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
            presented = presented.strip() if kind.lower() == "bearer" else ""
        found = self._ring.quick(presented)
        return await run_sync(self._ring.slow, presented) if found == "unsure" else found

    async def _pass(self, scope: AsgiScope, headers: dict[bytes, bytes], receive: Receive, send: Send) -> None:
        started = too_large = False
        size = 0

        async def counted() -> Message:
            nonlocal size, too_large
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._max_body:
                too_large = True
                raise _BodyTooLarge
            return message

        async def marked(message: Message) -> None:
            nonlocal started
            if too_large:
                # What read the body took it for unreadable; the caller is told the truth below.
                return
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message["headers"], *_SECURITY_HEADERS]
            await send(message)

        # A body whose length was told has been judged by it, and the server holds the sender to it.
        source = receive if b"content-length" in headers else counted
        try:
            with contextlib.suppress(_BodyTooLarge):
                await self._app(scope, source, marked)
            if too_large and not started:
                await _answer(send, 413, f"the body may have {self._max_body // 1024} kB (serve.max_body_kb).")
        except Exception:  # noqa: BLE001 - the trace goes to the log under a number that the caller is told
            number = secrets.token_hex(6)
            _log.exception("error %s in %s %s", number, scope["method"], scope["path"][:200])
            if not started:
                await _answer(send, 500, f"something went wrong here; the service's log has it as error {number}.")


async def _answer(send: Send, status: int, text: str, wait: float | None = None) -> None:
    body = json.dumps({"detail": text}).encode()
    headers: list[tuple[bytes, bytes]] = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *_SECURITY_HEADERS,
    ]
    if wait is not None:
        headers.append((b"retry-after", str(max(1, math.ceil(wait))).encode()))
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status == 413:
        # What is left of the body is not read: the connection is of no more use.
        headers.append((b"connection", b"close"))
    start: dict[str, Any] = {"type": "http.response.start", "status": status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": body})


def describe_faults(faults: Iterable[Any]) -> list[dict[str, Any]]:
    """Where and what, without what was sent: it may be large, and it is the sender's."""
    return [
        {"where": [str(part)[:64] for part in fault["loc"]], "what": str(fault["msg"])[:300]}
        for fault in list(faults)[:20]
    ]

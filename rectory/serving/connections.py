"""HTTP connections that cannot keep others out: bounds on their number, their headers and their patience."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_MAX_HEADER_BYTES = 64 * 1024
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\n"
    b'content-length: 54\r\n\r\n{"detail": "too many connections; try again shortly."}'
)
_TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
assert int(_FULL.split(b"content-length: ")[1].split(b"\r\n")[0]) == len(_FULL.split(b"\r\n\r\n")[1])  # noqa: S101


class BoundedConnection(HttpToolsProtocol):
    """uvicorn's connection with three bounds.

    Past `max_connections` a new one is told 503 and closed before it costs anything. One that has not sent a whole
    request after `request_seconds` is closed, so that silent ones cannot use up the places. Headers end at 64 kB.
    """

    max_connections = 1000
    request_seconds = 20.0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._header_bytes = 0
        self._in_body = False
        self._deadline: asyncio.TimerHandle | None = None
        if len(self.connections) > self.max_connections:
            transport.write(_FULL)
            transport.close()
            return
        self._watch()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if not self._in_body:
            self._header_bytes += len(data)
            if self._header_bytes > _MAX_HEADER_BYTES + len(data):
                self.transport.write(_TOO_LONG)
                self.transport.close()
                return
        super().data_received(data)

    def on_headers_complete(self) -> None:
        self._in_body = True
        super().on_headers_complete()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_body = False
        if self._deadline is None:
            self._watch()

    def on_message_complete(self) -> None:
        self._header_bytes = 0
        self._in_body = False
        self._unwatch()
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def _watch(self) -> None:
        self._deadline = self.loop.call_later(self.request_seconds, self._give_up)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self.transport.close()

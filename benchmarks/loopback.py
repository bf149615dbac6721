"""Servers on this machine, and the cheapest client that can ask them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

HOST = "127.0.0.1"
_START_SECONDS = 180.0
Request = bytes


class Connection:
    """One kept-alive HTTP/1.1 connection; a client library would cost as much as the server."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: Request) -> int:
        """Send and read to the end; gives the status."""
        return (await self.exchange(request))[0]

    async def exchange(self, request: Request) -> tuple[int, bytes]:
        """Send and read to the end; gives status and body."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(HOST, self._port)
        reader, writer = self._streams
        writer.write(request)
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        status, length = int(head.split(b" ", 2)[1]), 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        return status, await reader.readexactly(length)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()


def http(method: str, path: str, body: object = None) -> Request:
    """A whole request."""
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


@contextmanager
def served(
    command: list[str], port: int, path: str, env: dict[str, str], core: int | None
) -> Iterator[tuple[float, subprocess.Popen[bytes]]]:
    """A server as a process of its own (on one core, if asked); gives the seconds until it was ready, and the process,
    which leads a group of its own; ends it."""
    if core is not None:
        command = ["taskset", "-c", str(core), *command]
    began = time.perf_counter()
    process = subprocess.Popen(
        command, env=env, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        while not _ready(port, path):
            if process.poll() is not None:
                raise SystemExit(f"the server ended with {process.returncode}: {' '.join(command)}")
            if time.perf_counter() - began > _START_SECONDS:
                raise SystemExit(f"the server was not ready within {_START_SECONDS:g} s: {' '.join(command)}")
            time.sleep(0.05)
        yield time.perf_counter() - began, process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def _ready(port: int, path: str) -> bool:
    async def asked() -> int:
        connection = Connection(port)
        try:
            return await connection.ask(http("GET", path))
        finally:
            connection.close()

    try:
        return asyncio.run(asked()) == 200
    except (OSError, asyncio.IncompleteReadError):
        return False


def free_port() -> int:
    with socket.socket() as found:
        found.bind((HOST, 0))
        return int(found.getsockname()[1])

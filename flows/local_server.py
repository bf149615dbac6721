"""A Prefect server for the length of a run, when no other is configured.

Prefect's own embedded server loses task-run history when it exits, a real one does not: `prefect server start` in the
project's folder shows later what happened, because prefect.toml there names the same database.
"""

from __future__ import annotations

import os
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from flows.children import child
from rectory.errors import RectoryError
from rectory.workspace import Workspace

DEFAULT_PORT = 4200
START_SECONDS = 120
_POLL_SECONDS = 0.1

QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_CLI_PROMPT": "false",
    # The run page keeps everything; the terminal shows our own progress lines and what went wrong.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "ERROR",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "rectory",
    # Schedules, workers and cloud features have no work while a single run lasts.
    "PREFECT_SERVER_UI_ENABLED": "true",
}


def free_port(wanted: int = DEFAULT_PORT) -> int:
    """`wanted` if nobody listens there, else one that the system gives."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise RectoryError("no free port on 127.0.0.1: stop a server that is not needed, or set PREFECT_API_URL.")


@contextmanager
def prefect_server(workspace: Workspace) -> Iterator[str]:
    """Set PREFECT_API_URL for the block, starting a server when the environment names none. Import prefect inside.

    Raises:
        RectoryError: the server did not come up; names its log.
    """
    os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
    configured = os.environ.get("PREFECT_API_URL")
    if configured:
        yield configured
        return
    home = workspace.state.resolve()
    home.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("PREFECT_SERVER_DATABASE_CONNECTION_URL", f"sqlite+aiosqlite:///{home / 'prefect.db'}")
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    log = workspace.state / "logs" / "prefect-server.log"
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with child(command, log=log, env=os.environ) as server:
        deadline = time.monotonic() + START_SECONDS
        while not _healthy(url):
            if server.poll() is not None or time.monotonic() > deadline:
                raise RectoryError(f"the Prefect server did not start on port {port}; {log} says why.")
            time.sleep(_POLL_SECONDS)
        os.environ["PREFECT_API_URL"] = url
        try:
            yield url
        finally:
            del os.environ["PREFECT_API_URL"]


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:  # noqa: S310 - our own loopback url
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False

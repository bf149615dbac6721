"""A Prefect server for the length of a run, when no other is configured and no installation is up.

Prefect's own embedded server loses task-run history when it exits, a real one does not: `prefect server start` in the
project's folder shows later what happened, because prefect.toml there names the same database.
"""

from __future__ import annotations

import importlib
import os
import socket
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from flows.children import child
from flows.progress import StepEvent, announce
from rectory.errors import RectoryError
from rectory.installation import running
from rectory.workspace import Workspace

DEFAULT_PORT = 4200
START_SECONDS = 120
_POLL_SECONDS = 0.1
_DELIVERY_SECONDS = 5

QUIET = {
    # A model store that is away for a minute or two is no reason to lose a run.
    "RECTORY_PATIENCE": "180",
    # Nor is a server whose database is away: it answers 500, and is asked again for two minutes.
    "PREFECT_CLIENT_MAX_RETRIES": "6",
    "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500,504",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_CLI_PROMPT": "false",
    # The run page keeps everything; the terminal shows our own progress lines, and errors in one paragraph.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "rectory",
}


def free_port(wanted: int = DEFAULT_PORT) -> int:
    """`wanted` if nobody listens there, else one that the system gives."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            # As the server itself does: a port whose last connections are still timing out is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise RectoryError("no free port on 127.0.0.1: stop a server that is not needed, or set PREFECT_API_URL.")


@contextmanager
def _reserved_port() -> Iterator[int]:
    """DEFAULT_PORT for one run on this machine, another free one for those beside it.

    Two runs that both found it free would else share the server of the quicker one, and lose it when that one ends.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(Path(tempfile.gettempdir()) / f"rectory-port-{DEFAULT_PORT}.lock")
    try:
        lock.acquire(timeout=0)
        wanted = DEFAULT_PORT
    except (Timeout, OSError):  # OSError: the lock is another user's.
        wanted = 0
    try:
        yield free_port(wanted)
    finally:
        lock.release()


@contextmanager
def prefect_server(workspace: Workspace) -> Iterator[str]:
    """Set PREFECT_API_URL for the block. Import prefect inside.

    The server is the one that the environment names, else that of the installation that is up in this project, else one
    that is started and stopped with the block.

    Raises:
        RectoryError: the server did not come up; names its log.
    """
    os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
    configured = os.environ.get("PREFECT_API_URL")
    if configured:
        yield configured
        return
    there = running(workspace)
    if there is not None and there.prefect:
        with _environment(PREFECT_API_URL=there.prefect), _settings(there.prefect):
            yield there.prefect
        return
    home = workspace.state.resolve()
    home.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("PREFECT_SERVER_DATABASE_CONNECTION_URL", f"sqlite+aiosqlite:///{home / 'prefect.db'}")
    announce(StepEvent("prefect server", "started"))
    asked = time.perf_counter()
    log = workspace.state / "logs" / "prefect-server.log"
    with _reserved_port() as port:
        url = os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        try:
            with child(command, log=log, env=os.environ, serves=True) as server:
                importlib.import_module("prefect")  # Seconds of work that the server's start hides.
                deadline = time.monotonic() + START_SECONDS
                while not (_listens(server.pid, port) and _healthy(url)):
                    if server.poll() is not None or time.monotonic() > deadline:
                        raise RectoryError(f"the Prefect server did not start on port {port}; {log} says why.")
                    time.sleep(_POLL_SECONDS)
                announce(StepEvent("prefect server", "done", time.perf_counter() - asked, url.removesuffix("/api")))
                # Nobody can hold a slot of a server that has just come up: what stands there is a killed run's.
                from flows.limits import free_all

                with _settings(url):
                    free_all()
                    began = datetime.now(UTC)
                    try:
                        yield url
                    finally:
                        _deliver_history(began)
        finally:
            del os.environ["PREFECT_API_URL"]


@contextmanager
def known_server(workspace: Workspace) -> Iterator[str | None]:
    """The server that the environment names, else that of the installation that is up, for the block; None: neither.

    Import prefect inside.
    """
    there = running(workspace)
    if (configured := os.environ.get("PREFECT_API_URL")) or there is None or not there.prefect:
        yield configured or None
        return
    os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
    with _environment(PREFECT_API_URL=there.prefect):
        yield there.prefect


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Variables of this process for the block."""
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            os.environ.pop(name, None)


@contextmanager
def _settings(url: str) -> Iterator[None]:
    """Prefect reads the environment once, when it is imported; that may have been before."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: url}):
        yield


def _listens(pid: int, port: int) -> bool:
    """The process, or one that it started, is who listens there: a stranger's server would answer as well."""
    import psutil

    try:
        server = psutil.Process(pid)
        sockets = [each for one in (server, *server.children(recursive=True)) for each in one.net_connections("tcp")]
    except psutil.Error:
        return False
    return any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in sockets)


def _deliver_history(began: datetime) -> None:
    """Send what is still queued in this process and wait until the server has written every task run's last state."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    EventsWorker.drain_all(timeout=_DELIVERY_SECONDS)
    APILogWorker.drain_all(timeout=_DELIVERY_SECONDS)
    deadline = time.monotonic() + _DELIVERY_SECONDS
    while _unfinished_task_runs(began) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)


def _unfinished_task_runs(began: datetime) -> int:
    """Task runs started since `began` that the server does not know to have ended."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import (
        TaskRunFilter,
        TaskRunFilterStartTime,
        TaskRunFilterState,
        TaskRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType

    open_states = [StateType.PENDING, StateType.RUNNING]
    with get_client(sync_client=True) as client:
        found = client.read_task_runs(
            task_run_filter=TaskRunFilter(
                state=TaskRunFilterState(type=TaskRunFilterStateType(any_=open_states)),
                start_time=TaskRunFilterStartTime(after_=began),
            ),
            limit=1,
        )
    return len(found)


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:  # noqa: S310 - our own loopback url
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False

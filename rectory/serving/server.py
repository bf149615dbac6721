"""From `rectory serve` to worker processes: who may come in, on which socket, with which server."""

from __future__ import annotations

import ipaddress
import json
import os
import resource
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rectory.errors import UsageError
from rectory.params.serve import ServeParams
from rectory.serving.keys import ApiKeys
from rectory.serving.rules_file import RulesFile
from rectory.serving.store import Store
from rectory.workspace import Workspace

if TYPE_CHECKING:
    from fastapi import FastAPI
    from uvicorn import Config

    from rectory.serving.service import Champions

_SETTINGS = "RECTORY_SERVE_SETTINGS"
_OPEN_FILES_FOR_OTHERS = 500


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def keys_asked(params: ServeParams, host: str, store: Store) -> bool:
    """Whether callers need a key.

    Raises:
        UsageError: they do and there is none, so that nobody could come in; or keys are off on a public address.
    """
    if params.api_keys == "off":
        if not is_loopback(host):
            raise UsageError(
                f"serve.keys is off, but {host} can be reached from other machines. Say auto or required, or bind to "
                "127.0.0.1."
            )
        return False
    if params.api_keys == "auto" and is_loopback(host):
        return False
    store.open()
    try:
        if not any(key.valid(time.time()) for key in ApiKeys(store).all()):
            raise UsageError(
                f"serving on {host} asks for API keys and there is none yet. Make one: "
                "rectory keys create shop-backend --scope write"
            )
    finally:
        store.close()
    return True


def serve(
    workspace: Workspace,
    params: ServeParams,
    *,
    host: str | None = None,
    port: int | None = None,
    workers: int | None = None,
    application: str = "rectory.serving.server:worker_application",
) -> None:
    """Serve until told to stop (SIGTERM, Ctrl-C); what was accepted and shown is written before the end.

    Args:
        host, port, workers: instead of those of `params`.
        application: import path of what makes a worker's application.
    Raises:
        UsageError: the address cannot be bound, or it asks for keys and there are none.
    """
    host = params.host if host is None else host
    port = params.port if port is None else port
    workers = params.workers if workers is None else workers
    asked = keys_asked(params, host, Store.of(workspace, params.lock_seconds))
    os.environ[_SETTINGS] = json.dumps(
        {
            "project": str(workspace.project.absolute()),
            "params": params.model_dump(mode="json", by_alias=True),
            "keys_asked": asked,
        }
    )
    with _listening(host, port) as listener:
        shown = f"[{host}]" if ":" in host else host
        number = listener.getsockname()[1]
        sys.stderr.write(f"Rectory serves at http://{shown}:{number} (docs at /docs); {_door(asked)}.\n")
        sys.stderr.flush()
        _run(application, params, listener, workers)


def settings() -> tuple[Workspace, ServeParams, bool]:
    """In a worker: the project, its params and whether keys are asked for, as `serve` was told."""
    told = json.loads(os.environ[_SETTINGS])
    project = Path(told["project"])
    return Workspace(project, project), ServeParams.model_validate(told["params"]), bool(told["keys_asked"])


def worker_application() -> FastAPI:
    """The application of one worker process, around the champion."""
    from rectory.serving.champions import champions
    from rectory.serving.process import settle

    settle()
    workspace, params, _ = settings()
    return application_around(champions(workspace, params))


def application_around(champions: Champions) -> FastAPI:
    """The application of one worker process around any engines, as `serve` was told."""
    from rectory.serving.app import create_app
    from rectory.serving.connections import BoundedConnection
    from rectory.serving.forgetting import remember
    from rectory.serving.service import Service

    workspace, params, asked = settings()
    BoundedConnection.max_connections = params.max_connections
    BoundedConnection.request_seconds = params.request_seconds
    store = Store.of(workspace, params.lock_seconds)
    service = Service(champions, store, params, RulesFile(workspace), lambda user: remember(workspace, user))
    return create_app(service, keys_asked=asked)


def _door(asked: bool) -> str:
    return "API keys are asked for" if asked else "without API keys, to this machine only"


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise UsageError(f"cannot listen on {host}:{port}: {error}. Choose another with --host and --port.") from None
    listener.set_inheritable(True)
    return listener


def _run(application: str, params: ServeParams, listener: socket.socket, workers: int) -> None:
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    _allow_open_files(params.max_connections + _OPEN_FILES_FOR_OTHERS)
    config = _config(application, workers)
    # uvicorn ends in good order and then raises the signal once more; that is no failure.
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, _end)
    if workers > 1:
        Multiprocess(config, sockets=[listener]).run()
    else:
        uvicorn.Server(config).run(sockets=[listener])


def _end(_number: int, _frame: object) -> None:
    raise SystemExit(0)


def _config(application: str, workers: int) -> Config:
    import uvicorn

    return uvicorn.Config(
        application,
        factory=True,
        workers=workers,
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        http="rectory.serving.connections:BoundedConnection",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=_logging(),
        server_header=False,
        date_header=False,
        backlog=4096,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=20,
        timeout_worker_healthcheck=60,
    )


def _logging() -> dict[str, Any]:
    """One line for each thing worth knowing, on stderr."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}},
        "loggers": {
            "uvicorn": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
            "rectory": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
        },
    }


def _allow_open_files(wanted: int) -> None:
    """Raise the soft limit: a server that may not open another socket cannot even say no."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))

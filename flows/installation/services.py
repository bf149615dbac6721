"""The one list of what an installation consists of. `rectory up`, compose.yaml and their tests go by it."""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from flows.installation.lost_runs import HEARTBEAT_SECONDS
from flows.installation.settings import (
    API,
    MLFLOW,
    MLFLOW_DATABASE,
    PREFECT,
    PREFECT_DATABASE,
    PREFECT_PASSWORD,
    WORKER,
    Settings,
    auth_file,
    refuse_open_doors,
)
from rectory.errors import UsageError

WORK_POOL = "rectory"
DEPLOYMENTS = "deployments"

# No telemetry leaves by default.
SILENT = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DVC_NO_ANALYTICS": "1",
}
# A server that is away is waited for: 2, 4, ... 64 s, two minutes in all, before a flow gives up.
PATIENT = {
    "PREFECT_CLIENT_MAX_RETRIES": "6",
    "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500,504",
    "RECTORY_PATIENCE": "180",
}

# What only one process may know.
_SECRETS_OF = {
    PREFECT: ("RECTORY_PREFECT_DATABASE", PREFECT_DATABASE, PREFECT_PASSWORD, "PREFECT_SERVER_DATABASE_PASSWORD"),
    MLFLOW: (
        "RECTORY_MLFLOW_DATABASE",
        MLFLOW_DATABASE,
        "MLFLOW_AUTH_ADMIN_USERNAME",
        "MLFLOW_AUTH_ADMIN_PASSWORD",
        "MLFLOW_FLASK_SERVER_SECRET_KEY",
    ),
}


@dataclass(frozen=True)
class Service:
    """One process of an installation.

    command: its arguments, no secret among them. env: added to the environment that it inherits, less `without`.
    health: address that answers 200 when it can be used. url: what to open, for people. port: where it listens.
    needs: services that must be healthy (or, if `once`, over) before it starts. once: it does its work and ends.
    watches: file whose change lets a service that ends do its work again. when_it_fails: what that means, in words.
    may_refuse: exit code 2 is told and tried again now and then; the rest of the installation does without it.
    spares_its_own: what it has started lives on when it dies: a flow run needs no worker to be seen through.
    """

    name: str
    command: tuple[str, ...]
    what: str
    env: Mapping[str, str] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int | None = None
    health: str | None = None
    url: str | None = None
    needs: tuple[str, ...] = ()
    once: bool = False
    watches: Path | None = None
    when_it_fails: str = ""
    spares_its_own: bool = False
    may_refuse: bool = False

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """The whole environment of its process."""
        return {**{name: value for name, value in inherited.items() if name not in self.without}, **self.env}


def services(settings: Settings, only: Iterable[str] = ()) -> tuple[Service, ...]:
    """All services in the order of their start, or those named in `only`.

    Where a server is not among them, its clients look for it at PREFECT_API_URL and MLFLOW_TRACKING_URI, else at the
    address that it would have here.

    Raises:
        UsageError: no service has such a name, or one would be open to everybody.
    """
    makers: dict[str, Callable[[Settings, Mapping[str, str]], Service]] = {
        PREFECT: _prefect,
        MLFLOW: _mlflow,
        **({DEPLOYMENTS: _deployments} if _is_there("flows.deployments") else {}),
        WORKER: _worker,
        **({API: _api} if _is_there("rectory.serving.engine") else {}),
    }
    chosen = list(only) or list(makers)
    if unknown := sorted(set(chosen) - set(makers)):
        raise UsageError(f"no service is called {', '.join(unknown)}; there are {', '.join(makers)}.")
    refuse_open_doors(settings, chosen)
    clients = _clients(settings, chosen)
    made = [make(settings, clients) for name, make in makers.items() if name in chosen]
    names = {one.name for one in made}
    return tuple(_needing(one, names) for one in made)


def _is_there(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _needing(service: Service, there: set[str]) -> Service:
    """What runs elsewhere is not waited for here."""
    return replace(service, needs=tuple(name for name in service.needs if name in there))


def _clients(settings: Settings, chosen: list[str]) -> dict[str, str]:
    """Environment of whatever talks to the servers."""
    environ = settings.environ
    addresses = {"PREFECT_API_URL": f"{settings.address(PREFECT)}/api", "MLFLOW_TRACKING_URI": settings.address(MLFLOW)}
    for variable, service in (("PREFECT_API_URL", PREFECT), ("MLFLOW_TRACKING_URI", MLFLOW)):
        if service not in chosen and environ.get(variable):
            addresses[variable] = environ[variable]
    return {**SILENT, **PATIENT, **addresses, **client_passwords(environ), "RECTORY_PROJECT": str(settings.project)}


def client_passwords(environ: Mapping[str, str]) -> dict[str, str]:
    """What a client on this machine needs to be let in: the servers' own passwords, unless it has others."""
    given = {}
    if password := environ.get("PREFECT_API_AUTH_STRING") or environ.get(PREFECT_PASSWORD):
        given["PREFECT_API_AUTH_STRING"] = password
    if password := environ.get("MLFLOW_TRACKING_PASSWORD") or environ.get("MLFLOW_AUTH_ADMIN_PASSWORD"):
        user = environ.get("MLFLOW_TRACKING_USERNAME") or environ.get("MLFLOW_AUTH_ADMIN_USERNAME") or "admin"
        given |= {"MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": password}
    return given


def _secrets_of_others(name: str) -> tuple[str, ...]:
    return tuple(secret for owner, secrets in _SECRETS_OF.items() if owner != name for secret in secrets)


def _python(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", *arguments)


def _prefect(settings: Settings, _clients: Mapping[str, str]) -> Service:
    host, port, address = settings.host, settings.ports[PREFECT], settings.address(PREFECT)
    return Service(
        name=PREFECT,
        command=_python("prefect", "server", "start", "--host", host, "--port", str(port)),
        what="schedules, runs, events",
        env={**SILENT, PREFECT_DATABASE: settings.prefect_database},
        # PREFECT_API_URL would send the browser that opens the page to another server.
        without=("PREFECT_API_URL", *_secrets_of_others(PREFECT)),
        host=host,
        port=port,
        health=f"{address}/api/health",
        url=address,
    )


def _mlflow(settings: Settings, _clients: Mapping[str, str]) -> Service:
    host, port, address = settings.host, settings.ports[MLFLOW], settings.address(MLFLOW)
    with_passwords = ("--app-name", "basic-auth") if settings.mlflow_asks_for_a_password else ()
    # A line a request would be millions a week: the live service asks for the champion all the time.
    quiet = ("--uvicorn-opts", "--log-level warning")
    command = (
        "rectory.registry.server",
        *quiet,
        "--host",
        host,
        "--port",
        str(port),
        "--workers",
        "1",
        "--no-serve-artifacts",
    )
    return Service(
        name=MLFLOW,
        command=_python(*command, *with_passwords),
        what="models, metrics, who is champion",
        env={
            **SILENT,
            MLFLOW_DATABASE: settings.mlflow_database,
            "MLFLOW_DEFAULT_ARTIFACT_ROOT": settings.artifacts,
            # Its job runner takes 240 MB and nothing here uses it.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            **_users_of_mlflow(settings),
        },
        without=("MLFLOW_TRACKING_URI", *_secrets_of_others(MLFLOW)),
        host=host,
        port=port,
        health=f"{address}/health",
        url=address,
    )


def _users_of_mlflow(settings: Settings) -> dict[str, str]:
    """Accounts live in a database of their own in the project's state, unless the operator has a file of settings."""
    if not settings.mlflow_asks_for_a_password or settings.environ.get("MLFLOW_AUTH_CONFIG_PATH"):
        return {}
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(auth_file(settings.project)),
        "MLFLOW_AUTH_ADMIN_USERNAME": settings.environ.get("MLFLOW_AUTH_ADMIN_USERNAME") or "admin",
    }


def _deployments(settings: Settings, clients: Mapping[str, str]) -> Service:
    return Service(
        name=DEPLOYMENTS,
        command=_python("flows.installation.deploying", str(settings.project)),
        what="work pool, limits, schedules, automations",
        env=clients,
        without=_secrets_of_others(DEPLOYMENTS),
        needs=(PREFECT,),
        once=True,
        watches=settings.project / "params.yaml",
        when_it_fails="The schedules are those of before and the champion serves on; mend it and it is tried again.",
    )


def _worker(settings: Settings, clients: Mapping[str, str]) -> Service:
    name = f"rectory-{socket.gethostname()}"
    command = ("prefect", "worker", "start", "--pool", WORK_POOL, "--type", "process", "--name", name)
    rest = ("--limit", str(settings.worker_limit), "--with-healthcheck", "--install-policy", "never")
    port = settings.ports[WORKER]
    return Service(
        name=WORKER,
        command=_python(*command, *rest),
        what="does what the schedules ask for",
        env={
            **clients,
            "PREFECT_WORKER_WEBSERVER_HOST": settings.bound_to(WORKER),
            "PREFECT_WORKER_WEBSERVER_PORT": str(port),
            # By this a run whose process is gone is told from one that is at work: see lost_runs.
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
            "PREFECT_WORKER_QUERY_SECONDS": settings.environ.get("PREFECT_WORKER_QUERY_SECONDS", "5"),
            # Flows run in this Python and may call its tools.
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), settings.environ.get("PATH", ""))),
        },
        without=_secrets_of_others(WORKER),
        host=settings.bound_to(WORKER),
        port=port,
        health=f"{settings.address(WORKER)}/health",
        needs=(PREFECT, MLFLOW, DEPLOYMENTS),
        spares_its_own=True,
    )


def _api(settings: Settings, clients: Mapping[str, str]) -> Service:
    host, port, address = settings.host, settings.ports[API], settings.address(API)
    return Service(
        name=API,
        command=_python("flows.installation.serving", str(settings.project), host, str(port)),
        what="live recommendations",
        env=clients,
        without=_secrets_of_others(API),
        host=host,
        port=port,
        # Alive, not ready: before the first promotion there is nothing to serve, and that is no fault.
        health=f"{address}/api/health/live",
        url=f"{address}/docs",
        needs=(MLFLOW,),
        may_refuse=True,
    )

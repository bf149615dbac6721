"""What an operator may set for an installation, read from the environment; nothing else decides where it listens.

RECTORY_HOST                 where all listen (127.0.0.1); beyond loopback passwords are needed, see `refuse_open_doors`
RECTORY_PREFECT_PORT         4200; RECTORY_MLFLOW_PORT 5000; RECTORY_API_PORT 8000
RECTORY_WORKER_PORT          4201, for its health; always on loopback
RECTORY_PREFECT_DATABASE     postgresql://user@host/name for Prefect; unset: SQLite in .rectory/
RECTORY_MLFLOW_DATABASE      the same for MLflow
RECTORY_ARTIFACTS            s3://bucket/prefix or a folder for model files; unset: .rectory/mlartifacts
RECTORY_WORKER_LIMIT         flow runs that the worker has at work at once (4)

The tools' own variables hold where ours are unset, and reach their process as they are.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from rectory.errors import UsageError
from rectory.files import replacing
from rectory.workspace import Workspace

LOOPBACK = "127.0.0.1"
PREFECT, MLFLOW, API, WORKER = "prefect", "mlflow", "api", "worker"
DEFAULT_PORTS = {PREFECT: 4200, MLFLOW: 5000, API: 8000, WORKER: 4201}

PREFECT_DATABASE = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
MLFLOW_DATABASE = "MLFLOW_BACKEND_STORE_URI"
PREFECT_PASSWORD = "PREFECT_SERVER_API_AUTH_STRING"  # noqa: S105 - the variable's name
MLFLOW_PASSWORD = "MLFLOW_AUTH_ADMIN_PASSWORD"  # noqa: S105 - the variable's name
MLFLOW_SECRET = "MLFLOW_FLASK_SERVER_SECRET_KEY"  # noqa: S105 - the variable's name


@dataclass(frozen=True)
class Settings:
    """One installation's addresses and stores; passwords stay in `environ` and are handed on as variables only."""

    project: Path
    host: str
    ports: Mapping[str, int]
    prefect_database: str
    mlflow_database: str
    artifacts: str
    worker_limit: int
    environ: Mapping[str, str]

    @property
    def public(self) -> bool:
        """Others than this machine can connect."""
        return not is_loopback(self.host)

    @property
    def mlflow_asks_for_a_password(self) -> bool:
        return bool(self.environ.get(MLFLOW_PASSWORD))

    def address(self, service: str) -> str:
        """http://host:port as this machine's own processes reach it."""
        host = LOOPBACK if self.host in ("0.0.0.0", "") else "[::1]" if self.host == "::" else self.host  # noqa: S104
        return f"http://{LOOPBACK if service == WORKER else host}:{self.ports[service]}"

    def bound_to(self, service: str) -> str:
        """The worker's health is nobody else's business."""
        return LOOPBACK if service == WORKER else self.host


def read_settings(workspace: Workspace, environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings of the environment.

    Raises:
        UsageError: a value that cannot be.
    """
    project = workspace.project.resolve()
    state = project / ".rectory"
    settings = Settings(
        project=project,
        host=environ.get("RECTORY_HOST") or LOOPBACK,
        ports={
            name: _number(environ, f"RECTORY_{name.upper()}_PORT", port, 65535) for name, port in DEFAULT_PORTS.items()
        },
        prefect_database=_with_driver(
            environ.get("RECTORY_PREFECT_DATABASE") or environ.get(PREFECT_DATABASE), "postgresql+asyncpg"
        )
        or f"sqlite+aiosqlite:///{state / 'prefect.db'}",
        mlflow_database=_with_driver(
            environ.get("RECTORY_MLFLOW_DATABASE") or environ.get(MLFLOW_DATABASE), "postgresql+psycopg2"
        )
        or f"sqlite:///{state / 'mlflow.db'}",
        artifacts=artifact_root(environ.get("RECTORY_ARTIFACTS")) or (state / "mlartifacts").as_uri(),
        worker_limit=_number(environ, "RECTORY_WORKER_LIMIT", 4, 1000),
        environ=environ,
    )
    _ports_differ(settings)
    return settings


def artifact_root(given: str | None) -> str | None:
    """A folder becomes a file address; any other address stays as it is."""
    if not given:
        return None
    return given.rstrip("/") if "://" in given else Path(given).absolute().as_uri()


def is_loopback(host: str) -> bool:
    """Names other than localhost count as public: what they mean is decided elsewhere."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refuse_open_doors(settings: Settings, names: Collection[str]) -> None:
    """Beyond loopback, Prefect (which runs code) and MLflow (whose models are code) must ask for a password.

    The live service refuses by itself, unless it has keys.

    Raises:
        UsageError: says which variables to set.
    """
    if not settings.public:
        return
    missing = []
    if PREFECT in names and ":" not in settings.environ.get(PREFECT_PASSWORD, ""):
        missing.append(f"{PREFECT_PASSWORD}=user:password for Prefect")
    if MLFLOW in names and not settings.mlflow_asks_for_a_password:
        missing.append(f"{MLFLOW_PASSWORD} (and MLFLOW_AUTH_ADMIN_USERNAME, admin by default) for MLflow")
    if MLFLOW in names and not settings.environ.get(MLFLOW_SECRET):
        missing.append(f"{MLFLOW_SECRET}, a long random text, for MLflow's sessions")
    if missing:
        raise UsageError(
            f"RECTORY_HOST={settings.host} lets other machines connect, and without passwords whoever connects can run "
            f"code here. Set {'; '.join(missing)}; or leave RECTORY_HOST unset and reach it through an SSH tunnel or a "
            "proxy that asks for one. docs/hardening.md has the whole list."
        )
    if MLFLOW in names and find_spec("flask_wtf") is None:
        raise UsageError(
            f"RECTORY_HOST={settings.host} lets other machines connect, and MLflow's passwords need the package "
            "Flask-WTF. Install it with `pip install 'rectory[auth]'`, or leave RECTORY_HOST unset."
        )


def auth_file(project: Path) -> Path:
    """MLflow's own settings file for accounts; no password is in it."""
    return project / ".rectory" / "mlflow-auth.ini"


def auth_settings(project: Path) -> str:
    """Its text. A user without a grant sees nothing: a model's artefacts hold what the log says of people."""
    return (
        "[mlflow]\n"
        "default_permission = NO_PERMISSIONS\n"
        f"database_uri = sqlite:///{project / '.rectory' / 'mlflow-users.db'}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )


def _number(environ: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = environ.get(name) or str(default)
    if not text.isdigit() or not 0 < int(text) <= most:
        raise UsageError(f"{name}={text!r} must be a whole number from 1 to {most}.")
    return int(text)


def _ports_differ(settings: Settings) -> None:
    by_port: dict[int, str] = {}
    for name, port in settings.ports.items():
        if port in by_port:
            raise UsageError(
                f"{by_port[port]} and {name} cannot share port {port}: set RECTORY_{name.upper()}_PORT to another."
            )
        by_port[port] = name


def _with_driver(url: str | None, driver: str) -> str | None:
    """postgres://, postgresql:// and postgresql+any:// with the driver that this server needs."""
    if not url:
        return None
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise UsageError(f"a database address must look like postgresql://user@host:5432/name, not {scheme[:20]!r}...")
    return f"{driver}://{rest}" if scheme.split("+")[0] in ("postgres", "postgresql") else url


def prepare(settings: Settings) -> None:
    """Folders and files that must be there before the first start."""
    state = settings.project / ".rectory"
    state.mkdir(parents=True, exist_ok=True)
    if settings.mlflow_asks_for_a_password and not settings.environ.get("MLFLOW_AUTH_CONFIG_PATH"):
        with replacing(auth_file(settings.project)) as scratch:
            scratch.write_text(auth_settings(settings.project), encoding="utf-8")

"""The way to MLflow: where the store is, quiet loggers, bounded patience with a locked database, errors with a cure."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlparse

from rectory.errors import StoreError
from rectory.installation import running
from rectory.registry.new_store import create_store
from rectory.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient

T = TypeVar("T")

# A server that starts anew, a database behind it that does, an S3 endpoint that does: all pass.
_AWAY = re.compile(
    r"failed with (timeout )?exception|Max retries exceeded|TEMPORARILY_UNAVAILABLE|error code 50[234]"
    r"|(connection|endpoint).*(refused|reset|aborted|closed|timed out)|could not connect to (the )?(server|endpoint)"
    r"|server closed the connection|shutting down|starting up",
    re.IGNORECASE,
)
_LOCKED = re.compile(r"database (table )?is locked", re.IGNORECASE)
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    # With a server it would tell of each run on stdout, in the midst of our JSON.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # The default of 120 s and 7 tries hides for many minutes that a server is gone.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "GIT_PYTHON_REFRESH": "quiet",
}
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 10.0
_TRACKING = "MLFLOW_TRACKING_URI"
_DATABASE = "RECTORY_MLFLOW_DATABASE"
_ARTIFACTS = "RECTORY_ARTIFACTS"
_PATIENCE = "RECTORY_PATIENCE"
_DEFAULT_PATIENCE_SECONDS = 30.0


class Connection:
    """One store: MLFLOW_TRACKING_URI, else the server of the installation that is up in this project, else the database
    that RECTORY_MLFLOW_DATABASE names, else the project's own SQLite file.

    Args:
        workspace: the project whose store it is.
        patience_seconds: how long a locked database or a server that is away is tried again before StoreError; None:
            RECTORY_PATIENCE, else half a minute. Runs and workers set it higher.
    """

    def __init__(self, workspace: Workspace, patience_seconds: float | None = None) -> None:
        given = os.environ.get(_PATIENCE)
        self.patience_seconds = patience_seconds or (float(given) if given else _DEFAULT_PATIENCE_SECONDS)
        self.uri = _place(workspace)
        self._sqlite: Path | None = None
        if self.uri.startswith("sqlite:///") and "?" not in self.uri:
            self._sqlite = Path(self.uri.removeprefix("sqlite:///"))
        self.artifacts = _artifacts(workspace, self.uri)
        """Where a new experiment keeps its files; None: the server decides."""
        self._client: MlflowClient | None = None

    @property
    def exists(self) -> bool:
        """False when it is a SQLite file that nobody has written yet: then there is nothing to read."""
        return self._sqlite is None or self._sqlite.is_file()

    @property
    def local_file(self) -> Path | None:
        """The store's SQLite file; None when it is a server or another database."""
        return self._sqlite

    def client(self) -> MlflowClient:
        """The client, made at first use: importing mlflow takes seconds."""
        if self._client is None:
            self._client = self.call(self._open, "open the model store")
        return self._client

    def call(self, work: Callable[[], T], what: str) -> T:
        """Run `work`; while the database is locked or a server is away try again, at growing intervals, for
        `patience_seconds`. Work that fails half-way may be done twice: it must bear that.

        Raises:
            StoreError: it stayed locked, or the store cannot be reached or refuses.
        """
        import sqlalchemy.exc

        quiet()
        from mlflow.exceptions import MlflowException

        until = time.monotonic() + self.patience_seconds
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                self._wait_until_free(until, what)
                return work()
            except (MlflowException, sqlalchemy.exc.SQLAlchemyError, OSError, *_storage_failures()) as error:
                locked = _LOCKED.search(str(error))
                remote = self._sqlite is None or isinstance(error, _storage_failures())
                if not locked and not (remote and _AWAY.search(str(error))):
                    raise StoreError(self._unreachable(what, error)) from error
                if time.monotonic() + pause > until:
                    raise StoreError(self._locked(what) if locked else self._unreachable(what, error)) from error
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    @contextmanager
    def fluent(self) -> Iterator[Any]:
        """mlflow's module-level functions, pointed at this store for the block."""
        quiet()
        import mlflow

        self.client()
        before = os.environ.get(_TRACKING)
        mlflow.set_tracking_uri(self.uri)
        try:
            yield mlflow
        finally:
            # MLflow writes the URI into the environment too: a later Connection would take it for the user's wish.
            mlflow.set_tracking_uri(None)
            if before is not None:
                os.environ[_TRACKING] = before

    def _open(self) -> MlflowClient:
        from mlflow import MlflowClient

        if self._sqlite is not None:
            create_store(self._sqlite)
        client = MlflowClient(self.uri, os.environ.get("MLFLOW_REGISTRY_URI") or self.uri)
        client.search_registered_models(max_results=1)
        return client

    def _wait_until_free(self, until: float, what: str) -> None:
        """Ask SQLite itself first: MLflow waits 20 s inside each call and prints a traceback for each lock."""
        if self._sqlite is None or not self._sqlite.is_file():
            return
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                with closing(sqlite3.connect(self._sqlite, timeout=0, isolation_level=None)) as probe:
                    probe.execute("BEGIN IMMEDIATE")
                    probe.execute("ROLLBACK")
                return
            except sqlite3.OperationalError as error:
                if not _LOCKED.search(str(error)):
                    raise StoreError(self._unreachable(what, error)) from error
                if time.monotonic() + pause > until:
                    raise StoreError(self._locked(what)) from None
            except sqlite3.DatabaseError as error:
                raise StoreError(self._unreachable(what, error)) from error
            time.sleep(pause)
            pause = min(2 * pause, 2.0)

    def _locked(self, what: str) -> str:
        return (
            f"could not {what}: the model store {self.uri} was locked by another process for "
            f"{self.patience_seconds:.0f} s. Find it with `fuser {self._sqlite}` (an `mlflow ui`, a database browser, "
            "a stopped run), end it and run again; nothing was lost."
        )

    def _unreachable(self, what: str, error: Exception) -> str:
        text = str(error).strip().splitlines()
        cause = _without_password(text[0][:300] if text else type(error).__name__, self.uri)
        if isinstance(error, _storage_failures()):
            return (
                f"could not {what}: the storage of model files answered: {cause}. Check RECTORY_ARTIFACTS, "
                "MLFLOW_S3_ENDPOINT_URL and the keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, then run again; "
                "what is registered is untouched."
            )
        if "Unauthorized" in cause or "error code 401" in cause:
            return (
                f"could not {what}: the model store {_without_password(self.uri, self.uri)} lets nobody in without a "
                "password. Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, then run again."
            )
        return (
            f"could not {what}: the model store {_without_password(self.uri, self.uri)} answered: {cause}. Check "
            "MLFLOW_TRACKING_URI (unset, it is the server of `rectory up` or the project's own .rectory/mlflow.db), "
            "that its server runs and that its disk has room, then run again."
        )


def local_path(uri: str) -> Path | None:
    """The folder of a file URI or plain path; None for anything remote."""
    parsed = urlparse(uri)
    if parsed.scheme == "file":
        return Path(unquote(parsed.path))
    return Path(uri) if not parsed.scheme else None


def _place(workspace: Workspace) -> str:
    if given := os.environ.get(_TRACKING):
        return given
    there = running(workspace)
    if there is not None and there.mlflow:
        return there.mlflow
    if given := os.environ.get(_DATABASE):
        scheme, _, rest = given.partition("://")
        return f"postgresql+psycopg2://{rest}" if scheme.split("+")[0] in ("postgres", "postgresql") else given
    return f"sqlite:///{workspace.model_store.absolute()}"


def _artifacts(workspace: Workspace, uri: str) -> str | None:
    if uri.startswith("http") or os.environ.get(_TRACKING):
        return None
    if given := os.environ.get(_ARTIFACTS):
        return given.rstrip("/") if "://" in given else Path(given).absolute().as_uri()
    return workspace.model_artifacts.absolute().as_uri()


def _storage_failures() -> tuple[type[Exception], ...]:
    """Errors of object storage, which come as they are; none while its client was never imported."""
    if "botocore" not in sys.modules:
        return ()
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    return (BotoCoreError, ClientError, Boto3Error)


def _without_password(text: str, uri: str) -> str:
    """`text` without the password that `uri` may carry."""
    password = urlparse(uri).password
    return text.replace(f":{password}@", ":***@").replace(password, "***") if password else text


def quiet() -> None:
    """Keep MLflow's telemetry, progress bars and migration notes out of the way; what the user has set stays."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    for name in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.CRITICAL)

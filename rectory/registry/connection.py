"""The way to MLflow: where the store is, quiet loggers, bounded patience with a locked database, errors with a cure."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rectory.errors import StoreError
from rectory.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient

T = TypeVar("T")

_LOCKED = re.compile(r"database (table )?is locked", re.IGNORECASE)
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    # The default of 120 s and 7 tries hides for many minutes that a server is gone.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "GIT_PYTHON_REFRESH": "quiet",
}
_FIRST_PAUSE_SECONDS = 0.1
_TRACKING = "MLFLOW_TRACKING_URI"


class Connection:
    """One store, as MLFLOW_TRACKING_URI names it or as the project's own SQLite file.

    Args:
        workspace: the project whose store it is.
        patience_seconds: how long a locked database is tried again before StoreError.
    """

    def __init__(self, workspace: Workspace, patience_seconds: float = 30.0) -> None:
        self.patience_seconds = patience_seconds
        self._sqlite: Path | None = None
        self.artifacts: str | None = None
        """Where a new experiment keeps its files; None: the server decides."""
        given = os.environ.get(_TRACKING)
        if given:
            self.uri = given
            if given.startswith("sqlite:///") and "?" not in given:
                self._sqlite = Path(given.removeprefix("sqlite:///"))
        else:
            self._sqlite = workspace.model_store.absolute()
            self.uri = f"sqlite:///{self._sqlite}"
            self.artifacts = workspace.model_artifacts.absolute().as_uri()
        self._client: MlflowClient | None = None

    @property
    def exists(self) -> bool:
        """False when it is a SQLite file that nobody has written yet: then there is nothing to read."""
        return self._sqlite is None or self._sqlite.is_file()

    def client(self) -> MlflowClient:
        """The client, made at first use: importing mlflow takes seconds."""
        if self._client is None:
            self._client = self.call(self._open, "open the model store")
        return self._client

    def call(self, work: Callable[[], T], what: str) -> T:
        """Run `work`; while the database is locked try again, at growing intervals, for `patience_seconds`.

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
            except (MlflowException, sqlalchemy.exc.SQLAlchemyError, OSError) as error:
                if not _LOCKED.search(str(error)):
                    raise StoreError(self._unreachable(what, error)) from error
                if time.monotonic() + pause > until:
                    raise StoreError(self._locked(what)) from error
            time.sleep(pause)
            pause *= 2

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
            self._sqlite.parent.mkdir(parents=True, exist_ok=True)
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
        cause = text[0][:300] if text else type(error).__name__
        return (
            f"could not {what}: the model store {self.uri} answered: {cause}. Check MLFLOW_TRACKING_URI (unset, it is "
            "the project's own .rectory/mlflow.db), that its server runs and that its disk has room, then run again."
        )


def quiet() -> None:
    """Keep MLflow's telemetry, progress bars and migration notes out of the way; what the user has set stays."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    for name in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.CRITICAL)

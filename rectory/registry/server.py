"""`python -m rectory.registry.server ...`: `mlflow server ...`, on a store that is whole from its first moment."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rectory.registry.new_store import create_store

_DATABASE = "MLFLOW_BACKEND_STORE_URI"
_SQLITE = "sqlite:///"


def main(arguments: list[str]) -> None:
    """Become MLflow's server. Its database is named by the environment: an address may hold a password."""
    database = os.environ[_DATABASE]
    if database.startswith(_SQLITE):
        create_store(Path(database.removeprefix(_SQLITE)))
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", "server", *arguments])  # noqa: S606 - this very Python


if __name__ == "__main__":
    main(sys.argv[1:])

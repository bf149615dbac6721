"""A new SQLite model store, whole or not at all.

MLflow makes its tables in some fifty steps. Killed in between it leaves a file that it can never open again.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from rectory.files import exclusive


def create_store(path: Path) -> None:
    """Make an empty store at `path` unless there is one. Takes MLflow a few seconds.

    Raises:
        OSError: no room or no right to write there.
    """
    if path.is_file():
        return
    from rectory.registry.connection import quiet

    with exclusive(path.with_name(f".{path.name}.lock"), "creating the model store"):
        if path.is_file():
            return
        quiet()
        from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine

        # In a folder: SQLite puts its journal beside the file.
        scratch = path.with_name(f".{path.name}.new")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        engine = create_sqlalchemy_engine(f"sqlite:///{scratch / path.name}")
        _initialize_tables(engine)
        engine.dispose()
        os.replace(scratch / path.name, path)
        scratch.rmdir()

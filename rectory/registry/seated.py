"""Which version is champion, asked every few seconds by what serves: mlflow is not bothered for a local store."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from rectory.errors import StoreError
from rectory.registry.connection import Connection
from rectory.registry.versions import MODEL_NAME
from rectory.workspace import Workspace

_CHAMPION = "select version from registered_model_aliases where name = ? and alias = 'champion'"
_WAIT_SECONDS = 2.0


def champion_number(workspace: Workspace) -> str | None:
    """Version number of the champion that serves; None: nobody holds the seat, or there is no store yet.

    Raises:
        StoreError: the store cannot be asked.
    """
    connection = Connection(workspace, patience_seconds=_WAIT_SECONDS)
    if not connection.exists:
        return None
    if (file := connection.local_file) is not None:
        try:
            with closing(
                sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=_WAIT_SECONDS)
            ) as store:
                row = store.execute(_CHAMPION, (MODEL_NAME,)).fetchone()
        except sqlite3.Error as error:
            raise StoreError(f"the model store {file.name} cannot be asked: {error}.") from error
        return None if row is None else str(row[0])
    client = connection.client()
    found = connection.call(lambda: client.search_registered_models(f"name = '{MODEL_NAME}'"), "read the champion")
    number = found[0].aliases.get("champion") if found else None
    return None if number is None else str(number)

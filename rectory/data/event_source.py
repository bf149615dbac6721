"""The live event log as a data set's source: read by SQL, so that nothing of the service is imported.

The store has a table `events` and, as the API was told them, `items` and `users`. Labels and contexts are JSON: what
the card names as `context.NAME` or `labels.NAME` becomes a column of its own.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pyarrow as pa

from rectory.data.capacity import Room
from rectory.data.card import Card, EventsSource
from rectory.data.sql import database_url, read_queries
from rectory.errors import FetchError
from rectory.workspace import Workspace

URL_VARIABLE = "RECTORY_EVENTS_URL"
_QUERIES = {
    "interactions": "SELECT event_id, user_id, item_id, kind, timestamp, value, recommendation_id, context "
    "FROM events ORDER BY sequence",
    "items": "SELECT item_id, hidden, categories, labels, timestamp, comment FROM items ORDER BY item_id",
    "users": "SELECT user_id, labels, comment FROM users ORDER BY user_id",
}
_JSON = {"interactions": "context", "items": "labels", "users": "labels"}
_LIST = pa.list_(pa.string())


def read_events(card: Card, source: EventsSource, workspace: Workspace, room: Room) -> tuple[dict[str, pa.Table], str]:
    """All tables that the card asks for, as they are in one moment.

    Returns:
        table -> rows in the order of the log, and where they came from, without a password.
    Raises:
        FetchError: there is no event log yet, or it cannot be reached. CapacityError: it would not fit into memory.
    """
    template = source.url or os.environ.get(URL_VARIABLE)
    if template is None and not workspace.event_log.is_file():
        raise FetchError(
            f"{card.name}: there is no event log yet ({workspace.event_log}). `rectory serve` begins one and `rectory "
            f"events import FILE` fills it; one on a server is named by {URL_VARIABLE} or by `source.url`."
        )
    url = database_url(template or f"sqlite:///{workspace.event_log.absolute()}", card.name)
    wanted = ["interactions", *(table for table in ("items", "users") if getattr(source, table))]
    tables = read_queries(url, {table: _QUERIES[table] for table in wanted}, workspace.project, room, card.name)
    shaped = {table: _shaped(table, content, _named(card, table)) for table, content in tables.items()}
    return shaped, url.render_as_string(hide_password=True)


def _named(card: Card, table: str) -> list[str]:
    """Columns that the card names."""
    if table == "interactions":
        log = card.interactions
        named = [log.event, log.value, *log.context.values()]
    else:
        entities = getattr(card, table)
        named = [entities.title, entities.image, *(one.column for one in entities.features.values())]
    return [name for name in named if name is not None]


def _shaped(table: str, content: pa.Table, named: list[str]) -> pa.Table:
    """Lists and availability as columns, and one column for each member of the JSON that is named."""
    if table == "items":
        categories = [json.loads(text) for text in content.column("categories").to_pylist()]
        content = content.set_column(
            content.column_names.index("categories"), "categories", pa.array(categories, _LIST)
        )
        hidden = content.column("hidden").to_pylist()
        content = content.append_column("available", pa.array(["no" if one else "yes" for one in hidden], pa.string()))
    whole = _JSON[table]
    prefix = f"{whole}."
    wanted = sorted({name for name in named if name.startswith(prefix)})
    if not wanted:
        return content
    objects = [json.loads(text) if text else None for text in content.column(whole).to_pylist()]
    for name in wanted:
        member = name.removeprefix(prefix)
        cells = [one.get(member) if isinstance(one, dict) else None for one in objects]
        content = content.append_column(name, _column(cells))
    return content


def _column(cells: list[Any]) -> pa.Array:
    """Numbers where all are; lists where one is; else text."""
    written = [cell for cell in cells if cell is not None]
    if written and all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in written):
        return pa.array([None if cell is None else float(cell) for cell in cells], pa.float64())
    if any(isinstance(cell, list) for cell in written):
        return pa.array([_texts(cell) for cell in cells], _LIST)
    return pa.array([_text(cell) for cell in cells], pa.string())


def _texts(cell: Any) -> list[str] | None:
    if cell is None:
        return None
    return [text for text in map(_text, cell if isinstance(cell, list) else [cell]) if text is not None]


def _text(cell: Any) -> str | None:
    if cell is None or isinstance(cell, str):
        return cell
    return json.dumps(cell, ensure_ascii=False, sort_keys=True)

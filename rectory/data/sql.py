"""Queries to arrow tables, block by block, through any database that SQLAlchemy speaks to."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pyarrow as pa

from rectory.data.capacity import Room, Size, require_memory
from rectory.errors import CardError, DataError, FetchError

if TYPE_CHECKING:
    from sqlalchemy.engine import URL, Connection, Engine

_BLOCK_ROWS = 50_000
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def database_url(template: str, where: str, environment: Mapping[str, str] | None = None) -> URL:
    """Fill ${NAME} from the environment and parse.

    A user name or password is filled in as it is, whatever characters it has; a whole URL may be one variable.

    Raises:
        CardError: a variable is not set (all that are not are named), or the result is no URL. Never shows the URL.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    known = os.environ if environment is None else environment
    missing = sorted({name for name in _VARIABLE.findall(template) if not known.get(name)})
    if missing:
        raise CardError(
            f"{where}: `source.url` needs the environment variable(s) {', '.join(missing)}, which are not set. "
            f"Set them where this command runs: export {missing[0]}=..."
        )
    login = template.rpartition("@")[0] if "://" in template else ""
    filled = _VARIABLE.sub(lambda found: quote(known[found[1]], safe=""), login)
    filled += _VARIABLE.sub(lambda found: known[found[1]], template[len(login) :])
    try:
        return make_url(filled)
    except (ArgumentError, ValueError):
        # `from None`: the original error quotes the URL, and with it the password.
        raise CardError(
            f"{where}: `source.url` is no database URL. Write driver://user:${{PASSWORD}}@host:port/database, for "
            "example sqlite:///shop.db"
        ) from None


def read_queries(url: URL, queries: Mapping[str, str], project: Path, room: Room, where: str) -> dict[str, pa.Table]:
    """Run each query in one transaction.

    Args:
        url: of the database; a relative SQLite file is looked up in `project`.
        queries: table -> query text, run as it is written: `:` and `%` have no special meaning.
    Returns:
        table -> rows in the order that the database gave.
    Raises:
        FetchError: the database cannot be reached or refuses a query; the password is blotted out.
        CapacityError: a result would not fit into memory.
    """
    from sqlalchemy import create_engine
    from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

    shown = url.render_as_string(hide_password=True)
    url = _in_project(url, project, where)
    doing = "connect"
    try:
        engine = create_engine(url)
        counts = {table: _count(engine, query) for table, query in queries.items()}
        with engine.connect() as connection, connection.begin():
            tables = {}
            for table, query in queries.items():
                doing = f"run `source.{table}`"
                tables[table] = _read(connection, query, counts[table], table, (room, where))
        engine.dispose()
    except (NoSuchModuleError, ImportError) as error:
        raise FetchError(
            f"{where}: no driver for {shown} is installed ({error}). Install the one that its URL names, e.g. "
            "psycopg2-binary for postgresql://."
        ) from None
    except SQLAlchemyError as error:
        reason = _without_password(str(getattr(error, "orig", None) or error), url)
        raise FetchError(
            f"{where}: could not {doing} at {shown}: {reason}. Check the URL, that the database runs, and the query in "
            "the card."
        ) from None
    return tables


def _count(engine: Engine, query: str) -> int | None:
    """Rows of the result, or None where the database does not take a query as a table."""
    from sqlalchemy.exc import SQLAlchemyError

    body = query.strip().rstrip(";")
    try:
        # A connection of its own: on some databases a failed statement spoils the transaction.
        with engine.connect() as connection:
            counted = connection.exec_driver_sql(
                f"SELECT COUNT(*) FROM ({body}\n) AS counted",  # noqa: S608  the card's author owns the query
                execution_options={"no_parameters": True},
            )
            return int(counted.scalar_one())
    except SQLAlchemyError:
        # A query with ORDER BY or a procedure call cannot be wrapped everywhere; reading then watches its own growth.
        return None


def _read(connection: Connection, query: str, rows: int | None, table: str, limit: tuple[Room, str]) -> pa.Table:
    result = connection.exec_driver_sql(query, execution_options={"no_parameters": True, "stream_results": True})
    names = list(result.keys())
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{limit[1]}: the query `source.{table}` gives column(s) {twice} twice. Name them with AS.")
    if rows is not None:
        require_memory({table: Size(rows, len(names), 0)}, *limit)
    blocks, seen = [], 0
    for block in result.partitions(_BLOCK_ROWS):
        seen += len(block)
        if rows is None:
            require_memory({table: Size(seen, len(names), 0)}, *limit)
        blocks.append([list(column) for column in zip(*block, strict=True)])
    columns = [_column([block[at] for block in blocks]) for at in range(len(names))]
    return pa.table(dict(zip(names, columns, strict=True)))


def _column(blocks: Sequence[list[Any]]) -> pa.ChunkedArray:
    """One type for all blocks; what has none in common (SQLite types each cell) becomes text."""
    plain = [[_cell(value) for value in block] for block in blocks]
    try:
        arrays = [pa.array(block) for block in plain]
        kinds = {array.type for array in arrays if not pa.types.is_null(array.type)}
        kind = kinds.pop() if len(kinds) == 1 else (pa.string() if not kinds else None)
        if kind is not None:
            return pa.chunked_array([array.cast(kind) for array in arrays], kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        kind = None  # mixed types within a block: text below
    text = [[None if value is None else str(value) for value in block] for block in plain]
    return pa.chunked_array([pa.array(block, pa.string()) for block in text], pa.string())


def _cell(value: Any) -> Any:
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    if isinstance(value, memoryview):
        return bytes(value)
    return value if value is None or isinstance(value, str | int | float | bytes | list) else _plain(value)


def _plain(value: Any) -> Any:
    """Dates, times and decimals pass; what arrow does not know (UUID, intervals) becomes text."""
    from datetime import date, datetime
    from decimal import Decimal

    if isinstance(value, Decimal):
        return float(value)
    return value if isinstance(value, datetime | date) else str(value)


def _in_project(url: URL, project: Path, where: str) -> URL:
    if not url.drivername.startswith("sqlite") or not url.database or url.database == ":memory:":
        return url
    file = project / url.database
    # SQLite would make an empty database here, and then complain of missing tables.
    if not file.is_file():
        raise FetchError(f"{where}: there is no SQLite file {file}. Correct `source.url` in the card, or put it there.")
    return url.set(database=str(file))


def _without_password(text: str, url: URL) -> str:
    text = " ".join(text.split())
    for secret in filter(None, (url.password, quote(url.password or "", safe=""))):
        text = text.replace(str(secret), "***")
    return text

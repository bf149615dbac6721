"""`rectory init`: look at somebody's files and write a data card that runs, with a comment on every guess."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from rectory.data.card import Card, Feature
from rectory.data.columns import as_ids
from rectory.data.profile_columns import (
    TimeGuess,
    best_column,
    decimal_mark,
    feature_guess,
    name_score,
    numbers,
    time_guess,
    words,
)
from rectory.data.profile_dialect import Profiled, profile_file
from rectory.data.tabular import file_format
from rectory.errors import CardError
from rectory.workspace import safe_name

_REPEATED_SHARE = 0.05
_ENDED_DAYS = 90
_MAX_EVENTS = 30
_WEIGHTS = {
    0: "remove removed cancel cancelled return returned refund storno retoure",
    4: "purchase purchased buy bought order ordered transaction sale kauf kaufen gekauft bestellung achat compra",
    2: "cart addtocart basket warenkorb panier carrito wishlist favorite",
}
_QUANTITY = {"quantity", "qty", "menge", "anzahl", "cantidad", "quantite", "quantita", "aantal"}


@dataclass(frozen=True)
class _Log:
    """Columns of the interaction log."""

    user: str
    item: str
    time: str
    when: TimeGuess
    event: str | None
    value: str | None
    price: str | None


def profile_files(
    interactions: Path, items: Path | None, users: Path | None, name: str | None, *, project: Path = Path()
) -> str:
    """Text of a commented card for these files, which `load_card` accepts and `fetch` reads.

    Args:
        interactions: the log: csv, tsv, jsonl (maybe gzipped) or parquet.
        items, users: tables about them, matched to the log by the ids they share.
        name: of the data set; default: made of the log's file name.
        project: folder that paths in the card are relative to.
    Raises:
        UsageError: `name` cannot be a file name.
        CardError: the log has no time, user or item column that can be recognised; says what to write by hand.
        DataError: a file is missing, empty or not readable.
    """
    dataset = safe_name(name, "data set") if name is not None else _name_of(interactions)
    log_file = profile_file(interactions, _shown(interactions, project))
    log = _log_columns(log_file)
    lines = _head(dataset, interactions, log)
    tables = {"items": (items, log.item), "users": (users, log.user)}
    entities: list[str] = []
    sources = ["source:", "  kind: files", *_source("interactions", log_file)]
    for table, (path, log_column) in tables.items():
        if path is not None:
            profiled = profile_file(path, _shown(path, project))
            sources += _source(table, profiled)
            entities += _entities(table, profiled, log_file.rows[log_column], interactions.name)
    text = "\n".join([*lines, *sources, "", *_interactions(log_file, log), *entities]) + "\n"
    _parse(text)
    return text


def _parse(text: str) -> Card:
    """A card that was guessed wrongly must fail here, not in the user's next command."""
    from ruamel.yaml import YAML

    return Card.model_validate(YAML(typ="safe").load(text))


def _name_of(path: Path) -> str:
    stem = path.name.split(".")[0].lower()
    return re.sub(r"[^a-z0-9]+", "_", stem).strip("_")[:60] or "my_shop"


def _shown(path: Path, project: Path) -> str:
    full, root = path.resolve(), project.resolve()
    return full.relative_to(root).as_posix() if full.is_relative_to(root) else full.as_posix()


def _log_columns(log: Profiled) -> _Log:
    rows = log.rows
    names = [str(column) for column in rows.columns]
    time, when = _time_column(log)
    left = [name for name in names if name != time]
    decimal = _decimal(log)
    as_numbers = {name: numbers(rows[name], decimal) for name in left}
    ids = [name for name in left if (part := as_numbers[name]) is None or bool((part.dropna() % 1 == 0).all())]
    user = best_column(rows, "user", ids)
    item = best_column(rows, "item", [name for name in ids if name != user])
    unnamed = [name for name in ids if name not in {user, item} and 1 < rows[name].nunique() < len(rows)]
    user = user or (unnamed.pop(0) if unnamed else None)
    item = item or (unnamed.pop(0) if unnamed else None)
    if user is None or item is None:
        lacking = "user" if user is None else "item"
        raise CardError(
            f"{log.path}: no column of {names} can be recognised as the {lacking}'s id. Rename it to {lacking}_id in "
            "the export, or write the card by hand: docs/datasets.md explains every key."
        )
    left = [name for name in left if name not in {user, item}]
    texts = [name for name in left if as_numbers[name] is None and 1 <= rows[name].nunique() <= _MAX_EVENTS]
    event = best_column(rows, "event", texts)
    amounts = [name for name in left if as_numbers[name] is not None and "id" not in words(name)]
    value = best_column(rows, "value", amounts)
    price = best_column(rows, "price", [name for name in amounts if name != value])
    return _Log(user, item, time, when, event, value, price)


def _time_column(log: Profiled) -> tuple[str, TimeGuess]:
    rows = log.rows
    found: list[tuple[float, int, str, TimeGuess]] = []
    for at, name in enumerate(str(column) for column in rows.columns):
        guess = time_guess(rows[name])
        if guess is None:
            continue
        by_name = name_score(name, "time")
        # A ten-digit number may be an id; a written date is a date. Without a header content alone must do.
        clear = not guess.format.startswith("epoch") or bool(log.spec.columns)
        if by_name or clear:
            clock = float((guess.times.dt.normalize() != guess.times).mean() > 0.1)  # a time of day beats a mere date
            found.append((by_name + clock, -at, name, guess))
    if not found:
        raise CardError(
            f"{log.path}: no column of {[str(name) for name in rows.columns]} holds times. Rectory evaluates under "
            "time: a model is trained on what came before and tested on what came after, so each row needs the moment "
            "at which it happened. Export the log with its timestamps (ISO, epoch seconds or milliseconds, or any one "
            "format); if a column has them in a form that was not recognised, name it and its strptime format in a "
            "card written by hand (docs/datasets.md)."
        )
    _, _, name, guess = max(found, key=lambda one: one[:2])
    return name, guess


def _decimal(profiled: Profiled) -> str:
    return decimal_mark(profiled.rows) if file_format(profiled.path, profiled.spec) == "csv" else "."


def _head(dataset: str, path: Path, log: _Log) -> list[str]:
    last = log.when.times.max()
    ended = (datetime.now(UTC) - last).days > _ENDED_DAYS
    return [
        f"# Written by `rectory init` from {path.name}. Read it through: every guess has a comment.",
        "# docs/datasets.md explains every key.",
        f"name: {_quoted(dataset)}",
        f"description: {_quoted('Interactions from ' + path.name)}",
        f"# The newest row is of {last:%Y-%m-%d}. true: the log has ended, its age is no fault; false: it still grows.",
        f"historic: {'true' if ended else 'false'}",
        "",
    ]


def _source(table: str, profiled: Profiled) -> list[str]:
    spec = profiled.spec
    lines = [f"  {table}:", f"    path: {_quoted(spec.path)}"]
    if spec.format != "auto":
        lines.append(f"    format: {spec.format}")
    kind = file_format(profiled.path, spec)
    if kind in {"csv", "jsonl"} and spec.encoding != "utf-8":
        lines.append(f"    encoding: {_quoted(spec.encoding)}")
    if kind != "csv":
        return lines
    lines.append(f"    separator: {json.dumps(spec.separator)}")
    if _decimal(profiled) == ",":
        lines.append('    decimal: ","')
    if not spec.quoting:
        lines.append("    quoting: false")
    if spec.columns:
        lines += ["    # The file has no header row: these names are made up.", f"    columns: {_list(spec.columns)}"]
    if spec.nulls:
        lines.append(f"    nulls: {_list(spec.nulls)}")
    return lines


def _interactions(log_file: Profiled, log: _Log) -> list[str]:
    rows = log_file.rows
    lines = ["interactions:"]
    for role, column in (("user", log.user), ("item", log.item)):
        if not name_score(column, role):
            lines.append("  # Guessed by its content, as the name says nothing: check.")
        lines.append(f"  {role}_id: {_quoted(column)}")
    lines.append("  timestamp:")
    lines.append(f"    column: {_quoted(log.time)}")
    if log.when.ambiguous:
        lines.append("    # Check this: day and month could also be the other way round.")
    lines.append(f"    format: {_quoted(log.when.format)}")
    lines.append("    # IANA zone of times that name none, e.g. Europe/Berlin.")
    lines.append("    zone: UTC")
    lines += _events(rows, log)
    if log.value is not None:
        lines += [
            "  # Kept with each row. `value_as_weight: true` would let it weigh in training.",
            f"  value: {_quoted(log.value)}",
        ]
    if log.price is not None:
        lines += ["  # Drift watches a context column named `price`.", "  context:", f"    price: {_quoted(log.price)}"]
    lines += _filters(log_file, log)
    pairs = rows[[log.user, log.item]].dropna()
    repeated = float(pairs.duplicated().mean()) if len(pairs) else 0.0
    part = "" if log_file.complete else " (in a sample of the file)"
    lines.append(f"  # {repeated:.0%} of the rows repeat a user and item seen before{part}. May an item come again?")
    lines.append(f"  repeats: {'allow' if repeated > _REPEATED_SHARE else 'exclude'}")
    return lines


def _events(rows: pd.DataFrame, log: _Log) -> list[str]:
    if log.event is None:
        return ["  # No column names a kind of event: all rows are one kind.", "  default_event: interaction"]
    counts = rows[log.event].value_counts()
    kinds = [str(kind) for kind in counts.index]
    weights = {kind: _event_weight(kind) for kind in kinds}
    targets = [kind for kind in kinds if weights[kind] == 4]
    lines = [
        f"  event: {_quoted(log.event)}",
        "  # Weight in training; 0 leaves an event out. Guessed by the names: adjust.",
    ]
    lines += ["  weights:", *(f"    {_quoted(kind)}: {weights[kind]}" for kind in kinds)]
    if targets:
        lines += ["  # What counts as a hit in evaluation.", f"  targets: {_list(targets)}"]
    return lines


def _event_weight(kind: str) -> int:
    parts = {*words(kind), "".join(words(kind))}
    return next((weight for weight, names in _WEIGHTS.items() if parts & set(names.split())), 1)


def _filters(log_file: Profiled, log: _Log) -> list[str]:
    if log.value is None or not {"quantity", "qty", "menge", "anzahl", "cantidad", "quantite", "aantal"} & set(
        words(log.value)
    ):
        return []
    amounts = numbers(log_file.rows[log.value], _decimal(log_file))
    if amounts is None or not (amounts <= 0).any():
        return []
    column = log.value if log.value.isidentifier() else f"`{log.value}`"
    return [
        f"  # {(amounts <= 0).mean():.1%} of the rows have none or less.",
        "  filters:",
        f"    - keep: {_quoted(f'{column} > 0')}",
        "      reason: nothing was taken (a return or a correction)",
    ]


def _entities(table: str, profiled: Profiled, log_ids: pd.Series, log_name: str) -> list[str]:
    rows = profiled.rows
    names = [str(column) for column in rows.columns]
    known = set(_ids(log_ids).dropna().unique())
    shares = {name: len(known & set(_ids(rows[name]).dropna().unique())) / max(len(known), 1) for name in names}
    best = max(names, key=lambda name: (shares[name], name_score(name, table.removesuffix("s"))))
    if not shares[best]:
        raise CardError(
            f"{profiled.path}: none of its columns {names} holds an id of {log_name} (column {log_ids.name!r}). Are "
            f"they written alike (leading zeros, prefixes)? Else run `rectory init` without --{table}."
        )
    share = f"  # Has a row for {shares[best]:.0%} of the {table} seen in the log."
    lines = ["", f"{table}:", share, f"  id: {_quoted(best)}"]
    left = [name for name in names if name != best]
    if table == "items":
        for role in ("title", "image"):
            column = best_column(rows, role, [name for name in left if not _are_few(rows[name])])
            if column is not None:
                lines.append(f"  {role}: {_quoted(column)}")
                left.remove(column)
    decimal = _decimal(profiled)
    guesses: dict[str, Feature | str] = {}
    for name in left:
        personal = table == "users" and name_score(name, "private") >= 2
        guesses[name] = "personal" if personal else feature_guess(name, rows[name], decimal)
    return [*lines, *_features(guesses)]


def _features(guesses: dict[str, Feature | str]) -> list[str]:
    lines, taken = [], set[str]()
    for name, guess in guesses.items():
        if isinstance(guess, str):
            continue
        label = base = "_".join(words(name))[:60] or "feature"
        number = 2
        while label in taken:
            label, number = f"{base}_{number}", number + 1
        taken.add(label)
        lines += [f"    {_quoted(label)}:", f"      column: {_quoted(name)}", f"      kind: {guess.kind}"]
        if guess.kind == "multi":
            lines.append(f"      separator: {json.dumps(guess.separator)}")
    left_out = [
        f"  # Left out: {json.dumps(name, ensure_ascii=False)} ({why})"
        for name, why in guesses.items()
        if isinstance(why, str)
    ]
    return [*(["  features:", *lines] if lines else []), *left_out]


def _are_few(column: pd.Series) -> bool:
    filled = column.dropna()
    return not len(filled) or filled.astype(str).nunique() < min(0.3 * len(filled), 50)


def _ids(column: pd.Series) -> pd.Series:
    """Ids as `fetch` will write them."""
    import pyarrow as pa

    plain = column.astype(str).where(column.notna()) if column.dtype == object else column
    text: pd.Series = as_ids(pa.chunked_array([pa.array(plain, from_pandas=True)])).to_pandas()
    return text


def _list(values: tuple[str, ...] | list[str]) -> str:
    return "[" + ", ".join(json.dumps(value, ensure_ascii=False) for value in values) + "]"


def _quoted(text: str) -> str:
    """A YAML scalar that stays text: quoted unless it is a plain word."""
    reserved = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}
    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9_./-]*", text) and text.lower() not in reserved
    return text if plain else json.dumps(text, ensure_ascii=False)

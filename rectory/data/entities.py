"""From the raw item or user table to the canonical one: an id, what people see, and features by name."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from rectory.arrays import Array, BoolArray
from rectory.data.canonical import LeftOut, decimal_mark, require_columns
from rectory.data.card import UNREADABLE, Card, Entities, Feature
from rectory.data.cells import Texts, read_numbers, read_texts
from rectory.data.forgotten import FORGOTTEN, Forgotten
from rectory.data.outcome import Fate, Outcome, settle
from rectory.data.row_filters import apply_filter
from rectory.data.schema import faulty_entities
from rectory.errors import CardError, DataError

_NOBODY = Forgotten()
ID_COLUMNS = {"items": "item_id", "users": "user_id"}
_WORDS_OF_AVAILABILITY = {
    **dict.fromkeys(("true", "t", "yes", "y", "on", "available"), True),
    **dict.fromkeys(("false", "f", "no", "n", "off", "unavailable"), False),
}


def entity_columns(entities: Entities) -> dict[str, str]:
    """Card key -> raw column that it names."""
    named = {
        "id": entities.id,
        "title": entities.title,
        "image": entities.image,
        "available": entities.available,
        **{f"features.{name}.column": feature.column for name, feature in entities.features.items()},
    }
    return {key: column for key, column in named.items() if column is not None}


def canonical_entities(
    card: Card, table: str, raw: pd.DataFrame, forgotten: Forgotten = _NOBODY
) -> tuple[Outcome, list[LeftOut]]:
    """One row an id, sorted by id.

    Args:
        table: items | users.
        forgotten: users who leave the user table.
    Returns:
        The table, and the ids that each of its filters leaves out.
    """
    entities: Entities = getattr(card, table)
    _check_names(card, table, entities)
    require_columns(card, table, entity_columns(entities), raw)
    raw = raw.reset_index(drop=True)
    line_read = raw[UNREADABLE].isna().to_numpy() if UNREADABLE in raw.columns else np.ones(len(raw), dtype=bool)
    ids = read_texts(raw[entities.id])
    fate = Fate(len(raw))
    if table == "users":
        fate.leave_out(np.append(forgotten.among(ids.distinct), False)[ids.codes], FORGOTTEN, if_any=True)
    filter_read, left_out = _apply_filters(card, table, raw, fate, line_read=line_read, ids=ids)

    rows = np.flatnonzero(fate.left)
    codes = pd.Series(ids.codes[rows])
    parsed = pd.DataFrame(
        {
            "id": Texts(ids.codes[rows], ids.distinct).category(),
            "line_read": line_read[rows],
            "filter_read": filter_read[rows],
            # The first row of an id is kept: the order of an export is the only hint there is.
            "distinct": ~codes.duplicated().to_numpy(),
        }
    )
    faults = faulty_entities(parsed)
    good = np.ones(len(rows), dtype=bool)
    good[faults.index.to_numpy()] = False
    kept_rows = rows[good]
    kept_rows = kept_rows[np.argsort(ids.codes[kept_rows], kind="stable")]
    kept, nulled = _features(entities, raw.iloc[kept_rows].reset_index(drop=True), decimal_mark(card, table))
    kept.insert(0, ID_COLUMNS[table], ids.text()[kept_rows])
    return settle(table, raw, fate, kept, bad=rows[~good], reasons=faults.to_numpy(), nulled=nulled), left_out


def feature_kinds(entities: Entities) -> dict[str, str]:
    """Canonical column -> kind, in the order of the table's columns (without the id)."""
    kinds = {name: "text" for name in ("title", "image") if getattr(entities, name) is not None}
    return kinds | {name: feature.kind for name, feature in entities.features.items()}


def _check_names(card: Card, table: str, entities: Entities) -> None:
    taken = {ID_COLUMNS[table]: None, "title": entities.title, "image": entities.image}
    for name, feature in entities.features.items():
        if name == "available":
            raise CardError(
                f"{card.name}: a feature cannot be called `available`, which is the key of items that have left the "
                f"catalogue: rename `{table}.features.available`."
            )
        # A title may be shown and learned from; it is then one column.
        same = feature.column == taken.get(name) and feature.kind in ("text", "categorical")
        if name in taken and not same and (taken[name] is not None or name == ID_COLUMNS[table]):
            raise CardError(
                f"{card.name}: `{table}.features.{name}` has the name of another column of the table; rename it."
            )


def _apply_filters(
    card: Card, table: str, raw: pd.DataFrame, fate: Fate, *, line_read: BoolArray, ids: Texts
) -> tuple[BoolArray, list[LeftOut]]:
    read = np.ones(len(raw), dtype=bool)
    left_out = []
    for place, row_filter in enumerate(card.interactions.filters):
        if row_filter.table != table:
            continue
        found = apply_filter(raw, fate.left & line_read, row_filter, decimal_mark(card, table))
        read &= ~found.unreadable
        fate.leave_out(found.fails, row_filter.reason)
        codes = np.unique(ids.codes[found.fails])
        left_out.append(LeftOut(place, row_filter.reason, frozenset(ids.distinct[codes[codes >= 0]].tolist())))
    return read, left_out


def _features(entities: Entities, raw: pd.DataFrame, decimal: str) -> tuple[pd.DataFrame, dict[str, int]]:
    columns: dict[str, Array] = {}
    nulled: dict[str, int] = {}
    for name in ("title", "image"):
        column = getattr(entities, name)
        if column is not None:
            columns[name] = read_texts(raw[column]).text()
    if entities.available is not None:
        columns["available"] = _available(entities.available, raw[entities.available], decimal)
    for name, feature in entities.features.items():
        columns[name], nulled[name] = _feature(feature, raw[feature.column], decimal)
    return pd.DataFrame(columns, index=raw.index), nulled


def _available(name: str, column: pd.Series, decimal: str) -> Array:
    """(n,) object array of True, False, or None where nothing is written.

    Raises:
        DataError: a cell that is neither a number nor one of the usual words.
    """
    texts = read_texts(column)
    distinct = pd.Series(texts.distinct, dtype=object)
    numbers, _ = read_numbers(distinct, decimal)
    words = distinct.str.lower().map(_WORDS_OF_AVAILABILITY).to_numpy(dtype=object)
    said = np.where(np.isfinite(numbers), numbers > 0, words)
    unread = [text for text, value in zip(texts.distinct, said, strict=True) if not isinstance(value, bool | np.bool_)]
    if unread:
        raise DataError(
            f"column {name!r}, which `items.available` names, has {', '.join(map(repr, unread[:3]))}: write true or "
            "false (yes or no), or a number that is above 0 while the item can be had. Leave the key out of the card "
            "if the column says something else."
        )
    return np.append(said, np.asarray([None], dtype=object))[texts.codes]


def _feature(feature: Feature, column: pd.Series, decimal: str) -> tuple[Array, int]:
    """(n,) cells and how many of them were given up."""
    if feature.kind == "numeric":
        numbers, written = read_numbers(column, decimal)
        finite = np.isfinite(numbers)
        return np.where(finite, numbers, np.nan), int((written & ~finite).sum())
    if feature.kind == "multi":
        return _lists(column, feature.separator), 0
    return read_texts(column).text(), 0


def _lists(column: pd.Series, separator: str) -> Array:
    """(n,) object array of lists of distinct texts in the order written; None where there is none."""
    joined = column.map(
        lambda cell: separator.join(str(part) for part in cell) if isinstance(cell, list | tuple | np.ndarray) else cell
    )
    texts = read_texts(joined)
    split = np.empty(len(texts.distinct) + 1, dtype=object)
    for place, text in enumerate(texts.distinct):
        parts = list(dict.fromkeys(part.strip() for part in text.split(separator) if part.strip()))
        split[place] = parts or None
    split[-1] = None
    return split[texts.codes]


def arrow_types(kinds: Mapping[str, str]) -> dict[str, str]:
    """Canonical column -> text | list, for those whose type an empty column would not show."""
    return {name: "list" if kind == "multi" else "text" for name, kind in kinds.items() if kind != "numeric"}

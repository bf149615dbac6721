"""From raw columns to the canonical interactions: user_id, item_id, timestamp, event, value and context columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from rectory.arrays import Array, BoolArray
from rectory.data.card import UNREADABLE, Card, EventsSource, SqlSource
from rectory.data.cells import Texts, numbers_or_texts, read_numbers, read_texts, shown
from rectory.data.corrections import DELETED, SET_ASIDE, SOURCE_FILE, SUPERSEDED, Versions, bad_files
from rectory.data.forgotten import FORGOTTEN, Forgotten
from rectory.data.outcome import Fate, Outcome, settle
from rectory.data.row_filters import apply_filter
from rectory.data.schema import faulty_interactions
from rectory.data.timestamps import Moments, parse_timestamps
from rectory.errors import CardError, DataError

AFTER_AS_OF = "after as_of"
CANONICAL = ("user_id", "item_id", "timestamp", "event", "value")


@dataclass(frozen=True)
class LeftOut:
    """Ids that a filter of the item or user table leaves out, in the card's order of filters."""

    place: int
    reason: str
    ids: frozenset[str]


@dataclass(frozen=True)
class Limits:
    """as_of: nothing after it is looked at. newest: a row after it lies in the future.

    max_bad_share: a file of several with a larger share of bad rows is set aside as a whole.
    """

    as_of: pd.Timestamp | None
    newest: pd.Timestamp
    quarantine_duplicates: bool
    max_bad_share: float = 1.0
    forgotten: Forgotten = field(default_factory=Forgotten)


def decimal_mark(card: Card, table: str) -> str:
    """Decimal mark of a table's numbers; databases have their own types."""
    if isinstance(card.source, SqlSource | EventsSource):
        return "."
    file = getattr(card.source, table)
    return "." if file is None else str(file.decimal)


def interactions_columns(card: Card) -> dict[str, str]:
    """Card key -> raw column that it names."""
    log = card.interactions
    named = {
        "user_id": log.user_id,
        "item_id": log.item_id,
        "timestamp.column": log.timestamp.column,
        "event": log.event,
        "value": log.value,
        "row_id": log.row_id,
        "updated_at.column": log.updated_at.column if log.updated_at else None,
        "deleted": log.deleted,
        **{f"context.{name}": column for name, column in log.context.items()},
    }
    return {key: column for key, column in named.items() if column is not None}


def require_columns(card: Card, table: str, named: Mapping[str, str], raw: pd.DataFrame) -> None:
    """Raises:
    DataError: the table is empty or lacks a column that the card names.
    """
    missing = {key: column for key, column in named.items() if column not in raw.columns}
    if missing:
        has = sorted(str(name) for name in raw.columns if name != UNREADABLE)
        faults = ", ".join(f"{column!r} (`{key}`)" for key, column in missing.items())
        raise DataError(
            f"{card.name}: column(s) {faults} not found in the {table} table; it has {has}. "
            f"Map them under `{table}:` in datasets/{card.name}.yaml."
        )
    if table == "interactions" and raw.empty:
        raise DataError(
            f"{card.name}: the interactions table is empty, there is not one row to learn from. Look at what "
            f"`source.interactions` in datasets/{card.name}.yaml names."
        )


def canonical_interactions(
    card: Card, raw: pd.DataFrame, limits: Limits, left_out: Mapping[str, list[LeftOut]]
) -> tuple[Outcome, Moments]:
    """Interactions sorted by (timestamp, user_id, item_id, order of the source).

    Args:
        raw: the source's columns.
        left_out: "items" | "users" -> ids that filters of those tables leave out.
    """
    log = card.interactions
    clash = sorted(set(log.context) & set(CANONICAL))
    if clash:
        raise CardError(f"{card.name}: `interactions.context` cannot be named {clash}; choose other names.")
    require_columns(card, "interactions", interactions_columns(card), raw)
    raw = raw.reset_index(drop=True)
    line_read = raw[UNREADABLE].isna().to_numpy() if UNREADABLE in raw.columns else np.ones(len(raw), dtype=bool)
    moments = parse_timestamps(raw[log.timestamp.column], log.timestamp)
    users, items = read_texts(raw[log.user_id]), read_texts(raw[log.item_id])

    versions = Versions.of(card, raw)
    fate = Fate(len(raw))
    if limits.as_of is not None:
        # First of all: what came later must not even change which rows are called bad.
        later = (moments.times > limits.as_of).to_numpy(dtype=bool) | versions.later_than(limits.as_of)
        fate.leave_out(later, AFTER_AS_OF)
    known = fate.left
    fate.leave_out(_forgotten(raw, users, line_read, limits.forgotten), FORGOTTEN, if_any=True)
    fate.leave_out(versions.deleted, DELETED, if_any=True)
    filter_read = _apply_filters(card, raw, fate, line_read, ids={"users": users, "items": items}, left_out=left_out)

    rows = np.flatnonzero(fate.left)
    parsed = _parsed(card, raw, rows, moments, users=users, items=items)
    parsed["line_read"] = line_read[rows]
    parsed["filter_read"] = filter_read[rows]
    parsed["distinct"] = True
    if limits.quarantine_duplicates:
        repeated = _repeated(raw.drop(columns=SOURCE_FILE, errors="ignore"), rows, users, items, moments)
        # A row with an identity is told from its twins by that: the last one counts, see below.
        parsed["distinct"] = ~(repeated if versions.row is None else repeated & (versions.row[rows] < 0))
    faults = _with_bad_files(raw, rows, faulty_interactions(parsed, limits.newest, log.value_as_weight), limits)
    good = np.ones(len(rows), dtype=bool)
    good[faults.index.to_numpy()] = False
    bad = rows[~good]

    known[bad] = False
    corrected, deleted = versions.overruled(known & ~_in_files_of(raw, bad, faults))
    fate.leave_out(corrected, SUPERSEDED, if_any=True)
    fate.leave_out(deleted, DELETED, if_any=True)
    good &= fate.left[rows]
    kept = parsed.loc[good, list(CANONICAL)]
    nulled: dict[str, int] = {}
    for name, column in log.context.items():
        values, lost = numbers_or_texts(raw[column].iloc[rows[good]].reset_index(drop=True), _decimal(card))
        kept[name], nulled[name] = values.to_numpy(), int(lost.sum())
    outcome = settle("interactions", raw, fate, _sorted(kept), bad=bad, reasons=faults.to_numpy(), nulled=nulled)
    return outcome, moments


def _forgotten(raw: pd.DataFrame, users: Texts, line_read: BoolArray, forgotten: Forgotten) -> BoolArray:
    """(n,) bool: rows of users who are to be forgotten, lines that could not be read included."""
    rows = np.append(forgotten.among(users.distinct), False)[users.codes]
    torn = np.flatnonzero(~line_read)
    if len(torn):
        rows[torn] = forgotten.in_lines(raw[UNREADABLE].iloc[torn])
    return np.asarray(rows, dtype=bool)


def _with_bad_files(raw: pd.DataFrame, rows: Array, faults: pd.Series, limits: Limits) -> pd.Series:
    """The faults; for all rows of a file that is bad as a whole: that it is, and why."""
    if SOURCE_FILE not in raw.columns:
        return faults
    files = raw[SOURCE_FILE].iloc[rows].reset_index(drop=True)
    bad = np.zeros(len(rows), dtype=bool)
    bad[faults.index.to_numpy()] = True
    found = bad_files(files, bad, limits.max_bad_share)
    if not found:
        return faults
    most = faults.groupby(files.iloc[faults.index].to_numpy()).agg(lambda reasons: reasons.mode().iloc[0])
    out = files[files.isin(found)].astype(object)
    aside = out.map(lambda name: f"{SET_ASIDE}: {name} ({found[name]:.0%} of its rows are bad, most: {most[name]})")
    both: pd.Series = pd.concat([faults[~faults.index.isin(aside.index)], aside]).sort_index()
    return both


def _in_files_of(raw: pd.DataFrame, bad: Array, faults: pd.Series) -> BoolArray:
    """(n,) bool: rows of files that were set aside; what they delete or correct is not to be trusted either."""
    if SOURCE_FILE not in raw.columns or not len(bad):
        return np.zeros(len(raw), dtype=bool)
    aside = bad[faults.astype(str).str.startswith(SET_ASIDE).to_numpy()]
    return raw[SOURCE_FILE].isin(raw[SOURCE_FILE].iloc[aside].unique()).to_numpy(dtype=bool)


def _decimal(card: Card) -> str:
    return decimal_mark(card, "interactions")


def _apply_filters(
    card: Card,
    raw: pd.DataFrame,
    fate: Fate,
    line_read: BoolArray,
    *,
    ids: Mapping[str, Texts],
    left_out: Mapping[str, list[LeftOut]],
) -> BoolArray:
    """Leave rows out by the card's filters; gives (n,) bool: every number that a filter looks at could be read."""
    read = np.ones(len(raw), dtype=bool)
    for place, row_filter in enumerate(card.interactions.filters):
        if row_filter.table == "interactions":
            found = apply_filter(raw, fate.left & line_read, row_filter, _decimal(card))
            read &= ~found.unreadable
            fate.leave_out(found.fails, row_filter.reason)
            continue
        texts = ids[row_filter.table]
        for exclusion in left_out[row_filter.table]:
            if exclusion.place == place:
                out = np.asarray([text in exclusion.ids for text in texts.distinct] + [False], dtype=bool)
                fate.leave_out(out[texts.codes], row_filter.reason)
    return read


def _parsed(
    card: Card, raw: pd.DataFrame, rows: Array, moments: Moments, *, users: Texts, items: Texts
) -> pd.DataFrame:
    log = card.interactions
    if log.event is None:
        events = pd.Categorical([log.default_event] * len(rows), categories=[log.default_event])
    else:
        texts = read_texts(raw[log.event])
        events = Texts(texts.codes[rows], texts.distinct).category()
    values, value_written = np.ones(len(raw)), np.ones(len(raw), dtype=bool)
    if log.value is not None:
        values, value_written = read_numbers(raw[log.value], _decimal(card))
    return pd.DataFrame(
        {
            "user_id": Texts(users.codes[rows], users.distinct).category(),
            "item_id": Texts(items.codes[rows], items.distinct).category(),
            "timestamp": moments.times.iloc[rows].reset_index(drop=True),
            "event": events,
            "value": values[rows],
            "value_written": value_written[rows],
            "timestamp_written": ~moments.missing.to_numpy(dtype=bool)[rows],
        }
    )


def _repeated(raw: pd.DataFrame, rows: Array, users: Texts, items: Texts, moments: Moments) -> BoolArray:
    """(len(rows),) bool: equal in every raw column to an earlier one of these rows."""
    pair = users.codes[rows] * (len(items.distinct) + 1) + items.codes[rows]
    # Comparing every column of every row is slow; only rows that share user, item and moment can be equal.
    keys = pd.DataFrame({"pair": pair, "time": moments.times.iloc[rows].to_numpy(dtype="datetime64[ns]")})
    maybe = np.flatnonzero(keys.duplicated(keep=False).to_numpy())
    repeated = np.zeros(len(rows), dtype=bool)
    if len(maybe):
        # As text, because cells of a document store may be lists.
        repeated[maybe] = shown(raw.iloc[rows[maybe]]).duplicated().to_numpy()
    return repeated


def _sorted(kept: pd.DataFrame) -> pd.DataFrame:
    """By time, then user, then item; lexsort is stable, so the source's order decides the rest."""
    users, items = kept["user_id"].cat, kept["item_id"].cat
    # Categories are sorted by code point, so codes compare as the ids do.
    order = np.lexsort(
        (items.codes.to_numpy(), users.codes.to_numpy(), kept["timestamp"].to_numpy(dtype="datetime64[ns]"))
    )
    kept = kept.iloc[order].reset_index(drop=True)
    for name in ("user_id", "item_id"):
        kept[name] = np.asarray(kept[name].cat.categories.to_numpy()[kept[name].cat.codes.to_numpy()], dtype=object)
    kept["event"] = kept["event"].cat.remove_unused_categories()
    kept["value"] = kept["value"].astype(np.float32)
    return kept

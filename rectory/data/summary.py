"""What is in the canonical tables: the facts behind the report's data summary and the next snapshot's checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from rectory.arrays import Array
from rectory.data.card import Card
from rectory.data.entities import ID_COLUMNS

NEWEST_DAYS = 7.0
_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
_HEAD_SHARES = (0.01, 0.1, 0.2)
_TOP_ITEMS = 10
_SECONDS_PER_DAY = 86_400.0


def summarise(card: Card, tables: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """Facts of the kept rows; JSON-able. An empty log has counts only."""
    log = tables["interactions"]
    if log.empty:
        return {"users": 0, "items": 0, "interactions": 0, "events": {}}
    user_codes, users = pd.factorize(log["user_id"])
    item_codes, items = pd.factorize(log["item_id"])
    per_user, per_item = np.bincount(user_codes), np.bincount(item_codes)
    first, last = log["timestamp"].iloc[0], log["timestamp"].iloc[-1]
    span_days = (last - first).total_seconds() / _SECONDS_PER_DAY
    pairs = user_codes * len(items) + item_codes
    facts: dict[str, Any] = {
        "users": len(users),
        "items": len(items),
        "interactions": len(log),
        "events": {str(event): int(count) for event, count in log["event"].value_counts(sort=False).items()},
        "first": first.isoformat(),
        "last": last.isoformat(),
        "span_days": round(span_days, 3),
        "rows_per_day": _rate(len(log), span_days),
        **_newest(log, last, span_days),
        "periods": _periods(log, span_days),
        "interactions_per_user": _spread(per_user),
        "interactions_per_item": _spread(per_item),
        "top_item_shares": _head_shares(per_item),
        "item_gini": _gini(per_item),
        "repeat_share": round(1 - pd.unique(pairs).size / len(log), 6),
        "value": _numbers(log["value"].to_numpy(dtype=np.float64)) if card.interactions.value else None,
        "top_items": _top_items(per_item, items, tables.get("items")),
        "context": {name: _column(log[name]) for name in card.interactions.context},
    }
    for table, codes, known in (("items", item_codes, items), ("users", user_codes, users)):
        if table in tables:
            facts[f"{table}_table"] = _entities(card, table, tables[table], codes, known)
    return facts


def _rate(rows: int, days: float) -> float:
    """Rows per day; a log shorter than a day counts as one day."""
    return round(rows / max(days, 1.0), 3)


def _newest(log: pd.DataFrame, last: pd.Timestamp, span_days: float) -> dict[str, Any]:
    days = min(NEWEST_DAYS, max(span_days, 1.0))
    start = int(log["timestamp"].searchsorted(last - pd.Timedelta(days=days), side="right"))
    newest = log.iloc[start:]
    return {
        "newest_days": round(days, 3),
        "newest_rows_per_day": _rate(len(newest), days),
        "newest_events": {
            str(event): round(float(share), 6)
            for event, share in newest["event"].value_counts(normalize=True, sort=False).items()
        },
    }


def _periods(log: pd.DataFrame, span_days: float) -> dict[str, Any]:
    """Rows and users by day, week or month, whichever gives a readable number of bars."""
    unit, frequency = ("day", "D") if span_days <= 62 else ("week", "W-MON") if span_days <= 400 else ("month", "MS")
    moments = log["timestamp"].dt.tz_localize(None)
    if unit == "day":
        starts = moments.dt.normalize()
    elif unit == "week":
        starts = moments.dt.normalize() - pd.to_timedelta(moments.dt.weekday, unit="D")
    else:
        starts = moments.to_numpy().astype("datetime64[M]").astype("datetime64[ns]")
    frame = pd.DataFrame({"start": starts, "user": pd.factorize(log["user_id"])[0]})
    grouped = frame.groupby("start")["user"].agg(["size", "nunique"])
    # Periods without a row are bars of height zero, not gaps in the axis.
    grouped = grouped.reindex(pd.date_range(grouped.index[0], grouped.index[-1], freq=frequency), fill_value=0)
    return {
        "unit": unit,
        "start": [str(start.date()) for start in grouped.index],
        "rows": grouped["size"].tolist(),
        "users": grouped["nunique"].tolist(),
    }


def _spread(counts: Array) -> dict[str, float]:
    quantiles = np.quantile(counts, _QUANTILES)
    named = {f"p{round(100 * q)}": round(float(value), 3) for q, value in zip(_QUANTILES, quantiles, strict=True)}
    return {"mean": round(float(counts.mean()), 3), **named, "max": int(counts.max())}


def _head_shares(per_item: Array) -> dict[str, float]:
    """Share of the rows that fall on the most popular 1%, 10% and 20% of the items (at least one item)."""
    ordered = np.sort(per_item)[::-1]
    heads = {share: max(1, round(share * len(ordered))) for share in _HEAD_SHARES}
    return {f"{share:g}": round(float(ordered[:head].sum() / ordered.sum()), 6) for share, head in heads.items()}


def _gini(counts: Array) -> float:
    """0 when all items are equally popular, near 1 when one has everything."""
    ordered = np.sort(counts).astype(np.float64)
    n = len(ordered)
    return round(float((2 * np.arange(1, n + 1) - n - 1) @ ordered / (n * ordered.sum())), 6)


def _numbers(values: Array) -> dict[str, float]:
    found = values[np.isfinite(values)]
    if not len(found):
        return {}
    named = dict(zip(("min", "p50", "p99", "max"), np.quantile(found, (0, 0.5, 0.99, 1)), strict=True))
    return {"mean": round(float(found.mean()), 6), **{name: round(float(value), 6) for name, value in named.items()}}


def _column(column: pd.Series) -> dict[str, Any]:
    facts: dict[str, Any] = {"null_share": round(float(column.isna().mean()), 6) if len(column) else 0.0}
    if column.dtype.kind == "f":
        return facts | _numbers(column.to_numpy(dtype=np.float64))
    distinct = column.map(tuple, na_action="ignore") if _holds_lists(column) else column
    return facts | {"distinct": int(distinct.nunique())}


def _holds_lists(column: pd.Series) -> bool:
    written = column.dropna()
    return bool(len(written)) and isinstance(written.iloc[0], list)


def _entities(card: Card, table: str, frame: pd.DataFrame, codes: Array, known: pd.Index) -> dict[str, Any]:
    """Coverage of the log by the table, and how well each feature is filled."""
    has_row = np.asarray(known.isin(frame[ID_COLUMNS[table]]), dtype=bool)
    return {
        "rows": len(frame),
        "covered_rows_share": round(float(has_row[codes].mean()), 6),
        "covered_ids_share": round(float(has_row.mean()), 6),
        "features": {
            name: {"kind": feature.kind, **_column(frame[name])}
            for name, feature in getattr(card, table).features.items()
        },
    }


def _top_items(per_item: Array, items: pd.Index, table: pd.DataFrame | None) -> list[dict[str, Any]]:
    titles = {}
    if table is not None and "title" in table.columns:
        titles = table.set_index("item_id")["title"].to_dict()
    # By count, ties by id, so that equal logs name the same items.
    order = sorted(np.argsort(-per_item, kind="stable")[: 10 * _TOP_ITEMS], key=lambda i: (-per_item[i], items[i]))
    return [{"item_id": items[i], "title": titles.get(items[i]), "rows": int(per_item[i])} for i in order[:_TOP_ITEMS]]

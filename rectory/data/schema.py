"""What a good row is. Each fault has one name, the reason that stands in the quarantine; all are found at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from rectory.data.cells import usable

UNREADABLE_LINE = "unreadable line"
UNREADABLE_FILTER_NUMBER = "unreadable number in a filter's column"
DUPLICATE_ROW = "duplicate row"
DUPLICATE_ID = "duplicate id"

INTERACTION_REASONS = (
    UNREADABLE_LINE,
    "missing user id",
    "missing item id",
    "unusable user id",
    "unusable item id",
    "missing timestamp",
    "unreadable timestamp",
    "timestamp before 1970",
    "timestamp in the future",
    "missing event",
    "unusable event",
    "missing value",
    "unreadable value",
    "negative value as weight",
    UNREADABLE_FILTER_NUMBER,
    DUPLICATE_ROW,
)
"""In the order in which a row is looked at: it goes to quarantine with the first one that holds."""

ENTITY_REASONS = (UNREADABLE_LINE, "missing id", "unusable id", UNREADABLE_FILTER_NUMBER, DUPLICATE_ID)

_PIECE_ROWS = 2_000_000
_FIRST_MOMENT = pd.Timestamp(0, tz="UTC")


def faulty_interactions(frame: pd.DataFrame, newest: pd.Timestamp, weights: bool) -> pd.Series:
    """First reason of each bad row.

    Args:
        frame: RangeIndex; user_id, item_id, event (category), timestamp (datetime64[ns, UTC]), value (float64) and the
            bool columns line_read, timestamp_written, value_written, filter_read, distinct.
        newest: moment after which a row lies in the future.
        weights: values are training weights and so may not be negative.
    Returns:
        (n_bad,) reason by row, in order of rows.
    """
    reasons: dict[str, list[tuple[str, Callable[[pd.Series], Any]]]] = {
        "line_read": [(UNREADABLE_LINE, _holds)],
        "user_id": [("missing user id", pd.Series.notna), ("unusable user id", _usable)],
        "item_id": [("missing item id", pd.Series.notna), ("unusable item id", _usable)],
        "timestamp_written": [("missing timestamp", _holds)],
        "timestamp": [
            ("unreadable timestamp", pd.Series.notna),
            ("timestamp before 1970", lambda times: times.isna() | (times >= _FIRST_MOMENT)),
            ("timestamp in the future", lambda times: times.isna() | (times <= newest)),
        ],
        "event": [("missing event", pd.Series.notna), ("unusable event", _usable)],
        "value_written": [("missing value", _holds)],
        "value": [
            ("unreadable value", lambda values: np.isfinite(values) & (values.abs() <= np.finfo(np.float32).max)),
            *([("negative value as weight", lambda values: ~(values < 0))] if weights else []),
        ],
        "filter_read": [(UNREADABLE_FILTER_NUMBER, _holds)],
        "distinct": [(DUPLICATE_ROW, _holds)],
    }
    # A piece at a time: one flag for each row and reason at once would be the largest thing in memory.
    pieces = [frame.iloc[start : start + _PIECE_ROWS] for start in range(0, len(frame), _PIECE_ROWS)] or [frame]
    found: pd.Series = pd.concat([_first_reasons(piece, reasons, INTERACTION_REASONS) for piece in pieces])
    return found


def faulty_entities(frame: pd.DataFrame) -> pd.Series:
    """First reason of each bad row of an item or user table: id (category), line_read, filter_read, distinct."""
    reasons: dict[str, list[tuple[str, Callable[[pd.Series], Any]]]] = {
        "line_read": [(UNREADABLE_LINE, _holds)],
        "id": [("missing id", pd.Series.notna), ("unusable id", _usable)],
        "filter_read": [(UNREADABLE_FILTER_NUMBER, _holds)],
        "distinct": [(DUPLICATE_ID, _holds)],
    }
    return _first_reasons(frame, reasons, ENTITY_REASONS)


def _first_reasons(
    frame: pd.DataFrame,
    reasons: dict[str, list[tuple[str, Callable[[pd.Series], Any]]]],
    order: Sequence[str],
) -> pd.Series:
    import pandera.pandas as pa
    from pandera.errors import SchemaErrors

    # pandera sees one bool column a reason, not the values: it prints failing values, and cannot print every kind.
    verdicts = pd.DataFrame(
        {
            reason: np.asarray(check(frame[column]), dtype=bool)
            for column, checks in reasons.items()
            for reason, check in checks
        },
        index=frame.index,
    )
    schema = pa.DataFrameSchema({reason: pa.Column(bool, pa.Check(_holds, error=reason)) for reason in verdicts})
    try:
        schema.validate(verdicts, lazy=True)
    except SchemaErrors as errors:
        failed = errors.failure_cases
    else:
        return pd.Series([], dtype=object, index=pd.Index([], dtype=np.int64))
    rank = failed["check"].map({reason: place for place, reason in enumerate(order)})
    if rank.isna().any() or failed["index"].isna().any():
        # Not a row's fault but ours: a check that itself broke.
        broken = failed.loc[rank.isna() | failed["index"].isna(), "check"].iloc[0]
        raise RuntimeError(f"the row check {broken!r} could not be run")
    first = rank.astype(np.int64).groupby(failed["index"].astype(np.int64)).min()
    return pd.Series(np.asarray(order, dtype=object)[first.to_numpy()], index=pd.Index(first.index, dtype=np.int64))


def _holds(values: pd.Series) -> pd.Series:
    return values


def _usable(values: pd.Series) -> pd.Series:
    """Looks at distinct texts only; a missing one is another check's business."""
    fine = np.asarray([usable(text) for text in values.cat.categories] + [True], dtype=bool)
    return pd.Series(fine[values.cat.codes.to_numpy()], index=values.index)

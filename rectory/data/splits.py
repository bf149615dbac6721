"""Global windows in time: train < valid < test. No moment lies in two windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from rectory.errors import DataError
from rectory.params.sections import SplitParams


@dataclass(frozen=True)
class Split:
    """Three windows of canonical interactions, each sorted by time, and split.json's facts."""

    train: pd.DataFrame
    valid: pd.DataFrame
    test: pd.DataFrame
    facts: dict[str, Any]


def temporal_split(interactions: pd.DataFrame, params: SplitParams) -> Split:
    """Cut a log at two moments.

    A share is a share of the rows, counted from the newest; the cut goes to the moment that comes closest to it, before
    all rows of that moment. Days are counted back from the newest row, which lies in the test window.

    Args:
        interactions: canonical columns, sorted by timestamp.
        params: `test_days`, `valid_days` replace the shares; `history_days` drops older rows.
    Raises:
        DataError: a window would be empty; says which key to change.
    """
    times = interactions["timestamp"]
    if interactions.empty or times.iloc[0] == times.iloc[-1]:
        raise DataError(
            f"the log has {len(interactions):,} rows and not two different timestamps: it cannot be cut into train, "
            "valid and test windows. Bring a log with the real time of each interaction."
        )
    test_start = _cut(times, params.test_share, params.test_days)
    before = int(times.searchsorted(test_start, side="left"))
    first = 0
    if params.history_days is not None:
        first = int(times.searchsorted(test_start - pd.Timedelta(days=params.history_days), side="left"))
    past = times.iloc[first:before]
    if past.empty or past.iloc[0] == past.iloc[-1]:
        raise _empty(
            "train", times, params, f"before the test window, {test_start.isoformat()}, there is no time to cut"
        )
    valid_start = _cut(past, params.valid_share, params.valid_days, end=test_start)
    middle = int(times.searchsorted(valid_start, side="left"))
    windows = {
        "train": interactions.iloc[first:middle],
        "valid": interactions.iloc[middle:before],
        "test": interactions.iloc[before:],
    }
    for name, window in windows.items():
        if window.empty:
            raise _empty(name, times, params, "it would hold no row and so no user")
    facts = {
        "train_start": windows["train"]["timestamp"].iloc[0].isoformat(),
        "valid_start": valid_start.isoformat(),
        "test_start": test_start.isoformat(),
        "test_end": times.iloc[-1].isoformat(),
        "rows": {name: len(window) for name, window in windows.items()},
        "users": {name: int(window["user_id"].nunique()) for name, window in windows.items()},
        "items": {name: int(window["item_id"].nunique()) for name, window in windows.items()},
        "rows_before_history": first,
    }
    frames = {name: window.reset_index(drop=True) for name, window in windows.items()}
    return Split(frames["train"], frames["valid"], frames["test"], facts)


def without_test(
    interactions: pd.DataFrame, end: pd.Timestamp, params: SplitParams
) -> tuple[pd.DataFrame, pd.Timestamp]:
    """All rows before `end` for training, none kept for a test: for a model that serves from `end` on.

    Args:
        interactions: canonical columns, sorted by timestamp, none after `end`.
        params: the validation window and `history_days` are counted back from `end`.
    Returns:
        the rows, and where the validation window starts.
    Raises:
        DataError: there is no time to cut.
    """
    times = interactions["timestamp"]
    first = 0
    if params.history_days is not None:
        first = int(times.searchsorted(end - pd.Timedelta(days=params.history_days), side="left"))
    rows = interactions.iloc[first:]
    if rows.empty or rows["timestamp"].iloc[0] == rows["timestamp"].iloc[-1]:
        raise DataError(
            f"before {end.isoformat()} the log has {len(rows):,} rows and not two different timestamps: nothing can be "
            "trained. Choose a later as_of, or raise split.history_days."
        )
    return rows.reset_index(drop=True), _cut(rows["timestamp"], params.valid_share, params.valid_days, end=end)


def _cut(times: pd.Series, share: float, days: float | None, end: pd.Timestamp | None = None) -> pd.Timestamp:
    """The moment at which the newest window of `times` starts; `end` is where it ends (default: after the last row)."""
    if days is not None:
        last = times.iloc[-1] if end is None else end
        start: pd.Timestamp = last - pd.Timedelta(days=days)
        return start
    place = min(len(times) - 1, max(1, round(len(times) * (1 - share))))
    moment = times.iloc[place]
    first, after = int(times.searchsorted(moment, side="left")), int(times.searchsorted(moment, side="right"))
    # All rows of one moment stay together, on the side that keeps the window's size closest to what was asked.
    if first == 0 or (after < len(times) and after - place < place - first):
        moment = times.iloc[after]
    return pd.Timestamp(moment)


def _empty(name: str, times: pd.Series, params: SplitParams, why: str) -> DataError:
    keys = {
        "train": "lower split.test_share / split.valid_share (or test_days / valid_days), or raise split.history_days",
        "valid": "raise split.valid_share or split.valid_days",
        "test": "raise split.test_share or split.test_days",
    }
    set_to = ", ".join(f"{key}={value}" for key, value in params.model_dump().items() if value is not None)
    return DataError(
        f"the {name} window is empty: {why}. The log has {len(times):,} rows from {times.iloc[0].isoformat()} to "
        f"{times.iloc[-1].isoformat()} and the split is {set_to}. In params.yaml {keys[name]}."
    )

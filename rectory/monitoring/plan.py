"""Which stretch of the log is compared with which: newest window, reference, and past pairs of the same shape."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import numpy as np
import pandas as pd

from rectory.errors import DataError
from rectory.monitoring.behaviour import ACTIVITY, HISTORY_COLUMNS, Column, Log, Windows
from rectory.monitoring.calibration import MIN_WINDOWS

_NANOSECONDS_PER_DAY = 86_400 * 10**9
# More reference windows than this do not make the reference steadier, only older.
_MAX_REFERENCE_WINDOWS = 8
# Minutes of two months. A newest window that is still shorter against its history is an accident: the log's last rows
# came after a lull.
_MOST_WINDOWS = 100_000


@dataclass(frozen=True)
class Plan:
    """Windows are numbered backwards from the newest, 0.

    columns: what is watched; columns that look back are left out when there is nothing to look back on.
    reference: windows that window 0 is compared with.
    pairs: (window, its reference windows) of the past, of the same length and the same distance in time; empty: too
        little history.
    notes: what a reader must know.
    """

    windows: Windows
    columns: tuple[Column, ...]
    reference: tuple[int, ...]
    pairs: tuple[tuple[int, tuple[int, ...]], ...]
    notes: tuple[str, ...]

    def moments(self, chosen: tuple[int, ...]) -> tuple[str, str]:
        """ISO start and end of windows that follow each other, [0] or the reference."""
        windows = self.windows
        newest, oldest = min(chosen), max(chosen)
        start = windows.start - oldest * windows.length
        end = windows.start - (newest - 1) * windows.length if newest else int(windows.log.time[-1])
        return pd.Timestamp(start, tz="UTC").isoformat(), pd.Timestamp(end, tz="UTC").isoformat()


def make_plan(
    log: Log,
    test_start: pd.Timestamp,
    *,
    trained_until: pd.Timestamp | None = None,
    window_days: float | None = None,
    calibration_windows: int = 12,
    sample_rows: int = 50_000,
    seed: int = 0,
) -> Plan:
    """Lay windows of one length over the log, backwards from its end.

    Args:
        test_start: the newest window starts here unless window_days says otherwise.
        trained_until: end of what the champion has seen; None: where the newest window starts.
        calibration_windows: at most so many past pairs.
    Raises:
        DataError: no row before or after the start of the newest window.
    """
    end = int(log.time[-1]) if len(log.time) else 0
    start = test_start.value if window_days is None else end - int(window_days * _NANOSECONDS_PER_DAY)
    length = max(end - start, 1)
    before = int(np.searchsorted(log.time, start, side="left"))
    if before == 0 or before == len(log.time):
        raise DataError(
            f"drift: the newest window, from {pd.Timestamp(start, tz='UTC')}, has {len(log.time) - before} of the "
            f"log's {len(log.time)} rows; both it and the time before it need some. Set drift.window_days or "
            "split.test_days."
        )
    # The oldest window of all is no window to compare: nothing tells new from known there.
    usable = (start - int(log.time[0])) // length - 1
    if usable < 1:
        return _against_all(log, start, "The history is shorter than two windows", sample_rows, seed)
    if usable > _MOST_WINDOWS:
        why = "The newest window is a moment against its history (drift.window_days makes it longer)"
        return _against_all(log, start, why, sample_rows, seed)
    notes: list[str] = []
    lag = _lag(start, length, trained_until, usable, notes)
    span = min(max((usable - lag) // 3, 1), _MAX_REFERENCE_WINDOWS)
    windows = Windows(log, start=start, length=length, count=usable, sample_rows=sample_rows, seed=seed)
    possible = [
        (window, tuple(range(window + lag + 1, window + lag + span + 1)))
        for window in range(1, usable - lag - span + 1)
    ]
    reference = tuple(range(lag + 1, lag + span + 1))
    pairs = list(islice((pair for pair in possible if _populated(windows, pair)), calibration_windows))
    if not _populated(windows, (0, reference)):
        why = "The windows before the newest hold no rows (drift.window_days makes them longer)"
        return _against_all(log, start, why, sample_rows, seed)
    if len(pairs) < MIN_WINDOWS:
        notes.append(
            f"Only {len(pairs)} past windows could be compared, {MIN_WINDOWS} are needed to learn thresholds: fixed "
            "ones are used. A smaller drift.window_days gives more windows."
        )
        pairs = []
    return Plan(windows, (*log.columns, *HISTORY_COLUMNS, ACTIVITY), reference, tuple(pairs), tuple(notes))


def _against_all(log: Log, start: int, why: str, sample_rows: int, seed: int) -> Plan:
    """The newest window against all that came before it; nothing to learn thresholds from."""
    length = start - int(log.time[0])
    windows = Windows(log, start=start, length=length, count=1, sample_rows=sample_rows, seed=seed)
    note = f"{why}: everything before the newest window is the reference, and columns that look back are left out."
    return Plan(windows, log.columns, (1,), (), (note,))


def _lag(start: int, length: int, trained_until: pd.Timestamp | None, usable: int, notes: list[str]) -> int:
    """Whole windows between the end of the champion's training and the newest window."""
    if trained_until is None or trained_until.value >= start:
        return 0
    gap = start - int(trained_until.value)
    lag = -(-gap // length)
    if lag >= usable:
        notes.append(
            f"The champion was trained until {trained_until.isoformat()}, before the windows of this log: the oldest "
            "whole windows are the reference."
        )
    return min(lag, usable - 1)


def _populated(windows: Windows, pair: tuple[int, tuple[int, ...]]) -> bool:
    """Both sides have rows (a shop may close for weeks)."""
    window, reference = pair

    def size(number: int) -> int:
        rows = windows.rows(number)
        return int(rows.stop) - int(rows.start)

    return size(window) > 0 and sum(size(number) for number in reference) > 0

"""The log as columns whose distribution can drift: what happened, at what price, when, by whom, with which items.

Ids are never columns: with thousands of values they "drift" between two halves of one day. What an id stands for is
watched instead: its category, its popularity rank, whether it is new.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from rectory.arrays import Array, Float64Array
from rectory.monitoring.distances import Method, jensen_shannon, psi, wasserstein

Kind = Literal["numeric", "categorical", "bucket", "share"]
METHODS: dict[Kind, Method] = {
    "numeric": "wasserstein",
    "categorical": "jensenshannon",
    "share": "jensenshannon",
    "bucket": "psi",
}
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
# Upper ends of the popularity buckets, as shares of the items known so far, most popular first.
_RANK_SHARES = (0.01, 0.05, 0.2, 0.5)
RANK_LABELS = ("top 1%", "1-5%", "5-20%", "20-50%", "50-100%", "new item")
OTHER = "(other)"
NONE = "(none)"
# Rarer values of the reference are put together as OTHER: their shares are noise.
_MAX_VALUES = 30
# Numbers beyond these quantiles of the reference are set to them.
_TAILS = (0.005, 0.995)


@dataclass(frozen=True)
class Column:
    """One watched column. labels: name of each code of a column that is not numeric."""

    name: str
    kind: Kind
    labels: tuple[str, ...] = ()

    @property
    def method(self) -> Method:
        return METHODS[self.kind]


@dataclass
class Log:
    """Rows in order of time, coded; strings are gone.

    time: (n,) int64 nanoseconds since 1970 UTC. user, item: (n,) int32 codes by first appearance.
    static: column name -> (n,) values or codes that do not depend on a window.
    """

    time: Array
    user: Array
    item: Array
    columns: tuple[Column, ...]
    static: dict[str, Array]
    first_of_user: Array = field(init=False)  # (n_users,) row of each user's first interaction
    first_of_item: Array = field(init=False)

    def __post_init__(self) -> None:
        self.first_of_user = _first_rows(self.user)
        self.first_of_item = _first_rows(self.item)


HISTORY_COLUMNS = (
    Column("new_user", "share", ("known", "new")),
    Column("new_item", "share", ("known", "new")),
    Column("popularity", "bucket", RANK_LABELS),
)
ACTIVITY = Column("user_activity", "numeric")


def read_log(interactions: pd.DataFrame, categories: Mapping[str, pd.Series], zone: str = "UTC") -> Log:
    """Code a canonical log.

    Args:
        interactions: user_id, item_id, timestamp, event, value and `price` if there is one, in order of time.
        categories: name -> series of str (index: item_id): item features to watch.
        zone: hour and weekday are local to it.
    """
    user, _ = pd.factorize(interactions["user_id"])
    item, item_ids = pd.factorize(interactions["item_id"])
    moment = pd.DatetimeIndex(interactions["timestamp"])
    local = moment.tz_convert(zone)
    columns: list[Column] = []
    static: dict[str, Array] = {}

    def add(column: Column, values: Array) -> None:
        columns.append(column)
        static[column.name] = values

    event = interactions["event"].astype("category")
    if event.cat.categories.size > 1:
        add(Column("event", "categorical", tuple(map(str, event.cat.categories))), event.cat.codes.to_numpy())
    for name in ("price", "value"):
        if name in interactions:
            numbers = pd.to_numeric(interactions[name], errors="coerce").to_numpy(np.float32, na_value=np.nan)
            finite = numbers[np.isfinite(numbers)]
            if finite.size and finite.min() < finite.max():
                add(Column(name, "numeric"), np.where(np.isfinite(numbers), numbers, np.nan).astype(np.float32))
    for name, series in categories.items():
        codes, labels = pd.factorize(series.reindex(item_ids).fillna(NONE).astype(str), sort=True)
        if len(labels) > 1:
            add(Column(name, "categorical", tuple(map(str, labels))), codes[item].astype(np.int32))
    add(Column("hour", "categorical", tuple(f"{hour:02d}" for hour in range(24))), local.hour.to_numpy(np.int8))
    add(Column("weekday", "categorical", WEEKDAYS), local.dayofweek.to_numpy(np.int8))
    # Nanoseconds whatever the unit of the column, so that window edges can be compared with them.
    time = moment.tz_convert(None).as_unit("ns").to_numpy().astype(np.int64)
    return Log(time, user.astype(np.int32), item.astype(np.int32), tuple(columns), static)


@dataclass(frozen=True)
class Sample:
    """Values of the watched columns on one side of a comparison.

    columns: name -> codes or float64 numbers (not nan). rows, users: sizes before sampling.
    """

    columns: dict[str, Array]
    rows: int
    users: int


class Windows:
    """Windows of equal length, numbered backwards from the newest (0), and samples of their columns.

    Args:
        log: all rows up to as_of.
        start: nanoseconds; where the newest window starts. It reaches to the log's end.
        length: nanoseconds; length of every older window.
        count: number of whole older windows that lie in the log.
        sample_rows: size that each side is sampled down to.
        seed: equal seeds draw equal samples.
    """

    def __init__(self, log: Log, *, start: int, length: int, count: int, sample_rows: int, seed: int) -> None:
        self.log, self.start, self.length, self.count = log, start, length, count
        self.sample_rows, self.seed = sample_rows, seed
        self.edges = np.searchsorted(log.time, [start - window * length for window in range(count + 1)], side="left")
        self._derived: dict[int, dict[str, Array]] = {}

    def rows(self, window: int) -> slice:
        """Rows of one window."""
        return slice(int(self.edges[window]), int(self.edges[window - 1]) if window else len(self.log.time))

    def sample(self, windows: Sequence[int], columns: Sequence[Column]) -> Sample:
        """Rows of `windows` together, at most sample_rows of them; equal arguments give equal samples."""
        taken = [self.rows(window) for window in windows]
        sizes = [rows.stop - rows.start for rows in taken]
        chosen = self._choose(sum(sizes), windows[0], len(windows))
        bounds = np.cumsum([0, *sizes])
        values: dict[str, list[Array]] = {column.name: [] for column in columns}
        for window, rows, low, high in zip(windows, taken, bounds[:-1], bounds[1:], strict=True):
            inside = chosen[np.searchsorted(chosen, low) : np.searchsorted(chosen, high)] - low
            derived = self._derive(window)
            for column in columns:
                if column.name == ACTIVITY.name:
                    values[column.name].append(derived[column.name])
                elif column.name in self.log.static:
                    values[column.name].append(self.log.static[column.name][rows][inside])
                else:
                    values[column.name].append(derived[column.name][inside])
        joined = {name: np.concatenate(parts) for name, parts in values.items()}
        if ACTIVITY.name in joined:
            counts = joined[ACTIVITY.name]
            joined[ACTIVITY.name] = counts[self._choose(len(counts), windows[0], -len(windows))]
        users = len(np.unique(np.concatenate([self.log.user[rows] for rows in taken])))
        return Sample({column.name: _clean(column, joined[column.name]) for column in columns}, sum(sizes), users)

    def _choose(self, size: int, first: int, length: int) -> Array:
        """Positions to keep out of `size`, ascending."""
        if size <= self.sample_rows:
            return np.arange(size)
        random = np.random.default_rng([self.seed, first, length % 2**31])
        return np.sort(random.choice(size, self.sample_rows, replace=False))

    def _derive(self, window: int) -> dict[str, Array]:
        """Columns that look back from the window's own start, for all its rows; user_activity: one value a user."""
        if window not in self._derived:
            log, rows = self.log, self.rows(window)
            user, item = log.user[rows], log.item[rows]
            self._derived[window] = {
                "new_user": (log.first_of_user[user] >= rows.start).astype(np.int8),
                "new_item": (log.first_of_item[item] >= rows.start).astype(np.int8),
                "popularity": _rank_buckets(log.item[: rows.start], len(log.first_of_item))[item],
                ACTIVITY.name: np.unique(user, return_counts=True)[1].astype(np.float64),
            }
        return self._derived[window]


def distance(column: Column, reference: Array, current: Array) -> float:
    """The column's distance between two samples, neither empty."""
    if column.kind == "numeric":
        return wasserstein(reference, current)
    size = len(column.labels)
    before, now = np.bincount(reference, minlength=size), np.bincount(current, minlength=size)
    return psi(before, now) if column.method == "psi" else jensen_shannon(before, now)


def prepared(column: Column, reference: Array, current: Array) -> tuple[Column, Array, Array]:
    """The same samples without what would drown a change: rare values become OTHER, extreme numbers are cut off.

    What is rare or extreme is decided by the reference alone: what is looked for must not choose the yardstick.
    """
    if column.kind == "numeric":
        low, high = np.quantile(reference, _TAILS)
        # One wrong quantity of 89,000 would be most of the standard deviation that distances are measured in.
        if low < high:
            reference, current = reference.clip(low, high), current.clip(low, high)
        return column, reference, current
    if column.kind != "categorical" or len(column.labels) <= _MAX_VALUES:
        return column, reference, current
    counts = np.bincount(reference, minlength=len(column.labels))
    kept = np.sort(np.argsort(-counts, kind="stable")[:_MAX_VALUES])
    place = np.full(len(column.labels), len(kept), dtype=np.int32)
    place[kept] = np.arange(len(kept), dtype=np.int32)
    labels = (*(column.labels[code] for code in kept), OTHER)
    return Column(column.name, column.kind, labels), place[reference], place[current]


def distances(columns: Sequence[Column], reference: Sample, current: Sample) -> Float64Array:
    """(n_columns,) float64."""
    pairs = [(column, reference.columns[column.name], current.columns[column.name]) for column in columns]
    # A past window without any value (a price that was not recorded yet) cannot be compared: it teaches nothing.
    return np.asarray([distance(*prepared(*pair)) if len(pair[1]) and len(pair[2]) else 0.0 for pair in pairs])


def _clean(column: Column, values: Array) -> Array:
    """float64 without nan (Evidently drops it too), or codes that bincount takes."""
    if column.kind != "numeric":
        return values.astype(np.int32)
    numbers: Array = values.astype(np.float64)
    finite: Array = numbers[np.isfinite(numbers)]
    return finite


def _first_rows(codes: Array) -> Array:
    """(n_codes,) first row of each code; codes are numbered by first appearance."""
    first: Array = np.unique(codes, return_index=True)[1]
    return first


def _rank_buckets(before: Array, n_items: int) -> Array:
    """(n_items,) int8 index into RANK_LABELS, by number of interactions among `before`."""
    counts = np.bincount(before, minlength=n_items)
    known = int(np.count_nonzero(counts))
    buckets = np.full(n_items, len(RANK_LABELS) - 1, dtype=np.int8)
    # Stable: of equally popular items the one that appeared first ranks first.
    order = np.argsort(-counts, kind="stable")[:known]
    place = (np.arange(known) + 1) / max(known, 1)
    buckets[order] = np.searchsorted(_RANK_SHARES, place, side="left")
    return buckets

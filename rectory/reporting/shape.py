"""The shape of the interaction log: when things happened, how unequal items are, how active users are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rectory.arrays import Array, Float64Array
from rectory.errors import DataError

MAX_BINS = 120
MAX_CURVE_POINTS = 200


@dataclass(frozen=True)
class LogShape:
    """What the plots of the data section are drawn from; small whatever the size of the log.

    starts: (n_bins,) datetime64[ns], UTC; each bin is bin_days long.
    rows: (n_bins,) int64.
    item_share, row_share: points of the long-tail curve, from (0, 0) to (1, 1): the most popular `item_share` of the
        items have `row_share` of the rows.
    activity_edges, activity_users: users by number of rows; (m + 1,) and (m,), edges double.
    """

    bin_days: float
    starts: Array
    rows: Array
    item_share: Float64Array
    row_share: Float64Array
    activity_edges: Array
    activity_users: Array
    n_rows: int
    n_users: int
    n_items: int

    @property
    def top_fifth_share(self) -> float:
        """Share of the rows that the most popular 20% of the items have."""
        return float(np.interp(0.2, self.item_share, self.row_share))


def log_shape(interactions: Path) -> LogShape | None:
    """Read three columns of the canonical table; ids stay dictionary codes, so memory is about 16 bytes a row.

    Returns:
        None when the table is empty.
    Raises:
        DataError: the file is missing or cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(
            interactions, columns=["user_id", "item_id", "timestamp"], read_dictionary=["user_id", "item_id"]
        )
    except (FileNotFoundError, pa.ArrowException) as error:
        raise DataError(f"{interactions} cannot be read ({error}). Run the step validate again.") from error
    if table.num_rows == 0:
        return None
    times = table.column("timestamp").to_numpy().astype("datetime64[ns]")
    per_item = _counts(table.column("item_id"))
    per_user = _counts(table.column("user_id"))
    bin_days, starts, rows = _over_time(times)
    item_share, row_share = _long_tail(per_item)
    top = int(np.ceil(np.log2(per_user.max() + 1)))
    edges = 2 ** np.arange(top + 1)
    return LogShape(
        bin_days=bin_days,
        starts=starts,
        rows=rows,
        item_share=item_share,
        row_share=row_share,
        activity_edges=edges,
        activity_users=np.histogram(per_user, edges)[0] if top else np.array([len(per_user)]),
        n_rows=table.num_rows,
        n_users=len(per_user),
        n_items=len(per_item),
    )


def _counts(column: Any) -> Array:
    """Rows of each distinct value of a dictionary column, without those that never occur."""
    codes = column.unify_dictionaries().combine_chunks().indices.to_numpy(zero_copy_only=False)
    counts = np.bincount(codes)
    return counts[counts > 0]


def _over_time(times: Array) -> tuple[float, Array, Array]:
    """Rows in bins of whole days (or of equal parts of a log shorter than a week)."""
    day = np.timedelta64(1, "D")
    first, last = times.min(), times.max()
    days = max(float((last - first) / day), 1e-6)
    if days < 7:  # a log of hours has no days to show
        width = max(days / 48, 1e-6)
    else:
        first = first.astype("datetime64[D]").astype("datetime64[ns]")
        days = float((last - first) / day)
        width = next((w for w in (1.0, 7.0, 14.0, 28.0, 91.0) if days / w <= MAX_BINS), float(np.ceil(days / MAX_BINS)))
    number = int(days / width) + 1
    step = np.timedelta64(int(width * 86_400e9), "ns")
    index = np.minimum((times - first) // step, number - 1).astype(np.int64)
    return width, first + np.arange(number) * step, np.bincount(index, minlength=number)


def _long_tail(per_item: Array) -> tuple[Float64Array, Float64Array]:
    falling = np.sort(per_item)[::-1]
    rows = np.concatenate([[0.0], np.cumsum(falling) / falling.sum()])
    items = np.linspace(0.0, 1.0, len(rows))
    # Log-spaced ranks: the head is where the curve bends.
    keep = np.unique(np.concatenate([[0], np.geomspace(1, len(falling), MAX_CURVE_POINTS).astype(np.int64)]))
    return items[keep], rows[keep]

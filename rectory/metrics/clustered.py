"""95% intervals where one user gives several values, as over the dates of a backtest: whole users are drawn.

A user who is easy on one date is easy on the next: drawing single values would count that as fresh evidence each time
and give intervals that are too narrow. Here a user is drawn with all values or not at all, and means are ratios of
sums. Draws, quantiles and rounding are those of `rectory.metrics.bootstrap`.
"""

from __future__ import annotations

import numpy as np

from rectory.arrays import Array, Float64Array
from rectory.metrics.bootstrap import (
    MAX_BOOTSTRAP_USERS,
    QUANTILES,
    Gain,
    Interval,
    Z,
    draw_counts,
    rounded_interval,
)


def clustered_mean(values: Array, clusters: Array, samples: int, seed: int) -> Interval:
    """Mean of (n,) finite values; `users` of the result is the number of values.

    Args:
        clusters: (n,) codes 0..m-1, the user of each value.
    Raises:
        ValueError: no values, or some are not finite.
    """
    table = _sums([values, np.ones(len(values))], clusters)
    return _ratio(table[:, 0], table[:, 1], len(values), samples, seed)


def clustered_gain(challenger: Array, champion: Array, clusters: Array, samples: int, seed: int) -> Gain:
    """Gain of one over the other on the same users and dates, both drawn together.

    Args:
        challenger, champion: (n,) finite values >= 0 of the same users on the same dates in the same order.
        clusters: (n,) codes 0..m-1, the user of each value.
    Raises:
        ValueError: different lengths, no values, or values that are not finite.
    """
    if not len(challenger) == len(champion) == len(clusters):
        raise ValueError(f"{len(challenger)}, {len(champion)} and {len(clusters)} values: gains are paired")
    # The mean of differences, not the difference of means: exactly zero for equal inputs.
    difference = np.asarray(challenger, dtype=np.float64) - np.asarray(champion, dtype=np.float64)
    table = _sums([difference, champion, np.ones(len(challenger))], clusters)
    absolute = _ratio(table[:, 0], table[:, 2], len(challenger), samples, seed)
    if not table[:, 1].sum() > 0:
        return Gain(absolute, None)
    relative = _ratio(table[:, 0], table[:, 1], len(challenger), samples, seed)
    return Gain(absolute, relative if np.isfinite([relative.low, relative.high]).all() else None)


def _sums(columns: list[Array], clusters: Array) -> Float64Array:
    """(m, columns) sums over each cluster."""
    table = np.column_stack([np.asarray(column, dtype=np.float64) for column in columns])
    if not len(table):
        raise ValueError("no values: a mean over nothing is undefined")
    if not np.isfinite(table).all():
        raise ValueError("values are not all finite")
    _, codes = np.unique(clusters, return_inverse=True)
    return np.column_stack([np.bincount(codes, weights=column) for column in table.T])


def _ratio(above: Float64Array, below: Float64Array, values: int, samples: int, seed: int) -> Interval:
    """sum(above) / sum(below) over clusters, with its interval; ends are nan where a draw has no denominator."""
    n, centre = len(above), above.sum() / below.sum()
    if n > MAX_BOOTSTRAP_USERS:
        # Delta method: the ratio's error is that of the mean of (above - centre * below) / mean(below).
        spread = Z * (above - centre * below).std(ddof=1) / below.mean() / np.sqrt(n)
        low, high = centre - spread, centre + spread
    else:
        pair = np.column_stack([above, below])
        sums = np.concatenate([counts @ pair for counts in draw_counts(n, samples, seed)])
        if not (sums[:, 1] > 0).all():
            return rounded_interval(centre, np.nan, np.nan, values)
        low, high = np.quantile(sums[:, 0] / sums[:, 1], QUANTILES)
    return rounded_interval(centre, low, high, values)

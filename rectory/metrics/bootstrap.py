"""95% intervals over users: a bootstrap for up to 20,000 users, the normal approximation above.

The bootstrap draws users with replacement (`samples` times, as many as there are) and takes the 2.5% and 97.5%
quantiles of the results. Draws come from numpy's PCG64 with a fixed seed in pieces of bounded size, and results are
rounded to ten decimals, below which the order of a machine's sums shows: equal inputs give equal numbers everywhere.

Above 20,000 users the mean of a bounded metric is normal to far beyond the printed digits and the bootstrap would cost
`users * samples` draws for the same interval: value +- 1.96 standard errors.

A gain may be asked for with more confidence than 95%: its quantiles and standard errors are then those of that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from rectory.arrays import Array, Float64Array

MAX_BOOTSTRAP_USERS = 20_000
_DECIMALS = 10
_DRAWS_AT_ONCE = 2_000_000
CONFIDENCE = 0.95
"""Of an interval, unless more is asked."""
QUANTILES = (0.025, 0.975)
"""Ends of a 95% interval."""
Z = 1.959963984540054
"""Standard errors to each side of a 95% interval."""


@dataclass(frozen=True)
class Interval:
    """A mean over `users` users with its 95% interval."""

    value: float
    low: float
    high: float
    users: int

    def to_dict(self) -> dict[str, float | int]:
        return {"value": self.value, "low": self.low, "high": self.high, "users": self.users}


@dataclass(frozen=True)
class Gain:
    """Challenger against champion on the same users.

    absolute: of mean(challenger) - mean(champion).
    relative: of mean(challenger) / mean(champion) - 1; None where the champion's mean is 0, or so near it that some
        resamples have mean 0: the ratio then says nothing and the absolute gain has to do.
    confidence: of both intervals.
    """

    absolute: Interval
    relative: Interval | None
    confidence: float = CONFIDENCE

    def to_dict(self) -> dict[str, Any]:
        return {
            "absolute": self.absolute.to_dict(),
            "relative": None if self.relative is None else self.relative.to_dict(),
            "confidence": self.confidence,
        }


def mean_interval(values: Array, samples: int, seed: int) -> Interval:
    """Mean of (n,) finite values with its 95% interval.

    Raises:
        ValueError: no values, or some are not finite.
    """
    return mean_intervals(np.asarray(values, dtype=np.float64)[:, None], samples, seed)[0]


def mean_intervals(values: Array, samples: int, seed: int) -> list[Interval]:
    """One interval for each column of (n, m) finite values; the same resampled users for all columns.

    Raises:
        ValueError: no rows, or values that are not finite.
    """
    table = _checked(values)
    n = len(table)
    centre = table.mean(axis=0)
    if n > MAX_BOOTSTRAP_USERS:
        spread = Z * table.std(axis=0, ddof=1) / np.sqrt(n)
        low, high = centre - spread, centre + spread
    else:
        low, high = np.quantile(_resampled_means(table, samples, seed), QUANTILES, axis=0)
    return [rounded_interval(*column, n) for column in zip(centre, low, high, strict=True)]


def paired_gain(challenger: Array, champion: Array, samples: int, seed: int, confidence: float = CONFIDENCE) -> Gain:
    """Gain of the challenger over the champion, resampling users so that both keep the same ones.

    Pairing takes out what makes users differ from one another (an easy user is easy for both), so the interval is that
    of the difference and far narrower than two separate ones.

    Args:
        challenger, champion: (n,) finite metric values >= 0 of the same users in the same order.
        confidence: of the intervals.
    Raises:
        ValueError: different lengths, no values, or values that are not finite.
    """
    if np.shape(challenger) != np.shape(champion):
        raise ValueError(f"{len(challenger)} users against {len(champion)}: gains are paired by user")
    pair = _checked(np.column_stack([challenger, champion]))
    n = len(pair)
    # The mean of differences, not the difference of means: exactly zero for equal inputs.
    difference = pair[:, 0] - pair[:, 1]
    absolute, base = float(difference.mean()), float(pair[:, 1].mean())
    ratio = absolute / base if base > 0 else None
    if n > MAX_BOOTSTRAP_USERS:
        z = NormalDist().inv_cdf((1 + confidence) / 2)
        spread = z * difference.std(ddof=1) / np.sqrt(n)
        gain = rounded_interval(absolute, absolute - spread, absolute + spread, n)
        if ratio is None:
            return Gain(gain, None, confidence)
        # Delta method: the ratio's error is that of the mean of (challenger - (1 + ratio) champion) / base.
        spread = z * (difference - ratio * pair[:, 1]).std(ddof=1) / base / np.sqrt(n)
        return Gain(gain, rounded_interval(ratio, ratio - spread, ratio + spread, n), confidence)
    means = _resampled_means(np.column_stack([difference, pair[:, 1]]), samples, seed)
    gain = _bootstrapped(absolute, means[:, 0], n, confidence)
    if ratio is None or not (means[:, 1] > 0).all():
        return Gain(gain, None, confidence)
    return Gain(gain, _bootstrapped(ratio, means[:, 0] / means[:, 1], n, confidence), confidence)


def _resampled_means(table: Float64Array, samples: int, seed: int) -> Float64Array:
    """(samples, m) means of the rows of (n, m), drawn with replacement."""
    n = len(table)
    means = np.empty((samples, table.shape[1]))
    done = 0
    for counts in draw_counts(n, samples, seed):
        means[done : done + len(counts)] = counts @ table / n
        done += len(counts)
    return means


def draw_counts(n: int, samples: int, seed: int) -> Iterator[Float64Array]:
    """How often each of n rows was drawn, (some samples, n) at a time."""
    draw = np.random.Generator(np.random.PCG64(seed))
    step = max(1, _DRAWS_AT_ONCE // n)
    for start in range(0, samples, step):
        size = min(step, samples - start)
        rows = draw.integers(0, n, size=(size, n)) + np.arange(size)[:, None] * n
        yield np.bincount(rows.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)


def _checked(values: Array) -> Float64Array:
    table = np.asarray(values, dtype=np.float64)
    if not len(table):
        raise ValueError("no users: a mean over nobody is undefined")
    if not np.isfinite(table).all():
        raise ValueError("values are not all finite: leave out users without a value first")
    return table


def _bootstrapped(value: float, resampled: Float64Array, users: int, confidence: float) -> Interval:
    low, high = np.quantile(resampled, ((1 - confidence) / 2, (1 + confidence) / 2))
    return rounded_interval(value, low, high, users)


def rounded_interval(value: float, low: float, high: float, users: int) -> Interval:
    """Ten decimals, below which the order of a machine's sums shows."""
    # + 0.0 turns -0.0 into 0.0, which would print as -0.0%.
    value, low, high = (round(float(number), _DECIMALS) + 0.0 for number in (value, low, high))
    return Interval(value, low, high, users)

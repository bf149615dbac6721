"""How far apart groups of users lie, with an interval that knows that the largest gap was picked.

Of several groups some pair is always furthest apart, also where all are alike: an interval around that one pair would
be too narrow and too high. Two answers to that:

- `largest_gap` bounds the differences of *all* pairs at once (the max-t method) and reads the largest gap from them. So
  its lower end lies above 0 only where some pair differs beyond what picking explains.
- `gap_increase` compares the gaps of two models among the same users. Picking lifts both, and cancels but for a rest.

Both draw group means from their joint normal distribution, whose covariance users that stand in several groups (a list
attribute) and in both models are part of. Its cost does not grow with the number of users. Source: Hothorn, Bretz and
Westfall, "Simultaneous Inference in General Parametric Models", Biometrical Journal 2008.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rectory.arrays import Array, BoolArray, Float64Array
from rectory.metrics.bootstrap import QUANTILES, Interval, rounded_interval


@dataclass(frozen=True)
class Gap:
    """Between the groups with the highest and the lowest mean.

    best, worst: columns of the groups. interval: of the largest gap among all groups, 0 <= low <= value <= high.
    """

    best: int
    worst: int
    interval: Interval


def largest_gap(values: Array, groups: BoolArray, samples: int, seed: int) -> Gap:
    """Largest difference between the means of any two groups, with a simultaneous 95% interval.

    With differences d_ij and their standard errors s_ij, c is the 95% quantile of max |d*_ij - d_ij| / s_ij over draws:
    all true differences lie within c s_ij of d_ij together, so the largest one lies between max(d_ij - c s_ij, 0) and
    max(d_ij + c s_ij). The value is the observed gap, which picking makes lean upwards; the interval answers for it.

    Args:
        values: (n,) finite.
        groups: (n, m) bool, m >= 2, two users or more in each; users may stand in several or in none.
    Raises:
        ValueError: fewer groups or users, or values that are not finite.
    """
    table = np.repeat(np.asarray(values, dtype=np.float64)[:, None], groups.shape[1], axis=1)
    if groups.shape[1] < 2:
        raise ValueError("a gap needs two groups")
    means, covariance = _means(table, groups)
    best, worst = int(np.argmax(means)), len(means) - 1 - int(np.argmin(means[::-1]))
    first, second = np.triu_indices(len(means), 1)
    variance = np.diag(covariance)
    error = np.sqrt(np.maximum(variance[first] + variance[second] - 2 * covariance[first, second], 0.0))
    difference = np.abs(means[first] - means[second])
    drawn = _draws(covariance, samples, seed)
    spread = np.abs(drawn[:, first] - drawn[:, second])
    # A pair without any spread is known exactly and asks for no room.
    largest = np.divide(spread, error, out=np.zeros_like(spread), where=error > 0).max(axis=1)
    room = float(np.quantile(largest, 1 - 2 * QUANTILES[0])) * error
    low, high = max(float((difference - room).max()), 0.0), float((difference + room).max())
    users = int(groups.any(axis=1).sum())
    return Gap(best, worst, rounded_interval(float(means[best] - means[worst]), low, high, users))


def gap_increase(challenger: Array, champion: Array, groups: BoolArray, samples: int, seed: int) -> Interval | None:
    """How much wider the challenger's largest gap is, each gap in shares of the model's own mean over these users.

    Shares, because a model that is better by the same factor for everybody widens the absolute gap and harms nobody.

    Args:
        challenger, champion: (n,) finite values >= 0 of the same users in the same order.
        groups: as in `largest_gap`.
    Returns:
        Increase in shares (0.05: the gap grew from, say, 10% to 15% of the mean) with its 95% interval; None where a
        model's mean is 0 or so near it that draws fall to 0: a share of nothing says nothing.
    """
    anyone = groups.any(axis=1)[:, None]
    masks = np.concatenate([groups, anyone], axis=1)
    both = np.concatenate([masks, masks], axis=1)
    width = masks.shape[1]
    table = np.repeat(np.column_stack([challenger, champion]).astype(np.float64), width, axis=1)
    means, covariance = _means(table, both)
    drawn = means + _draws(covariance, samples, seed)
    if not (np.concatenate([drawn[:, [width - 1, -1]], means[None, [width - 1, -1]]]) > 0).all():
        return None
    low, high = np.quantile(_increase(drawn, width), QUANTILES)
    value = float(_increase(means[None, :], width)[0])
    # The rest of picking's pull may push the quantiles past the value; an interval holds its value.
    return rounded_interval(value, min(float(low), value), max(float(high), value), int(anyone.sum()))


def _increase(means: Float64Array, width: int) -> Float64Array:
    """(samples,) from (samples, 2 * width) means of challenger and champion, the last of each over everybody."""

    def share(of: Float64Array) -> Float64Array:
        return np.asarray(np.ptp(of[:, :-1], axis=1) / of[:, -1], dtype=np.float64)

    return share(means[:, :width]) - share(means[:, width:])


def _means(values: Float64Array, masks: BoolArray) -> tuple[Float64Array, Float64Array]:
    """(m,) mean of each column over its users, and (m, m) covariance of these means."""
    if not np.isfinite(values).all():
        raise ValueError("values are not all finite: leave out users without a value first")
    sizes = masks.sum(axis=0)
    if (sizes < 2).any():
        raise ValueError("a group of fewer than two users has no spread")
    means = np.where(masks, values, 0.0).sum(axis=0) / sizes
    # The influence of each user on each mean; sqrt(n / (n - 1)) as in any standard error of a mean.
    influence = np.where(masks, values - means, 0.0) / np.sqrt(sizes * (sizes - 1.0))
    return means, influence.T @ influence


def _draws(covariance: Float64Array, samples: int, seed: int) -> Float64Array:
    """(samples, m) normal deviations. The symmetric root: its sign does not depend on the machine's LAPACK."""
    eigenvalues, vectors = np.linalg.eigh(covariance)
    # What is zero but for rounding must be zero: its root is not small.
    kept = np.where(eigenvalues > 1e-12 * eigenvalues.max(), eigenvalues, 0.0)
    root = (vectors * np.sqrt(kept)) @ vectors.T
    normal = np.random.Generator(np.random.PCG64(seed)).standard_normal((samples, len(covariance)))
    return np.asarray(normal @ root, dtype=np.float64)

"""How far two samples of one column lie apart: the same numbers that Evidently reports, without its set-up cost.

Thresholds need the distances of some ten past windows in each column. Evidently takes seconds for each comparison,
these take milliseconds; a test holds the two equal to 1e-6. All are 0 for equal samples and none is a p-value: with
enough rows every p-value is tiny, and says nothing about size.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from rectory.arrays import Array, Float64Array

Method = Literal["wasserstein", "jensenshannon", "psi"]

# Largest possible value of each.
CEILINGS: dict[Method, float] = {
    "wasserstein": float("inf"),
    "jensenshannon": float(np.sqrt(np.log(2))),
    "psi": float("inf"),
}

_MIN_SCALE = 0.001  # Evidently's own: a constant reference would divide by zero.
_EMPTY_SHARE = 0.0001


def wasserstein(reference: Array, current: Array) -> float:
    """Earth mover's distance in standard deviations of the reference: a shift of the mean by one is 1.0.

    Args:
        reference, current: finite numbers, (n,) and (m,), neither empty.
    """
    left, right = np.sort(np.asarray(reference, dtype=np.float64)), np.sort(np.asarray(current, dtype=np.float64))
    both = np.sort(np.concatenate([left, right]))
    # The area between the two cumulative distributions, which are flat between neighbouring values.
    below_left = np.searchsorted(left, both[:-1], side="right") / len(left)
    below_right = np.searchsorted(right, both[:-1], side="right") / len(right)
    area = float(np.sum(np.abs(below_left - below_right) * np.diff(both)))
    return area / max(float(np.std(left)), _MIN_SCALE)


def jensen_shannon(reference: Array, current: Array) -> float:
    """Jensen-Shannon distance (root of the divergence in nats): 0 for equal mixes, 0.83 for disjoint ones.

    Args:
        reference, current: (k,) counts for each value, in the same order.
    """
    p, q = shares(reference), shares(current)
    middle = (p + q) / 2
    return float(np.sqrt(max((_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2, 0.0)))


def psi(reference: Array, current: Array) -> float:
    """Population stability index. Folklore: below 0.1 little, above 0.25 much change.

    Args:
        reference, current: (k,) counts for each bucket, in the same order. Buckets empty on both sides do not count.
    """
    reference, current = np.asarray(reference), np.asarray(current)
    used = (reference + current) > 0
    p, q = _filled(shares(reference[used])), _filled(shares(current[used]))
    return float(np.sum((p - q) * np.log(p / q)))


def shares(counts: Array) -> Float64Array:
    """(k,) float64, counts over their sum."""
    counts = np.asarray(counts, dtype=np.float64)
    return np.asarray(counts / counts.sum(), dtype=np.float64)


def null_scale(method: Method, values: int, reference_size: int, current_size: int) -> float:
    """About how far two samples of *one* distribution lie apart by chance.

    Args:
        values: number of values of a categorical column.
        reference_size, current_size: independent draws on each side (rows of one user are not independent).
    Source: chi-square limits of the divergences; order of magnitude for wasserstein.
    """
    inverse = 1 / max(reference_size, 1) + 1 / max(current_size, 1)
    freedom = max(values - 1, 1)
    if method == "psi":
        return freedom * inverse
    if method == "jensenshannon":
        return float(np.sqrt(freedom * inverse / 8))
    return float(np.sqrt(inverse))


def _relative_entropy(p: Float64Array, q: Float64Array) -> float:
    there = p > 0
    return float(np.sum(p[there] * np.log(p[there] / q[there])))


def _filled(part: Float64Array) -> Float64Array:
    """Empty buckets get a small share, as Evidently does it, so that the logarithm exists."""
    smallest = part[part > 0].min()
    filler = smallest / 10**6 if smallest <= _EMPTY_SHARE else _EMPTY_SHARE
    return np.where(part == 0, filler, part)

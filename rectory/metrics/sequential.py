"""Intervals that hold however often one looks: a guard that asks every day must not err every twentieth day."""

from __future__ import annotations

from math import log, sqrt

import numpy as np

from rectory.arrays import Array
from rectory.metrics.bootstrap import Interval, rounded_interval


def always_valid_mean(values: Array, error_share: float, tuned_for: int) -> Interval:
    """Mean of (n,) finite values with an interval that covers the true mean at all n at once, with 1 - error_share.

    An asymptotic confidence sequence: wider than a 95% interval at each single look, and right over all of them.

    Args:
        error_share: chance in (0, 1) that the interval ever misses.
        tuned_for: n at which it is about as narrow as it can be.
    Raises:
        ValueError: fewer than two values, or some are not finite.
    Source: Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, "Time-uniform central limit theory and asymptotic confidence
        sequences", Annals of Statistics 2024, theorem 2.2.
    """
    sample = np.asarray(values, dtype=np.float64)
    n = len(sample)
    if n < 2:
        raise ValueError(f"{n} values: an interval needs at least two")
    if not np.isfinite(sample).all():
        raise ValueError("values are not all finite")
    # The best mixture for `tuned_for`: equation (16) there, with W_-1 by its usual expansion.
    rho_squared = (-2 * log(error_share) + log(-2 * log(error_share) + 1)) / tuned_for
    inside = n * rho_squared + 1
    width = float(sample.std(ddof=1)) * sqrt(2 * inside / (n**2 * rho_squared) * log(sqrt(inside) / error_share))
    centre = float(sample.mean())
    return rounded_interval(centre, centre - width, centre + width, n)

"""From the distances of past windows to thresholds that a quiet log seldom crosses. Pure arithmetic; docs/drift.md
derives it.

An empirical 95% quantile of a dozen windows cannot be told from their maximum, and a maximum over a dozen columns is
crossed by every other quiet window. So distances are taken as log-normal above their median and bounded by a Student t
*prediction* bound for one new window, at a level that is shared out over the columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rectory.arrays import BoolArray, Float64Array

MIN_WINDOWS = 3
# On a quiet log `drift` is this many times rarer than an alarm of any kind.
SEVERE = 5.0
# Prior of a column's spread on the log scale: as if this many further degrees of freedom had shown the pooled spread.
_PRIOR_FREEDOM = 4.0
# Distances of quiet windows vary by a factor of about 1.3 at least; less is the luck of few windows.
_MIN_LOG_SPREAD = 0.3
# Variance of a median over that of a mean, for normal values: pi / 2.
_MEDIAN_VARIANCE = np.pi / 2


@dataclass(frozen=True)
class Thresholds:
    """Distances at or above which a column is called `warn` or `drift`, and how many windows they were learned from.

    warn, drift: (n_columns,) float64.
    """

    warn: Float64Array
    drift: Float64Array
    windows: int


def learn_thresholds(
    distances: Float64Array, alarm_share: float, floors: Float64Array, ceilings: Float64Array
) -> Thresholds:
    """Bounds that one further window of the same kind crosses, in *any* column, with probability <= alarm_share.

    Args:
        distances: (n_windows, n_columns), >= 0; n_windows >= MIN_WINDOWS.
        alarm_share: in (0, 1): share of quiet windows that may raise an alarm.
        floors: (n_columns,) > 0: distances too small to matter; no threshold lies below.
        ceilings: (n_columns,) largest possible distances, inf where there is none; every threshold lies below.
    Raises:
        ValueError: fewer windows than MIN_WINDOWS.
    Source: moderated variance: Smyth, "Linear models and empirical Bayes methods", SAGMB 2004.
    """
    from scipy.stats import t as student

    windows, columns = distances.shape
    if windows < MIN_WINDOWS:
        raise ValueError(f"{windows} windows cannot teach a threshold, {MIN_WINDOWS} are needed")
    # Below a quarter of the floor, differences in the logarithm are noise that would only widen the spread.
    # With a ceiling the odds take the distance's place: nearly equal where it is small, and no bound can pass it.
    raised = np.minimum(np.maximum(distances, floors / 4), 0.999 * ceilings)
    logs = np.log(raised) - np.log1p(-raised / ceilings)
    centre = np.median(logs, axis=0)
    # Only the upper half: the log of a distance near 0 has a long lower tail, which says nothing about large distances.
    freedom = (windows - 1) / 2
    variance = (np.maximum(logs - centre, 0) ** 2).sum(axis=0) / freedom
    # The mean of the spreads, not of the variances: one restless column must not blind the others.
    pooled = max(float(np.sqrt(variance).mean()), _MIN_LOG_SPREAD) ** 2
    moderated = (_PRIOR_FREEDOM * pooled + freedom * variance) / (_PRIOR_FREEDOM + freedom)
    spread = np.sqrt(moderated * (1 + _MEDIAN_VARIANCE / windows))

    def bound(share: float) -> Float64Array:
        # Sidak: exact for independent columns; columns that move together only make alarms rarer.
        each = 1 - (1 - share) ** (1 / columns)
        reach = float(student.isf(each, _PRIOR_FREEDOM + freedom))
        odds = np.exp(centre + reach * spread)
        return np.asarray(np.maximum(odds / (1 + odds / ceilings), floors), dtype=np.float64)

    return Thresholds(bound(alarm_share), bound(alarm_share / SEVERE), windows)


def leave_one_out(
    distances: Float64Array, alarm_share: float, floors: Float64Array, ceilings: Float64Array
) -> BoolArray | None:
    """(n_windows,) True where a past window would have raised an alarm by thresholds learned from the others.

    None with too few windows. This shows on the log itself whether it was quiet.
    """
    windows = len(distances)
    if windows <= MIN_WINDOWS:
        return None
    alarms = np.zeros(windows, dtype=bool)
    for window in range(windows):
        others = np.delete(distances, window, axis=0)
        limits = learn_thresholds(others, alarm_share, floors, ceilings)
        alarms[window] = bool(np.any(distances[window] >= limits.warn))
    return alarms

"""Is the best of several better than one, or only the luckiest?"""

from __future__ import annotations

import numpy as np

from rectory.arrays import Float64Array

_DRAWS_AT_ONCE = 2_000_000
_CONFIDENCE = 0.975
_DECIMALS = 10


def credible_gain(tried: Float64Array, base: Float64Array, samples: int, seed: int) -> float:
    """Lower end of the gain of the best of `tried` over `base`, after having picked it from all of them.

    The best of many tries is partly the luckiest, and a paired interval that knows only the winner does not see that.
    Here users are resampled for all tries together; the highest overshoot over any try's own mean (97.5% quantile) is
    taken off the winner's gain. For a single try this is the lower end of its basic bootstrap interval.

    Args:
        tried: (m, n) scores of m tries for n users. base: (n,) of what they are compared with.
        samples: resamples of the users. seed: of the draws.
    Raises:
        ValueError: there are no tries or no users.
    Source: White, "A Reality Check for Data Snooping", Econometrica 2000.
    """
    if tried.ndim != 2 or not tried.size:
        raise ValueError("nothing was tried, or on nobody: the best of none is undefined")
    gains = tried - base
    means, n = gains.mean(axis=1), gains.shape[1]
    draw = np.random.Generator(np.random.PCG64(seed))
    step = max(1, _DRAWS_AT_ONCE // n)
    highest = np.empty(samples)
    for start in range(0, samples, step):
        size = min(step, samples - start)
        rows = draw.integers(0, n, size=(size, n)) + np.arange(size)[:, None] * n
        counts = np.bincount(rows.ravel(), minlength=size * n).reshape(size, n)
        highest[start : start + size] = (counts @ gains.T / n - means).max(axis=1)
    return round(float(means.max() - np.quantile(highest, _CONFIDENCE)), _DECIMALS) + 0.0

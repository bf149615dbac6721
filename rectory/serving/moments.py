"""What happened at one moment has no order."""

from __future__ import annotations

import numpy as np

from rectory.arrays import Array


def by_moment(time: Array) -> Array:
    """(n,) places in order of time, those of one moment by lot, always the same.

    The order of a table's rows within a moment says how the table was sorted. Half of MovieLens' ratings and nearly all
    of a shop's receipts share their second with another one of the same user: in order of ids, whoever asks what comes
    next would learn to count up, and be right in every replay.
    """
    order: Array = np.lexsort((np.random.default_rng(0).random(len(time)), time))
    return order

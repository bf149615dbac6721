"""Groups of test users that are reported apart: cold, lukewarm and warm, by activity, by each declared attribute."""

from __future__ import annotations

import numpy as np
import pandas as pd

from rectory.arrays import Array, BoolArray
from rectory.data.card import Entities

SLICE = "slice:"
"""Prefix of the bool columns of the per-user frame."""
ATTRIBUTE = "user."
"""Prefix of slices by a declared user attribute: user.<attribute>=<value>."""
MOST_LUKEWARM = 5
"""Interactions of a lukewarm user, at most; fewer where most users have few."""
MAX_VALUES = 12
"""Most frequent values of an attribute that get a slice; more would be a page that nobody reads."""


def lukewarm_limit(interactions: Array) -> int:
    """Most interactions that still are few in this log: half of the median user's, between 1 and MOST_LUKEWARM.

    So where the median user has two, lukewarm means one: a fixed limit would call nearly everyone lukewarm.

    Args:
        interactions: (n_users,) before the test window, of every user of the log; those without any are left out.
    """
    some = interactions[interactions > 0]
    return int(np.clip(np.median(some) // 2, 1, MOST_LUKEWARM)) if len(some) else 1


def user_slices(
    users: Array,
    interactions: Array,
    table: pd.DataFrame | None,
    declared: Entities | None,
    few: int = MOST_LUKEWARM,
) -> dict[str, BoolArray]:
    """Name -> (n,) bool, in a fixed order.

    users=cold|lukewarm|warm: with none, 1 to `few`, more interactions before the test window. activity=low|middle|high:
    thirds of the users with any, by their number; users at a cut go below it. user.<attribute>=<value>: categorical and
    multi attributes by value, numeric ones by quartile (q1 lowest) of the test users. Text attributes have no slices.

    Args:
        users: (n,) ids of the test users.
        interactions: (n,) their interactions before the test window.
        table: canonical user table; None: there is none.
        declared: the card's `users:`.
        few: of `lukewarm_limit`.
    """
    known = interactions > 0
    slices = {"users=cold": ~known, "users=lukewarm": known & (interactions <= few), "users=warm": interactions > few}
    if known.any():
        low, high = np.quantile(interactions[known], [1 / 3, 2 / 3])
        slices["activity=low"] = known & (interactions <= low)
        slices["activity=middle"] = (interactions > low) & (interactions <= high)
        slices["activity=high"] = interactions > high
    if table is None or declared is None:
        return slices
    of_users = table.drop_duplicates("user_id").set_index("user_id").reindex(users)
    for name, feature in sorted(declared.features.items()):
        if name not in of_users:
            continue
        if feature.kind == "numeric":
            parts = _by_quartile(pd.to_numeric(of_users[name], errors="coerce").to_numpy(dtype=np.float64))
        elif feature.kind in ("categorical", "multi"):
            parts = _by_value(of_users[name].reset_index(drop=True))
        else:
            parts = {}
        slices |= {f"{ATTRIBUTE}{name}={value}": mask for value, mask in parts.items()}
    return slices


def _by_value(values: pd.Series) -> dict[str, BoolArray]:
    """One mask for each of the most frequent values; a list counts for each of its values."""
    single = values.explode().dropna().astype(str)
    counts = single.groupby(single).size().sort_index().sort_values(ascending=False, kind="stable")
    masks = {}
    for value in counts.index[:MAX_VALUES]:
        mask = np.zeros(len(values), dtype=bool)
        mask[single.index[single == value]] = True
        masks[str(value)] = mask
    return masks


def _by_quartile(values: Array) -> dict[str, BoolArray]:
    known = np.isfinite(values)
    if not known.any():
        return {}
    cuts = np.quantile(values[known], [0.25, 0.5, 0.75])
    # side="left": a value at a cut goes below it, as with activity.
    quartile = np.searchsorted(cuts, values, side="left")
    return {f"q{number + 1}": known & (quartile == number) for number in range(4)}

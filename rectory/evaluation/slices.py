"""Groups of test users that are reported apart: cold and warm, by activity, by each declared attribute."""

from __future__ import annotations

import numpy as np
import pandas as pd

from rectory.arrays import Array, BoolArray
from rectory.data.card import Entities

MAX_VALUES = 12
"""Most frequent values of an attribute that get a slice; more would be a page that nobody reads."""


def user_slices(
    users: Array, interactions: Array, table: pd.DataFrame | None, declared: Entities | None
) -> dict[str, BoolArray]:
    """Name -> (n,) bool, in a fixed order.

    users=cold|warm: without or with an interaction before the test window. activity=low|middle|high: thirds of the warm
    users by their number of interactions; users at a cut go below it. user.<attribute>=<value>: categorical and multi
    attributes by value, numeric ones by quartile (q1 lowest) of the test users. Text attributes have no slices.

    Args:
        users: (n,) ids of the test users.
        interactions: (n,) their interactions before the test window.
        table: canonical user table; None: there is none.
        declared: the card's `users:`.
    """
    warm = interactions > 0
    slices = {"users=cold": ~warm, "users=warm": warm}
    if warm.any():
        low, high = np.quantile(interactions[warm], [1 / 3, 2 / 3])
        slices["activity=low"] = warm & (interactions <= low)
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
        slices |= {f"user.{name}={value}": mask for value, mask in parts.items()}
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

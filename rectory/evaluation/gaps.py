"""Largest gap between the groups of each declared user attribute: of one model, and of one against another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rectory.arrays import BoolArray
from rectory.evaluation.slices import ATTRIBUTE, SLICE
from rectory.metrics.bootstrap import Interval
from rectory.metrics.gaps import gap_increase, largest_gap
from rectory.params.sections import EvaluateParams

SEED = 0
"""Of all intervals; the same everywhere, so that reports of two runs differ only where the lists do."""


@dataclass(frozen=True)
class AttributeGap:
    """Between the best and the worst served group of one attribute, in one metric."""

    metric: str
    best: str
    worst: str
    gap: Interval

    def to_dict(self) -> dict[str, Any]:
        return {"metric": self.metric, "best": self.best, "worst": self.worst, "gap": self.gap.to_dict()}


def attribute_gaps(per_user: pd.DataFrame, metric: str, params: EvaluateParams) -> dict[str, AttributeGap]:
    """Attribute -> its largest gap; attributes of which fewer than two groups are reported have none.

    Args:
        per_user: of `Holdout`: groups are its columns "slice:user.<attribute>=<value>".
    """
    if metric not in per_user:
        return {}
    gaps = {}
    measured = per_user[per_user[metric].notna()]
    values = measured[metric].to_numpy(dtype=np.float64)
    for attribute, (names, groups) in _groups(measured).items():
        found = largest_gap(values, groups, params.bootstrap_samples, SEED)
        gaps[attribute] = AttributeGap(metric, names[found.best], names[found.worst], found.interval)
    return gaps


def gap_increases(
    challenger: pd.DataFrame, champion: pd.DataFrame, metric: str, params: EvaluateParams
) -> dict[str, Interval]:
    """Attribute -> how much wider the challenger's gap is than the champion's, in shares of each one's own mean.

    Attributes whose shares mean nothing (a model's mean is at or near 0) are left out.

    Args:
        challenger, champion: `Holdout.per_user` of the same users in the same order.
    """
    pair = np.column_stack([challenger[metric], champion[metric]]).astype(np.float64)
    both = np.isfinite(pair).all(axis=1)
    found = {
        attribute: gap_increase(pair[both, 0], pair[both, 1], groups, params.bootstrap_samples, SEED)
        for attribute, (_, groups) in _groups(challenger[both]).items()
    }
    return {attribute: increase for attribute, increase in found.items() if increase is not None}


def _groups(per_user: pd.DataFrame) -> dict[str, tuple[list[str], BoolArray]]:
    """Attribute -> names of its values and (n, values) bool; two groups at least, of two users at least."""
    columns: dict[str, list[str]] = {}
    prefix = f"{SLICE}{ATTRIBUTE}"
    for column in map(str, per_user.columns):
        if column.startswith(prefix) and per_user[column].sum() >= 2:
            columns.setdefault(column.removeprefix(prefix).partition("=")[0], []).append(column)
    return {
        attribute: ([column.partition("=")[2] for column in of_it], per_user[of_it].to_numpy(dtype=bool))
        for attribute, of_it in columns.items()
        if len(of_it) > 1
    }

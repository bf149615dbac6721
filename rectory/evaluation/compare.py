"""Two per-user frames of one test window, paired."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rectory.errors import UsageError
from rectory.evaluation.gaps import SEED, gap_increases
from rectory.evaluation.slices import SLICE
from rectory.metrics.bootstrap import CONFIDENCE, Gain, Interval, paired_gain
from rectory.params.sections import EvaluateParams


@dataclass(frozen=True)
class Comparison:
    """Gain of a challenger over another model in one metric: over all users and in each slice.

    gap_increases: declared user attribute -> how much wider its largest gap is, in shares of each model's mean.
    """

    metric: str
    overall: Gain
    slices: dict[str, Gain]
    gap_increases: dict[str, Interval]

    def to_dict(self) -> dict[str, Any]:
        return {
            "metric": self.metric,
            "overall": self.overall.to_dict(),
            "slices": {name: gain.to_dict() for name, gain in self.slices.items()},
            "gap_increases": {name: one.to_dict() for name, one in self.gap_increases.items()},
        }


def compare(
    challenger: pd.DataFrame,
    champion: pd.DataFrame,
    metric: str,
    params: EvaluateParams,
    confidence: float = CONFIDENCE,
) -> Comparison:
    """Pair the users of two `Holdout.per_user` frames that were measured on the same window.

    Args:
        metric: a ranking metric's column, "ndcg@10".
        confidence: of the interval over all users; slices have 95%.
    Raises:
        UsageError: the frames are of other users, or have not the metric.
    """
    overall = gain_over(challenger, champion, metric, params, confidence)
    slices: dict[str, Gain] = {}
    for column in (str(name) for name in challenger.columns):
        if column.startswith(SLICE):
            rows, measured, name = challenger[column], metric, column.removeprefix(SLICE)
        elif column.startswith(f"{metric}|") and column in champion:
            rows, measured, name = challenger[column].notna(), column, column.partition("|")[2]
        else:
            continue
        if rows.sum() >= params.min_slice_users:
            slices[name] = paired_gain(
                challenger.loc[rows, measured].to_numpy(),
                champion.loc[rows, measured].to_numpy(),
                params.bootstrap_samples,
                SEED,
            )
    return Comparison(metric, overall, slices, gap_increases(challenger, champion, metric, params))


def gain_over(
    challenger: pd.DataFrame,
    other: pd.DataFrame,
    metric: str,
    params: EvaluateParams,
    confidence: float = CONFIDENCE,
) -> Gain:
    """`compare` over all users alone: its slices and gaps cost many times as much.

    Raises:
        UsageError: as `compare`.
    """
    if not np.array_equal(challenger["user_id"].to_numpy(), other["user_id"].to_numpy()):
        raise UsageError(
            f"the two evaluations are of different users ({len(challenger)} and {len(other)}), so their gain cannot "
            "be paired: evaluate both on the same test window (python -m tasks.evaluate CANDIDATE)."
        )
    for frame in (challenger, other):
        if metric not in frame:
            raise UsageError(f"{metric} was not measured; there are {_metrics(frame)}. Set gate.metric or evaluate.k.")
    of_challenger, of_other = challenger[metric].to_numpy(), other[metric].to_numpy()
    return paired_gain(of_challenger, of_other, params.bootstrap_samples, SEED, confidence)


def _metrics(frame: pd.DataFrame) -> list[str]:
    return sorted(name for name in map(str, frame.columns) if "@" in name and "|" not in name and ":" not in name)

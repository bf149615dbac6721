"""Drift of what is recommended: is the catalogue still shown, do lists jump, have the scores moved?

Log windows cannot calibrate these: they depend on the model as much as on the log. Limits are fixed, wide and stated in
docs/drift.md, and a change of model excuses what a change of model explains.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rectory.arrays import Array
from rectory.files import exclusive, read_parquet, sha256_json, write_parquet
from rectory.monitoring.distances import wasserstein

# Users and ranks that are compared between runs: enough for shares to the third digit, small enough to keep.
_USERS = 20_000
_RANKS = 10
_TOP_ITEMS = 0.01
_KEPT = ["user_id", "item_id", "rank", "score", "model_version", "as_of"]
# Finding -> (warn from, drift from).
LIMITS: dict[str, tuple[float, float]] = {
    "exposure_top_share": (0.15, 0.3),
    "exposure_gini": (0.1, 0.2),
    "list_change": (0.7, 0.9),
    "score": (0.5, 1.0),
}
# What another model version explains by itself: its lists are meant to differ, its scores have a scale of their own.
_EXCUSED_BY_NEW_MODEL = ("list_change", "score")


@dataclass(frozen=True)
class Recommended:
    """columns: findings like those of the inputs, with `group: recommendations`; notes: what was left out and why."""

    columns: list[dict[str, Any]]
    notes: list[str]


def compact(scores: pd.DataFrame) -> pd.DataFrame:
    """The first ranks of at most _USERS users; the same users in every run, whatever the order of rows."""
    users = scores["user_id"].unique()
    if len(users) > _USERS:
        marks = np.fromiter((zlib.crc32(str(user).encode()) for user in users), dtype=np.int64, count=len(users))
        users = users[np.argsort(marks, kind="stable")[:_USERS]]
    kept = scores.loc[(scores["rank"] <= _RANKS) & scores["user_id"].isin(users), _KEPT]
    return kept.astype({"model_version": str, "as_of": str, "score": np.float32}).reset_index(drop=True)


def exchange(scores: pd.DataFrame, kept: Path, lock: Path) -> pd.DataFrame | None:
    """Keep these scores for the next run and give those of the run before, if there is one.

    Two generations are kept, so that checking one run twice compares it with its predecessor and not with itself.
    Scores of a later as_of (a backfill runs behind them) are neither compared with nor thrown away.
    """
    now = compact(scores)
    mark = sha256_json({"rows": int(pd.util.hash_pandas_object(now, index=False).sum())})
    moment = pd.Timestamp(now["as_of"].iloc[0])
    with exclusive(lock, "kept scores", timeout_seconds=60):
        before = read_parquet(kept) if kept.is_file() else None
        if before is None:
            write_parquet(now.assign(mark=mark), kept)
            return None
        others = before[before["mark"] != mark]
        order = {name: pd.Timestamp(rows["as_of"].iloc[0]) for name, rows in others.groupby("mark", sort=False)}
        if any(later > moment for later in order.values()):
            earlier = [name for name, then in order.items() if then <= moment]
            return others[others["mark"] == earlier[-1]].drop(columns="mark") if earlier else None
        # In order of writing: the last mark that is not our own is the run before.
        last = list(order)[-1:] if order else []
        previous = others[others["mark"].isin(last)]
        write_parquet(pd.concat([previous, now.assign(mark=mark)], ignore_index=True), kept)
        return previous.drop(columns="mark") if len(previous) else None


def compare_recommendations(scores: pd.DataFrame, previous: pd.DataFrame | None, catalogue: int) -> Recommended:
    """Findings on this run's lists, against the previous run's where there is one.

    Args:
        scores: user_id, rank, item_id, score, model_version, as_of.
        previous: the same, of an earlier run.
        catalogue: number of items known before as_of; items that nobody is shown count in Gini.
    """
    now = compact(scores)
    if previous is None:
        text = "No earlier run's scores of this data set: lists and scores are compared from the next run on."
        return Recommended([_described(name, value) for name, value in _exposure(now, catalogue).items()], [text])
    notes: list[str] = []
    same_model = set(now["model_version"]) == set(previous["model_version"])
    if not same_model:
        notes.append(
            "The lists come from another model version than the previous run's: changed lists and scores are shown and "
            "raise no alarm."
        )
    before_exposure, exposure = _exposure(previous, catalogue), _exposure(now, catalogue)
    columns = [
        _judged(name, abs(exposure[name] - before_exposure[name]), before_exposure[name], exposure[name], "difference")
        for name in exposure
    ]
    overlap = _overlap(now, previous)
    if overlap is not None:
        columns.append(_judged("list_change", 1 - overlap, 1.0, overlap, "1 - overlap", same_model=same_model))
    first, second = _finite(previous["score"]), _finite(now["score"])
    if len(first) and len(second):
        means = float(first.mean()), float(second.mean())
        columns.append(_judged("score", wasserstein(first, second), *means, "wasserstein", same_model=same_model))
    return Recommended(columns, notes)


def gini(counts: Array, size: int) -> float:
    """Gini coefficient of exposure: 0 all items alike, near 1 a single item takes all.

    Args:
        counts: (n,) exposures of the items that are shown at all; the other size - n items have none.
    """
    ordered = np.sort(np.asarray(counts, dtype=np.float64))
    size = max(size, len(ordered))
    places = np.arange(size - len(ordered) + 1, size + 1)
    return float(np.sum((2 * places - size - 1) * ordered) / (size * ordered.sum()))


def _exposure(lists: pd.DataFrame, catalogue: int) -> dict[str, float]:
    counts = np.sort(lists["item_id"].value_counts().to_numpy())[::-1]
    top = max(round(_TOP_ITEMS * max(catalogue, len(counts))), 1)
    return {"exposure_top_share": float(counts[:top].sum() / counts.sum()), "exposure_gini": gini(counts, catalogue)}


def _overlap(now: pd.DataFrame, previous: pd.DataFrame) -> float | None:
    """Mean share of a user's list that stood in the previous one; None: no user is in both."""
    both = now[now["user_id"].isin(previous["user_id"])]
    if both.empty:
        return None
    kept = both.merge(previous[["user_id", "item_id"]], on=["user_id", "item_id"], how="left", indicator=True)
    return float((kept["_merge"] == "both").groupby(kept["user_id"]).mean().mean())


def _finite(values: pd.Series) -> Array:
    numbers = values.to_numpy(np.float64)
    finite: Array = numbers[np.isfinite(numbers)]
    return finite


def _judged(
    name: str, distance: float, before: float, now: float, method: str, *, same_model: bool = True
) -> dict[str, Any]:
    warn, drift = LIMITS[name]
    status = "drift" if distance >= drift else "warn" if distance >= warn else "ok"
    if not same_model and name in _EXCUSED_BY_NEW_MODEL:
        status = "ok"
    return {
        "column": name,
        "group": "recommendations",
        "kind": "share" if name != "score" else "numeric",
        "method": method,
        "distance": round(distance, 6),
        "threshold": warn,
        "drift_threshold": drift,
        "status": status,
        "reference": {"value": round(before, 6)},
        "current": {"value": round(now, 6)},
        "text": f"{name}: {before:.4g} -> {now:.4g} ({method} {distance:.3f}, alarm from {warn:.3f})",
    }


def _described(name: str, value: float) -> dict[str, Any]:
    """Nothing to compare with yet: no distance, never an alarm."""
    warn, drift = LIMITS[name]
    return {
        "column": name,
        "group": "recommendations",
        "kind": "share",
        "method": "difference",
        "distance": None,
        "threshold": warn,
        "drift_threshold": drift,
        "status": "ok",
        "reference": None,
        "current": {"value": round(value, 6)},
        "text": f"{name}: {value:.4g} (no earlier run to compare with)",
    }

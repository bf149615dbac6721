"""Drift of behaviour: compare the newest window with the reference and judge each column by learned thresholds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rectory.arrays import Array, Float64Array
from rectory.monitoring.behaviour import Column, Sample, distances, prepared
from rectory.monitoring.calibration import Thresholds, learn_thresholds, leave_one_out
from rectory.monitoring.distances import CEILINGS, Method, null_scale, shares
from rectory.monitoring.plan import Plan

# Smaller distances do not matter, whatever their probability.
FLOORS: dict[Method, float] = {"wasserstein": 0.05, "jensenshannon": 0.03, "psi": 0.02}
# Without calibration; on top comes the distance that chance alone explains.
FIXED_WARN, FIXED_DRIFT = 0.1, 0.25
_CHANCE_REACH = 3.0
_SHOWN_VALUES = 6
_ORDER = {"ok": 0, "warn": 1, "drift": 2}

# (columns, reference values, current values, thresholds by column) -> distance by column
Reporter = Callable[[Sequence[Column], dict[str, Array], dict[str, Array], dict[str, float]], dict[str, float]]


@dataclass(frozen=True)
class Inputs:
    """What came of the comparison. columns: JSON-able findings; quiet: share of past windows that alarm, or None."""

    columns: list[dict[str, Any]]
    calibrated: bool
    windows: int
    quiet: float | None
    reference: Sample
    current: Sample


def worst(statuses: Sequence[str]) -> str:
    """The gravest of ok, warn, drift."""
    return max(statuses, key=_ORDER.__getitem__, default="ok")


def compare_inputs(plan: Plan, alarm_share: float, report: Reporter | None = None) -> Inputs:
    """Judge every column of the newest window.

    Args:
        alarm_share: share of quiet windows that may raise an alarm in any column.
        report: computes the distances that are judged (Evidently, which also draws them); None: our own, equal ones.
    """
    windows = plan.windows
    reference, current = windows.sample(plan.reference, plan.columns), windows.sample((0,), plan.columns)
    columns = [
        column for column in plan.columns if len(reference.columns[column.name]) and len(current.columns[column.name])
    ]
    limits, quiet = _limits(plan, columns, alarm_share, reference, current)
    warn = {column.name: float(limit) for column, limit in zip(columns, limits.warn, strict=True)}
    drift = {column.name: float(limit) for column, limit in zip(columns, limits.drift, strict=True)}
    sides = [prepared(column, reference.columns[column.name], current.columns[column.name]) for column in columns]
    shown = [column for column, _, _ in sides]
    before = {column.name: values for column, values, _ in sides}
    now = {column.name: values for column, _, values in sides}
    if report is None:
        found = dict(zip(warn, distances(columns, reference, current).tolist(), strict=True))
    else:
        found = report(shown, before, now, warn)
    findings = [
        _finding(column, found[column.name], warn[column.name], drift[column.name], (left, right))
        for column, left, right in sides
    ]
    return Inputs(findings, limits.windows > 0, limits.windows, quiet, reference, current)


def past_distances(plan: Plan, columns: Sequence[Column]) -> Float64Array:
    """(n_pairs, n_columns): each past window against its own reference, newest first."""
    windows = plan.windows
    return np.asarray(
        [
            distances(columns, windows.sample(reference, columns), windows.sample((window,), columns))
            for window, reference in plan.pairs
        ]
    )


def floors(columns: Sequence[Column]) -> Float64Array:
    """(n_columns,) distances too small to matter."""
    return np.asarray([FLOORS[column.method] for column in columns])


def ceilings(columns: Sequence[Column]) -> Float64Array:
    """(n_columns,) largest possible distances."""
    return np.asarray([CEILINGS[column.method] for column in columns])


def _limits(
    plan: Plan, columns: Sequence[Column], alarm_share: float, reference: Sample, current: Sample
) -> tuple[Thresholds, float | None]:
    """Learned thresholds and the share of past windows that they would call, or fixed ones and None."""
    if plan.pairs:
        past = past_distances(plan, columns)
        lowest, highest = floors(columns), ceilings(columns)
        alarms = leave_one_out(past, alarm_share, lowest, highest)
        learned = learn_thresholds(past, alarm_share, lowest, highest)
        return learned, None if alarms is None else float(alarms.mean())
    # Rows of one user resemble each other: users, not rows, are the independent draws.
    chance = np.asarray(
        [null_scale(column.method, len(column.labels), reference.users, current.users) for column in columns]
    )
    return Thresholds(FIXED_WARN + _CHANCE_REACH * chance, FIXED_DRIFT + _CHANCE_REACH * chance, 0), None


def _finding(column: Column, found: float, warn: float, drift: float, sides: tuple[Array, Array]) -> dict[str, Any]:
    status = "drift" if found >= drift else "warn" if found >= warn else "ok"
    reference, current = _summaries(column, *sides)
    return {
        "column": column.name,
        "kind": column.kind,
        "method": column.method,
        "distance": round(found, 6),
        "threshold": round(warn, 6),
        "drift_threshold": round(drift, 6),
        "status": status,
        "reference": reference,
        "current": current,
        "text": f"{column.name}: {_change(reference, current)} ({column.method} {found:.3f}, alarm from {warn:.3f})",
    }


def _summaries(column: Column, before: Array, now: Array) -> tuple[dict[str, float], dict[str, float]]:
    """Numeric: mean and median. Otherwise the shares of the values that changed most."""
    if column.kind == "numeric":
        both = [{"mean": float(np.mean(side)), "median": float(np.median(side))} for side in (before, now)]
    else:
        size = len(column.labels)
        left, right = (shares(np.bincount(side, minlength=size)) for side in (before, now))
        top = np.argsort(-np.abs(left - right), kind="stable")[:_SHOWN_VALUES]
        both = [{column.labels[code]: float(side[code]) for code in top} for side in (left, right)]
    reference, current = ({name: round(value, 6) for name, value in side.items()} for side in both)
    return reference, current


def _change(reference: dict[str, float], current: dict[str, float]) -> str:
    """The first entry in words: `mean 3.1 -> 4.0`, `share of new 2.0% -> 9.1%`."""
    name = next(iter(reference))
    if "mean" in reference and "median" in reference:
        return f"mean {reference['mean']:.4g} -> {current['mean']:.4g}"
    return f"share of {name} {reference[name]:.1%} -> {current[name]:.1%}"

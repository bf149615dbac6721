"""Rows for the page's tables: plain values, ready to print; no markup here, no arithmetic in the templates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from rectory.reporting.inputs import Facts, Inputs
from rectory.reporting.summary import Interval, Summary
from rectory.reporting.words import METRICS, more_is_better, ranked, winner

TABLES = ("interactions", "items", "users")


@dataclass(frozen=True)
class Forest:
    """Where intervals lie between 0 and 100 (% of the plot's width).

    rows: (name, badges, interval, users, left, point, right); places are None where nothing was measured.
    ticks: (place, label). best: place of the best value.
    """

    rows: list[dict[str, Any]]
    ticks: list[tuple[float, str]]
    best: float | None


def badges(name: str, summary: Summary) -> list[str]:
    """champion, challenger, baseline: in words, as colour alone says nothing to some readers."""
    found = []
    if name == winner(summary):
        found.append("champion")
    elif name == summary.decision.challenger:
        found.append("challenger")
    if summary.candidates[name].baseline:
        found.append("baseline")
    return found


def forest(summary: Summary) -> Forest:
    """Candidates by the gate's metric with their 95% intervals."""
    known = [
        one for _, facts in ranked(summary) if (one := facts.metrics.get(summary.metric)) and one.value is not None
    ]
    ends = [end for one in known for end in (one.low, one.high, one.value) if end is not None]
    # From zero, so that lengths can be compared by eye; only candidates that lie close together are looked at closer.
    top = max(ends, default=1.0) or 1.0
    bottom = 0.0 if min(ends, default=0.0) < 0.6 * top else min(ends) - 0.15 * (top - min(ends) + 0.02 * top)
    top = max(top, bottom + 1e-9)
    span = (top - bottom) * 1.03

    def place(value: float | None) -> float | None:
        return None if value is None else round(100 * (value - bottom) / span, 2)

    rows: list[dict[str, Any]] = []
    for name, facts in ranked(summary):
        one = facts.metrics.get(summary.metric) or Interval(value=None)
        left, right = place(one.low), place(one.high)
        rows.append(
            {
                "name": name,
                "badges": badges(name, summary),
                "facts": facts,
                "metric": one,
                "left": left,
                "point": place(one.value),
                "width": None if left is None or right is None else round(right - left, 2),
            }
        )
    ticks = [(place(value) or 0.0, f"{value:.4g}") for value in _round_values(bottom, top)]
    best = max((row["point"] for row in rows if row["point"] is not None), default=None)
    return Forest(rows, ticks, best)


def _round_values(bottom: float, top: float) -> list[float]:
    """Three to six round numbers between the two."""
    size = 10.0 ** math.floor(math.log10(top - bottom))
    step = next(one for part in (0.1, 0.2, 0.25, 0.5, 1.0, 2.0) if (top - bottom) / (one := part * size) <= 6)
    return [number * step for number in range(math.ceil(bottom / step - 1e-9), math.floor(top / step + 1e-9) + 1)]


def metric_table(summary: Summary) -> list[dict[str, Any]]:
    """One row a metric, one cell a candidate (best first); `best` marks the best value where a direction is known."""
    order = [name for name, _ in ranked(summary)]
    metrics = dict.fromkeys(metric for name in order for metric in summary.candidates[name].metrics)
    rows = []
    for metric in sorted(metrics, key=_metric_order):
        cells = [summary.candidates[name].metrics.get(metric) for name in order]
        rows.append({"metric": metric, "k": _list_length(metric), "cells": _marked(cells, more_is_better(metric))})
    return rows


def slice_table(summary: Summary) -> list[dict[str, Any]]:
    """The gate's metric by slice: `heat` is the value's share of the row's best."""
    order = [name for name, _ in ranked(summary)]
    labels = dict.fromkeys(label for name in order for label in summary.candidates[name].slices)
    if not labels:
        return []
    rows = [_slice_row("all users", [summary.candidates[name].metrics.get(summary.metric) for name in order])]
    for label in labels:
        cells = [summary.candidates[name].slices.get(label, {}).get(summary.metric) for name in order]
        rows.append(_slice_row(label, cells))
    return rows


def _slice_row(label: str, cells: list[Interval | None]) -> dict[str, Any]:
    users = max((one.users for one in cells if one), default=0)
    return {"label": label, "users": users, "cells": _marked(cells, True)}


def _marked(cells: list[Interval | None], more: bool | None) -> list[dict[str, Any]]:
    values = [one.value for one in cells if one and one.value is not None]
    top = max(values, default=0.0)
    best = None if more is None or not values else top if more else min(values)
    return [
        {
            "metric": one,
            "best": one is not None and one.value is not None and one.value == best,
            "heat": round(max(one.value, 0.0) / top, 3) if one and one.value is not None and top > 0 else 0.0,
        }
        for one in cells
    ]


def _metric_order(metric: str) -> tuple[int, int, str]:
    """By length of the list, then as the glossary has them; unknown ones last."""
    family = metric.partition("@")[0]
    known = list(METRICS)
    return _list_length(metric), known.index(family) if family in known else len(known), metric


def _list_length(metric: str) -> int:
    length = metric.partition("@")[2]
    return int(length) if length.isdigit() else 10**9


def scatter_points(summary: Summary) -> tuple[str, list[tuple[str, float, float, bool, bool]]]:
    """Name of the coverage metric and (name, coverage, value, baseline, winner) of each candidate that has both."""
    _, _, k = summary.metric.partition("@")
    names = dict.fromkeys(metric for facts in summary.candidates.values() for metric in facts.metrics)
    spread = next((name for name in (f"coverage@{k}", f"catalog_coverage@{k}", "coverage") if name in names), "")
    points = []
    for name, facts in summary.candidates.items():
        wide, good = facts.metrics.get(spread), facts.metrics.get(summary.metric)
        if wide and good and wide.value is not None and good.value is not None:
            points.append((name, wide.value, good.value, facts.baseline, name == winner(summary)))
    return spread, points


def row_table(validation: Facts) -> list[dict[str, Any]]:
    """Rows in, kept, quarantined and filtered of each table, and whether they add up."""
    rows = []
    for name in TABLES:
        if facts := validation.get("tables", {}).get(name):
            kept, bad, left_out = (int(facts.get(f"rows_{part}", 0)) for part in ("kept", "quarantined", "filtered"))
            total = int(facts.get("rows_in", 0))
            rows.append(
                {
                    "name": name,
                    "in": total,
                    "kept": kept,
                    "quarantined": bad,
                    "filtered": left_out,
                    "adds_up": total == kept + bad + left_out,
                }
            )
    return rows


def reason_table(validation: Facts) -> list[dict[str, Any]]:
    """Why rows were set aside, most frequent first, with an example row."""
    rows = []
    for name in TABLES:
        facts = validation.get("tables", {}).get(name) or {}
        for kind in ("quarantined", "filtered"):
            for reason, number in facts.get(kind, {}).items():
                example = facts.get("examples", {}).get(reason) or {}
                rows.append(
                    {
                        "table": name,
                        "kind": kind,
                        "reason": reason,
                        "rows": int(number),
                        "of": int(facts.get("rows_in", 0)),
                        "example": list(example.items()),
                    }
                )
    return sorted(rows, key=lambda row: (-row["rows"], row["table"], row["reason"]))


def drift_table(summary: Summary) -> list[dict[str, Any]]:
    """Columns by how near they are to an alarm; `place` in % of the bar's width, the first threshold lies at 50."""
    rows = []
    for one in summary.drift.columns:
        ratio = one.distance / one.threshold if one.distance is not None and one.threshold else None
        place = None if ratio is None else round(min(ratio, 2.0) * 50, 1)
        alarm = one.drift_threshold / one.threshold * 50 if one.drift_threshold and one.threshold else None
        rows.append({"column": one, "ratio": ratio, "place": place, "alarm": alarm if alarm and alarm < 100 else None})
    return sorted(rows, key=lambda row: (-(row["ratio"] if row["ratio"] is not None else -1.0), row["column"].column))


def timing_table(inputs: Inputs) -> list[dict[str, Any]]:
    """Steps with seconds, own computing time and memory; bars in % of the longest."""
    longest = max((facts["seconds"] for facts in inputs.timings.values()), default=0) or 1
    return [
        {"label": label, "facts": facts, "width": round(100 * facts["seconds"] / longest, 1)}
        for label, facts in inputs.timings.items()
    ]

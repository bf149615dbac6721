"""Rows for the page's tables: plain values, ready to print; no markup here, no arithmetic in the templates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from rectory.reporting.inputs import Facts, Inputs
from rectory.reporting.pareto import Point
from rectory.reporting.summary import Interval, Summary, trade_offs
from rectory.reporting.words import BESIDE, METRICS, more_is_better, ranked, winner

TABLES = ("interactions", "items", "users")
SLICES = tuple(
    f"{family}={value}"
    for family, values in {
        "users": ("cold", "lukewarm", "warm"),
        "activity": ("low", "middle", "high"),
        "items": ("head", "middle", "tail"),
        "interactions": ("repeat", "new"),
    }.items()
    for value in values
)


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
    """champion, challenger, baseline, front: in words, as colour alone says nothing to some readers."""
    found = []
    if name == winner(summary):
        found.append("champion")
    elif name == summary.decision.challenger:
        found.append("challenger")
    if summary.candidates[name].baseline:
        found.append("baseline")
    if name in summary.pareto:
        found.append("front")
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


def metric_tables(summary: Summary) -> list[dict[str, Any]]:
    """One table for each length of lists and side of quality, candidates (best first) down and metrics across.

    `best` marks the best value of a column where a direction is known.
    """
    order = [name for name, _ in ranked(summary)]
    metrics = dict.fromkeys(metric for name in order for metric in summary.candidates[name].metrics)
    tables: dict[tuple[int, bool], list[str]] = {}
    for metric in sorted(metrics, key=_metric_order):
        tables.setdefault((_list_length(metric), _is_ranking(metric)), []).append(metric)
    return [_metric_table(summary, order, *key, names) for key, names in tables.items()]


def _metric_table(summary: Summary, order: list[str], k: int, ranking: bool, metrics: list[str]) -> dict[str, Any]:
    columns = [
        _marked([summary.candidates[name].metrics.get(metric) for name in order], more_is_better(metric))
        for metric in metrics
    ]
    length = f"Lists of {k}" if k < 10**9 else "Whole lists"
    return {
        "k": k,
        "title": f"{length}: {'being right' if ranking else 'beside being right'}",
        "metrics": metrics,
        "rows": [{"name": name, "cells": [column[place] for column in columns]} for place, name in enumerate(order)],
    }


def _is_ranking(metric: str) -> bool:
    return metric.partition("@")[0] not in BESIDE


def slice_groups(summary: Summary) -> list[dict[str, Any]]:
    """The gate's metric by slice, in groups; `heat` is the value's share of the row's best.

    declared: the group is a user attribute.
    """
    order = [name for name, _ in ranked(summary)]
    labels = sorted({label for name in order for label in summary.candidates[name].slices}, key=_slice_order)
    groups: dict[str, list[dict[str, Any]]] = {}
    for label in labels:
        cells = [summary.candidates[name].slices.get(label, {}).get(summary.metric) for name in order]
        family, _, value = label.partition("=")
        groups.setdefault(family, []).append(_slice_row(value, cells, summary.slice_meanings.get(label, "")))
    if not groups:
        return []
    everyone = [summary.candidates[name].metrics.get(summary.metric) for name in order]
    found = [{"title": "all", "declared": False, "rows": [_slice_row("all users", everyone, "")]}]
    for family, rows in groups.items():
        declared = family.startswith("user.")
        found.append({"title": family.removeprefix("user.").replace("_", " "), "declared": declared, "rows": rows})
    return found


def _slice_order(label: str) -> tuple[int, str]:
    """Fixed slices as SLICES has them, then declared attributes by name and value."""
    return (SLICES.index(label) if label in SLICES else len(SLICES), label)


def _slice_row(label: str, cells: list[Interval | None], meaning: str) -> dict[str, Any]:
    users = max((one.users for one in cells if one), default=0)
    return {"label": label, "meaning": meaning, "users": users, "cells": _marked(cells, True)}


def gap_table(summary: Summary) -> list[dict[str, Any]]:
    """One row an attribute, one cell a candidate, best first: the largest gap, and whether it is beyond chance."""
    order = [name for name, _ in ranked(summary)]
    attributes = dict.fromkeys(attribute for name in order for attribute in summary.candidates[name].gaps)
    rows = []
    for attribute in attributes:
        cells = [summary.candidates[name].gaps.get(attribute) for name in order]
        rows.append(
            {
                "attribute": attribute.replace("_", " "),
                "users": max((one.gap.users for one in cells if one), default=0),
                "cells": [{"gap": one, "sure": one is not None and (one.gap.low or 0) > 0} for one in cells],
            }
        )
    return rows


def behaviour_table(summary: Summary) -> dict[str, Any]:
    """Tests down, candidates (best first) across; and the words of those that failed."""
    order = [name for name, facts in ranked(summary) if facts.behaviour]
    tests = dict.fromkeys(test.name for name in order for test in summary.candidates[name].behaviour)
    results = {(name, test.name): test for name in order for test in summary.candidates[name].behaviour}
    return {
        "candidates": order,
        "rows": [
            {"name": test.replace("_", " "), "cells": [results.get((name, test)) for name in order]} for test in tests
        ],
        "failed": [
            (name, test.name.replace("_", " "), test.text)
            for name in order
            for test in summary.candidates[name].behaviour
            if not test.passed
        ],
    }


def _marked(cells: list[Interval | None], more: bool | None) -> list[dict[str, Any]]:
    values = [one.value for one in cells if one and one.value is not None]
    top = max(values, default=0.0)
    # Where all are alike, or more is better and none has any, there is no best one.
    plain = more is None or not values or min(values) == top or (more and top <= 0)
    best = None if plain else top if more else min(values)
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


def trade_off_points(summary: Summary) -> list[Point]:
    """Candidates that have both the gate's metric and coverage, in the order of the summary."""
    points = []
    for name, (value, coverage) in trade_offs(summary.candidates, summary.metric).items():
        facts = summary.candidates[name]
        one = facts.metrics[summary.metric]
        points.append(
            Point(
                name,
                value,
                coverage,
                low=one.low,
                high=one.high,
                baseline=facts.baseline,
                winner=name == winner(summary),
                front=name in summary.pareto,
            )
        )
    return points


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

"""Figures of a backtest, in the style of the run report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from rectory.evaluation.backtest import CAUSED, GAINED, MISSED, PREVENTED
from rectory.reporting.plots import _MARKERS, INK, MUTED, SERIES, _spread, _svg
from rectory.reporting.words import duration

Facts = dict[str, Any]
_PANEL = (4.6, 2.5)
_COLOURS = {
    "never": SERIES[7],
    "always": SERIES[1],
    "greater": SERIES[3],
    "gate": SERIES[0],
    "gate_strict": SERIES[5],
    "on_drift": SERIES[2],
}
_RIGHT, _WRONG = (GAINED, PREVENTED), (CAUSED, MISSED)


def quality_over_time(summary: Facts) -> str:
    """The metric's mean on each date, a line for each policy; dashed: with refits."""
    dates = list(summary["dates"])

    def draw(axes: Any) -> None:
        for number, (name, policy) in enumerate(summary["policies"].items()):
            values = [policy["by_date"].get(date, {}).get("value") for date in dates]
            axes.plot(
                range(len(dates)),
                [float("nan") if value is None else value for value in values],
                color=_COLOURS[policy["base"]],
                linestyle="--" if policy["refit"] else "-",
                marker=_MARKERS[number % len(_MARKERS)],
                markersize=4.5,
                linewidth=1.7,
                label=name,
            )
        _dates(axes, dates)
        axes.set_ylabel(summary["metric"])
        axes.figure.legend(
            loc="outside lower center", frameon=False, fontsize=11, labelcolor=INK, ncols=5, handlelength=2.6
        )

    return _svg("backtest-quality", draw, (9.2, 4.0))


def gain_over_time(summary: Facts, name: str) -> str:
    """One policy's gain over the reference on each date, with its interval; all panels have one scale."""
    dates, policy = list(summary["dates"]), summary["policies"][name]

    def draw(axes: Any) -> None:
        axes.axhline(0, color=MUTED, linewidth=1)
        _intervals(axes, dates, policy["gain_by_date"], _COLOURS[policy["base"]])
        low, high = _range(
            [gain for one in summary["policies"].values() for gain in one["gain_by_date"].values() if gain]
        )
        axes.set_ylim(low, high)
        _dates(axes, dates, most=5)
        axes.set_ylabel(f"over {summary['reference']} (%)")

    return _svg(f"backtest-gain-{name}", draw, _PANEL)


def seats(summary: Facts) -> str:
    """Who served when: a cell for each policy and date, coloured by candidate, with the age of the data in days."""
    dates, policies = list(summary["dates"]), summary["policies"]
    held = list(dict.fromkeys(turn["seat"]["candidate"] for one in policies.values() for turn in one["turns"]))
    moments = {date: pd.Timestamp(moment) for date, moment in summary["dates"].items()}

    def draw(axes: Any) -> None:
        for row, policy in enumerate(policies.values()):
            for column, turn in enumerate(policy["turns"]):
                seat = turn["seat"]
                colour = SERIES[held.index(seat["candidate"]) % len(SERIES)]
                axes.barh(row, 0.94, left=column - 0.47, height=0.8, color=colour, alpha=0.3, linewidth=0)
                age = (moments[turn["date"]] - moments[seat["date"]]).days
                text = "refit" if policy["refit"] else f"{age} d" if age else "new"
                axes.text(column, row, text, ha="center", va="center", fontsize=9.5, color=INK)
                if turn["promoted"]:
                    axes.plot(column - 0.38, row - 0.24, marker="*", markersize=9, color=colour)
                if turn["drift"] and turn["drift"]["status"] == "drift":
                    axes.plot(column + 0.38, row - 0.24, marker="v", markersize=7, color=INK)
        for number, candidate in enumerate(held):
            axes.bar(0, 0, color=SERIES[number % len(SERIES)], alpha=0.3, label=candidate)
        axes.plot([], [], linestyle="", marker="*", markersize=9, color=MUTED, label="promotion")
        axes.plot([], [], linestyle="", marker="v", markersize=7, color=INK, label="drift alarm")
        axes.set_yticks(range(len(policies)), list(policies))
        axes.tick_params(axis="y", labelcolor=INK)
        axes.set_ylim(len(policies) - 0.45, -0.6)
        axes.set_xlim(-0.55, len(dates) - 0.45)
        _dates(axes, dates)
        axes.grid(visible=False)
        axes.figure.legend(loc="outside lower center", frameon=False, fontsize=11, labelcolor=INK, ncols=5)

    return _svg("backtest-seats", draw, (9.2, 1.4 + 0.42 * len(policies)))


def decisions(summary: Facts, name: str) -> str:
    """Each decision of a policy by what the challenger was worth afterwards; filled: promoted, hollow: refused."""
    dates = list(summary["dates"])
    turns = {turn["date"]: turn for turn in summary["policies"][name]["turns"] if turn["later"]}

    def draw(axes: Any) -> None:
        axes.axhline(0, color=MUTED, linewidth=1)
        for number, date in enumerate(dates):
            if date not in turns:
                continue
            turn = turns[date]
            colour = SERIES[2] if turn["verdict"] in _RIGHT else SERIES[1] if turn["verdict"] in _WRONG else MUTED
            low, value, high = _percent(turn["later"])
            axes.plot([number, number], [low, high], color=colour, linewidth=1.6)
            face = colour if turn["promoted"] else "none"
            axes.plot(
                [number], [value], marker="o", markersize=8, color=colour, markerfacecolor=face, markeredgewidth=1.8
            )
        axes.set_ylim(
            *_range([turn["later"] for one in summary["policies"].values() for turn in one["turns"] if turn["later"]])
        )
        _dates(axes, dates, most=5)
        axes.set_ylabel("challenger later (%)")

    return _svg(f"backtest-decisions-{name}", draw, _PANEL)


def worth_of_computing(summary: Facts) -> str:
    """Quality against what each policy computed for it."""
    policies = summary["policies"]

    def draw(axes: Any) -> None:
        points = [(name, one["spent"]["seconds"], one["quality"]) for name, one in policies.items()]
        wide = max((seconds for _, seconds, _ in points), default=0.0) or 1.0
        bottom, top = min(one["low"] for *_, one in points), max(one["high"] for *_, one in points)
        margin = 0.12 * max(top - bottom, 1e-9)
        points.sort(key=lambda point: point[2]["value"])
        gap = 0.075 * (top - bottom + 2 * margin)
        heights = _spread([one["value"] for *_, one in points], gap, bottom - margin, top + margin)
        for (name, seconds, one), height in zip(points, heights, strict=True):
            policy = policies[name]
            colour = _COLOURS[policy["base"]]
            axes.plot([seconds, wide * 1.12], [one["value"], height], color=colour, linewidth=0.7, linestyle=":")
            axes.plot([seconds, seconds], [one["low"], one["high"]], color=colour, linewidth=1.4, alpha=0.6)
            face = "none" if policy["refit"] else colour
            axes.plot([seconds], [one["value"]], marker="o", markersize=8, color=colour, markerfacecolor=face)
            axes.annotate(
                name, (wide * 1.14, height), ha="left", va="center", fontsize=11, color=INK, annotation_clip=False
            )
        axes.set_xlim(-0.03 * wide, wide * 1.12)
        axes.set_ylim(bottom - margin, top + margin)
        axes.xaxis.set_major_formatter(lambda seconds, _: duration(seconds) if seconds else "0")
        axes.set_xlabel("seconds of computing spent on fits")
        axes.set_ylabel(summary["metric"])

    return _svg("backtest-computing", draw, (7.4, 3.6))


def _intervals(axes: Any, dates: Sequence[str], gains: Facts, colour: str) -> None:
    places = [number for number, date in enumerate(dates) if gains.get(date)]
    if not places:
        return
    lows, values, highs = zip(*(_percent(gains[dates[number]]) for number in places), strict=True)
    axes.fill_between(places, lows, highs, color=colour, alpha=0.18, linewidth=0)
    axes.plot(places, values, color=colour, linewidth=1.8, marker="o", markersize=4)


def _percent(gain: Facts) -> tuple[float, float, float]:
    """Low, value and high in %; nan where there is no relative gain."""
    one = gain["relative"] or {"low": None, "value": None, "high": None}
    low, value, high = (float("nan") if one[end] is None else 100 * one[end] for end in ("low", "value", "high"))
    return low, value, high


def _range(gains: Sequence[Facts]) -> tuple[float, float]:
    """Of all intervals, with a margin, never narrower than one per cent to each side of zero."""
    ends = [end for gain in gains for end in _percent(gain) if end == end]  # noqa: PLR0124 - no nan
    low, high = min([-1.0, *ends]), max([1.0, *ends])
    margin = 0.06 * (high - low)
    return low - margin, high + margin


def _dates(axes: Any, dates: Sequence[str], most: int = 13) -> None:
    step = max(1, -(-len(dates) // most))
    one_year = len({date[:4] for date in dates}) == 1
    labels = [date[5:] if one_year else date for date in dates]
    axes.set_xticks(range(0, len(dates), step), labels[::step])
    axes.grid(axis="x", visible=False)

"""The page of a backtest: one HTML file that needs nothing from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rectory.evaluation.backtest import (
    CAUSED,
    FALSE_ALARM,
    GAINED,
    LEVEL,
    MISSED,
    PREVENTED,
    SILENT,
    TRUE_ALARM,
    UNHEARD,
)
from rectory.reporting import backtest_plots, words
from rectory.reporting.backtest_summary import lead, percent, shade

Facts = dict[str, Any]


def render_backtest(summary: Facts) -> str:
    """The whole page as text.

    Args:
        summary: what summary.json holds.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("rectory.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "figure": words.figure,
        "count": words.count,
        "duration": words.duration,
        "moment": words.moment,
        "percent": percent,
        "shade": shade,
    }
    style = (Path(__file__).parent / "templates" / "style.css").read_text(encoding="utf-8")
    policies = summary["policies"]
    others = [name for name in policies if name != summary["reference"]]
    deciding = [name for name in policies if any(turn["later"] for turn in policies[name]["turns"])]

    def drawn(svg: str) -> Any:
        return Markup(svg)  # noqa: S704 - matplotlib escapes its texts

    return environment.get_template("backtest.html.j2").render(
        summary=summary,
        style=Markup(style),  # noqa: S704 - our own file
        state=state(summary),
        lead=lead(summary),
        ranked=sorted(policies, key=lambda name: -policies[name]["quality"]["value"]),
        quality=drawn(backtest_plots.quality_over_time(summary)),
        gains=[(name, drawn(backtest_plots.gain_over_time(summary, name))) for name in others],
        seats=drawn(backtest_plots.seats(summary)),
        # Refits do not change what is decided, so their panels would repeat their base's.
        decisions=[
            (name, drawn(backtest_plots.decisions(summary, name)))
            for name in deciding
            if not (policies[name]["refit"] and policies[name]["base"] in deciding)
        ],
        computing=drawn(backtest_plots.worth_of_computing(summary)),
        fits=fit_rows(summary),
        verdicts={"gained": GAINED, "caused": CAUSED, "prevented": PREVENTED, "missed": MISSED, "level": LEVEL},
        alarms={"right": TRUE_ALARM, "wrong": FALSE_ALARM, "unheard": UNHEARD, "quiet": SILENT},
    )


def state(summary: Facts) -> str:
    """Whether the gate (or the first policy) did better than doing nothing: a name of the style sheet."""
    gate = summary["policies"].get("gate", {}).get("gains", {}).get("never")
    return {"better": "promoted", "worse": "refused", "": "kept"}[shade(gate)]


def fit_rows(summary: Facts) -> list[tuple[str, float, float]]:
    """(candidate, seconds of its fits on all dates, longest fit), dearest first."""
    rows = []
    for name in summary["candidates"]:
        seconds = [by_date[name] for by_date in summary["fit_seconds"].values()]
        rows.append((name, sum(seconds), max(seconds)))
    return sorted(rows, key=lambda row: -row[1])

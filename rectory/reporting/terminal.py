"""What a run ends with in the terminal; reads well at 80 columns and without colour."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rectory.reporting.summary import Summary
from rectory.reporting.views import badges
from rectory.reporting.words import count, duration, figure, headline, moment, ranked, short_hash, verdict, winner

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_COLOURS = {"promoted": "green", "kept": "cyan", "refused": "red", "failed": "red", "undecided": "yellow"}
_DRIFT = {"ok": "green", "warn": "yellow", "drift": "red", "unknown": "dim"}
_MARKS = {True: "[green]pass[/]", False: "[red]FAIL[/]", None: "[dim]note[/]"}
_MOST_COLUMNS = 4


def print_summary(summary: Summary, console: Console, reports: Path = Path("reports")) -> None:
    """Candidates side by side, the decision and its reasons, what else was found, the page, and what to type next.

    Args:
        summary: of the run.
        console: to print on; its width is used, its colours are optional.
        reports: folder with `latest/`, as the person would type it.
    """
    from rich.markup import escape
    from rich.padding import Padding

    console.print()
    console.print(f"[bold]{escape(summary.dataset)}[/], as of {moment(summary.as_of)}", highlight=False)
    if summary.reused:
        console.print(
            "Nothing has changed since the last run: its results stand, nothing was trained.", highlight=False
        )
    console.print()
    if summary.candidates:
        console.print(Padding(_candidates(summary), (0, 0, 1, 0)))
    console.print(f"[bold {_COLOURS[verdict(summary)]}]{escape(headline(summary))}[/]", highlight=False)
    if summary.decision.rules:
        console.print(_rules(summary))
    console.print()
    console.print(_facts(summary, reports))
    console.print()
    console.print(_next(reports))


def _candidates(summary: Summary) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), expand=False)
    table.add_column("candidate", overflow="fold")
    table.add_column(summary.metric, justify="right", no_wrap=True)
    table.add_column("95% interval", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("fit", justify="right", no_wrap=True)
    entries = ranked(summary)
    ends = [metrics.high or metrics.value or 0 for _, one in entries if (metrics := one.metrics.get(summary.metric))]
    top = max(ends, default=0)
    for name, facts in entries:
        marks = [mark for mark in badges(name, summary) if mark != "front"]  # It has a line of its own.
        one = facts.metrics.get(summary.metric)
        table.add_row(
            escape(name)
            + (f" [{'bold green' if 'champion' in marks else 'dim'}]({', '.join(marks)})[/]" if marks else ""),
            figure(one.value if one else None),
            f"{figure(one.low)} {figure(one.high)}" if one and one.low is not None else "",
            _bar(one.low, one.value, one.high, top) if one else "",
            duration(facts.fit_seconds),
        )
    return table


def _bar(low: float | None, value: float | None, high: float | None, top: float, width: int = 10) -> str:
    """`      --o--   ` in plain ASCII: the interval's place between 0 and the largest upper bound."""
    if value is None or not top:
        return ""
    left, point, right = (
        min(width - 1, max(0, round((value if end is None else end) / top * (width - 1)))) for end in (low, value, high)
    )
    return "".join("o" if place == point else "-" if left <= place <= right else " " for place in range(width))


def _rules(summary: Summary) -> Table:
    from rich.markup import escape

    table = _grid(6)
    for rule in summary.decision.rules:
        table.add_row(f"  {_MARKS[rule.passed]}", escape(rule.text))
    for tried in summary.decision.attempts:
        missed = next((rule.text for rule in tried.rules if rule.passed is False), "")
        table.add_row("  [dim]also[/]", escape(f"{tried.challenger} was tried and refused: {missed}"))
    return table


def _facts(summary: Summary, reports: Path) -> Table:
    from rich.markup import escape

    rows = summary.snapshot
    table = _grid(8)
    if summary.refit is not None:
        who = f"version {summary.refit.version}: " if summary.refit.served else "nothing was fitted again: "
        table.add_row("serves", escape(who + summary.refit.text))
    table.add_row(
        "data",
        f"{count(rows.rows_in)} rows = {count(rows.rows_kept)} kept + {count(rows.rows_quarantined)} quarantined + "
        f"{count(rows.rows_filtered)} filtered; {short_hash(rows.hash)}",
    )
    drift = summary.drift
    moved = [one.column for one in drift.columns if one.status != "ok"]
    more = f" and {len(moved) - _MOST_COLUMNS} more" if len(moved) > _MOST_COLUMNS else ""
    which = f": {escape(', '.join(moved[:_MOST_COLUMNS]))}{more}" if moved else ""
    watched = f" ({len(drift.columns)} columns watched)" if drift.columns else ""
    table.add_row("drift", f"[{_DRIFT[drift.status]}]{drift.status}[/]{which}{watched}")
    for label, words in _evidence(summary):
        table.add_row(label, escape(words))
    memory = f", at most {summary.peak_memory_mb / 1024:.1f} GiB" if summary.peak_memory_mb else ""
    table.add_row("time", f"{duration(summary.total_seconds)}{memory}")
    table.add_row("report", f"[bold]{escape(str(reports / 'latest' / 'index.html'))}[/]")
    return table


def _evidence(summary: Summary) -> list[tuple[str, str]]:
    """What else was found of the candidates; nothing where nothing was."""
    found = []
    if len(summary.candidates) > 1 and summary.pareto:
        found.append(("front", f"in accuracy and coverage nobody beats {', '.join(summary.pareto)}"))
    shown = winner(summary) or next((name for name, _ in ranked(summary)), None)
    facts = summary.candidates[shown] if shown else None
    if facts and facts.gaps:
        sure = [
            f"{attribute} ({one.best} over {one.worst} by {figure(one.gap.value, 3)})"
            for attribute, one in facts.gaps.items()
            if (one.gap.low or 0) > 0
        ]
        beyond = f"beyond chance for {shown}: {', '.join(sure)}" if sure else f"none is beyond chance for {shown}"
        found.append(("gaps", f"{beyond}; {len(facts.gaps)} user attributes"))
    tested = {name: one.behaviour for name, one in summary.candidates.items() if one.behaviour}
    if tested:
        failed = [
            f"{name}: {test.name.replace('_', ' ')}"
            for name, tests in tested.items()
            for test in tests
            if not test.passed
        ]
        number = sum(len(tests) for tests in tested.values())
        found.append(("tests", f"{number} of behaviour; {'failed ' + ', '.join(failed) if failed else 'all passed'}"))
    for name in dict.fromkeys(one for one in (shown, summary.decision.challenger) if one):
        notes = summary.candidates[name].notes if name in summary.candidates else []
        found += [("why", f"{name}: {note}") for note in notes]
    return found


def _next(reports: Path) -> Table:
    from rich.markup import escape

    table = _grid(8)
    for number, command in enumerate(
        (
            "rectory recommend USER",
            "rectory status",
            "prefect server start",
            "mlflow ui --backend-store-uri sqlite:///.rectory/mlflow.db",
            f"open {reports / 'latest' / 'index.html'}",
        )
    ):
        table.add_row("" if number else "next", escape(command))
    return table


def _grid(width: int) -> Table:
    from rich.table import Table

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, min_width=width)
    table.add_column(overflow="fold")
    return table

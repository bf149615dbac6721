"""How facts look on a terminal."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


def print_validation(report: dict[str, Any], console: Console) -> None:
    """Rows in, kept, quarantined and filtered for each table, reasons with an example, and the checks."""
    table = Table(title=f"{report['dataset']} as of {report['as_of']}", title_justify="left")
    table.add_column("table")
    for column in ("in", "kept", "quarantined", "filtered"):
        table.add_column(column, justify="right")
    for name, facts in report["tables"].items():
        counts = (facts[key] for key in ("rows_in", "rows_kept", "rows_quarantined", "rows_filtered"))
        table.add_row(name, *(f"{count:,}" for count in counts))
    console.print(table)
    for name, facts in report["tables"].items():
        for part in ("quarantined", "filtered"):
            for reason, count in facts[part].items():
                example = facts["examples"].get(reason)
                console.print(f"  {name}: {count:,} {part}: {reason}", highlight=False, markup=False)
                if example:
                    console.print(f"    e.g. {example}", style="dim", highlight=False, markup=False)
    for check in report["checks"]:
        colour = _COLOURS.get(check["status"], "")
        console.print(f"[{colour}]{check['status']:>5}[/{colour}]  {check['name']}: {check['text']}", highlight=False)


def print_status(facts: dict[str, Any], console: Console) -> None:
    """Who serves, what it scored, the drift, the last decisions."""
    champion = facts["champion"]
    if champion is None:
        console.print("No champion yet: `rectory run` makes one.")
        _print_care(facts, console)
        return
    again = f", a refit of version {champion['refit_of']}" if champion["refit_of"] else ""
    named = f"{champion['name']} (version {champion['version']}{again})"
    console.print(f"[bold]champion[/bold]  {named}, {champion['dataset']}")
    age = _for(facts["ages"]["champion_seconds"])
    console.print(f"          trained {champion['trained_at']} ({age}), as of {champion['as_of']}", highlight=False)
    for name in sorted(champion["metrics"], key=_first_accuracy)[:3]:
        metric = champion["metrics"][name]
        interval = f"{metric['value']:.4f} [{metric['low']:.4f}, {metric['high']:.4f}]"
        console.print(f"          {name} {interval}, {metric['users']:,} users", highlight=False, markup=False)
    previous = facts["previous"]
    console.print(f"previous  {previous['name']} (version {previous['version']})" if previous else "previous  nobody")
    data = facts["data"]
    age = _for(facts["ages"]["data_seconds"])
    console.print(f"data      {data['hash']}, newest row {data['as_of']} ({age})", highlight=False)
    drift = facts["drift"]
    console.print(f"drift     {drift['status'] if drift else 'not checked yet'}", highlight=False)
    for decision in facts["last_decisions"]:
        what = decision.get("reason") or "; ".join(decision.get("reasons", [])[:2])
        line = f"{decision['at']}  {decision['event']} version {decision.get('version')}: {what}"
        console.print(f"  {line}", highlight=False, markup=False)
    _print_care(facts, console)


def print_trace(facts: dict[str, Any], console: Console) -> None:
    """One answer: who asked, what was shown, what followed, and where the model came from."""
    answer, model = facts["answer"], facts["model"]
    made = datetime.fromtimestamp(answer["made"], UTC).isoformat(timespec="seconds")
    who = f"user {answer['user_id']}" if answer["user_id"] else "nobody in particular"
    console.print(f"[bold]answer[/bold]  {answer['recommendation_id']}, {made}", highlight=False)
    console.print(
        f"        for {who}, {answer['milliseconds']:.1f} ms, {answer['rung']}", highlight=False, markup=False
    )
    named = f"{model['candidate']} ({model['kind']})" if "candidate" in model else model["gone"]
    console.print(f"model   version {model['version']}, {named}", highlight=False, markup=False)
    for name, value in facts["made_by"].items():
        console.print(f"        {name.replace('_', ' ')}: {value}", highlight=False, markup=False)
    followed: dict[str, list[str]] = {}
    for event in answer["followed"]:
        followed.setdefault(event["item_id"], []).append(event["kind"])
    table = Table("place", "item", "score", "rung", "propensity", "what followed")
    for place, one in enumerate(answer["items"], 1):
        numbers = (f"{one['score']:.4g}", one["rung"], f"{one['propensity']:g}")
        table.add_row(str(place), one["item_id"], *numbers, ", ".join(followed.pop(one["item_id"], [])))
    console.print(table)
    for item, kinds in followed.items():
        console.print(f"  and {', '.join(kinds)} of {item}, which it did not show", highlight=False, markup=False)


def _print_care(facts: dict[str, Any], console: Console) -> None:
    """What comes next, what hangs, what is used."""
    if facts["next_runs"]:
        for run in facts["next_runs"]:
            console.print(f"next      {run['at']}  {run['run']}", highlight=False, markup=False)
    else:
        silent = facts["next_runs"] is None
        console.print(f"next      {'no scheduler answers (`rectory up`)' if silent else 'nothing is scheduled'}")
    for text in facts["stuck"]:
        console.print(f"[yellow]stuck[/yellow]     {escape(text)}", highlight=False)
    used = {name: count for name, count in facts["disk"].items() if name != "free_bytes"}
    parts = ", ".join(f"{name.replace('_', ' ')} {_size(count)}" for name, count in used.items())
    console.print(f"disk      {_size(facts['disk']['free_bytes'])} free; {parts or 'nothing is used'}", highlight=False)


def _size(count: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _for(seconds: float | None) -> str:
    if seconds is None:
        return "age unknown"
    return f"{seconds / 86400:.1f} days old" if seconds >= 86400 else f"{seconds / 3600:.1f} hours old"


def _first_accuracy(metric: str) -> tuple[int, int, str]:
    """Sorts nDCG, recall and hit rate at the shortest list first."""
    name, _, k = metric.partition("@")
    order = ("ndcg", "recall", "hit_rate")
    return int(k or 0), order.index(name) if name in order else len(order), name

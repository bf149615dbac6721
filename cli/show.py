"""How facts look on a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
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
        return
    console.print(f"[bold]champion[/bold]  {champion['name']} (version {champion['version']}), {champion['dataset']}")
    console.print(f"          trained {champion['trained_at']}, as of {champion['as_of']}", highlight=False)
    for name in sorted(champion["metrics"], key=_first_accuracy)[:3]:
        metric = champion["metrics"][name]
        interval = f"{metric['value']:.4f} [{metric['low']:.4f}, {metric['high']:.4f}]"
        console.print(f"          {name} {interval}, {metric['users']:,} users", highlight=False, markup=False)
    previous = facts["previous"]
    console.print(f"previous  {previous['name']} (version {previous['version']})" if previous else "previous  nobody")
    console.print(f"data      {facts['data']['hash']}", highlight=False)
    drift = facts["drift"]
    console.print(f"drift     {drift['status'] if drift else 'not checked yet'}", highlight=False)
    for decision in facts["last_decisions"]:
        what = decision.get("reason") or "; ".join(decision.get("reasons", [])[:2])
        line = f"{decision['at']}  {decision['event']} version {decision.get('version')}: {what}"
        console.print(f"  {line}", highlight=False, markup=False)


def _first_accuracy(metric: str) -> tuple[int, int, str]:
    """Sorts nDCG, recall and hit rate at the shortest list first."""
    name, _, k = metric.partition("@")
    order = ("ndcg", "recall", "hit_rate")
    return int(k or 0), order.index(name) if name in order else len(order), name

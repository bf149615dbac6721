"""A backtest's summary table on a terminal and on the run's page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rectory.evaluation.backtest import CAUSED, FALSE_ALARM, GAINED, MISSED, PREVENTED, TRUE_ALARM
from rectory.reporting.backtest_summary import lead, percent
from rectory.reporting.words import duration

if TYPE_CHECKING:
    from rich.console import Console


_LEGEND = (
    "promoted (gains, regressions caused), refused (regressions prevented, gains missed), alarms (false); "
    "fits: computing time that a policy would have paid for. Judged by what then happened, with 95% intervals."
)


def summary_rows(summary: dict[str, Any]) -> list[dict[str, str]]:
    """One row a policy, best first; cells are ready to print."""
    rows = []
    order = sorted(summary["policies"].items(), key=lambda entry: -entry[1]["quality"]["value"])
    for name, policy in order:
        one, decisions, alarms = policy["quality"], policy["decisions"], policy["alarms"]
        over = policy["gains"].get(summary["reference"])
        rang = alarms.get(TRUE_ALARM, 0) + alarms.get(FALSE_ALARM, 0)
        rows.append(
            {
                "policy": name,
                summary["metric"]: f"{one['value']:.4f} [{one['low']:.4f}, {one['high']:.4f}]",
                f"over {summary['reference']}": percent(over) if over else "",
                "promoted": f"{policy['promotions']} ({decisions.get(GAINED, 0)}, {decisions.get(CAUSED, 0)})",
                "refused": f"{policy['refusals']} ({decisions.get(PREVENTED, 0)}, {decisions.get(MISSED, 0)})",
                "alarms": f"{rang} ({alarms.get(FALSE_ALARM, 0)})",
                "fits": duration(policy["spent"]["seconds"]),
            }
        )
    return rows


def print_backtest(summary: dict[str, Any], console: Console, report: Path) -> None:
    """The table, what it says in a sentence, and where the page is."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    dates = list(summary["dates"])
    console.print()
    console.print(
        f"[bold]{escape(summary['dataset'])}[/], {len(dates)} dates from {dates[0]} to {dates[-1]}, "
        f"{sum(summary['users'].values()):,} users of {summary['distinct_users']:,} in their windows",
        highlight=False,
    )
    rows = summary_rows(summary)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in rows[0]:
        table.add_column(column, justify="left" if column == "policy" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(escape(_folded(cell)) for cell in row.values()))
    console.print(table)
    console.print(_LEGEND, style="dim", highlight=False)
    console.print(f"[bold]{escape(summary['headline'])}.[/]", highlight=False)
    for sentence in lead(summary):
        console.print(f"  {escape(sentence)}", highlight=False)
    console.print()
    console.print(f"page      {report / 'index.html'}", highlight=False, markup=False)
    console.print(f"parquet   {report / 'users.parquet'}", highlight=False, markup=False)


def _folded(cell: str) -> str:
    """On two lines, so that the table fits 80 columns: an interval (without brackets), a refit, a long duration."""
    value, bracket, ends = cell.partition(" [")
    if bracket:
        return f"{value}\n{ends[:-1].replace(',', '').replace('%', '')}"
    return cell.replace("+refit", "\n+refit").replace(" h ", " h\n").replace(" min ", " min\n")

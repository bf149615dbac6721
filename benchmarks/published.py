"""`python -m benchmarks.published [--quick]`: our candidates under other people's protocols; see docs/published.md."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from benchmarks.contestants import EASE, LIGHTFM, Measured, ours, theirs
from benchmarks.machine import this_machine
from benchmarks.project import throw_away_project
from benchmarks.protocols import Coder, Split, load_log
from benchmarks.published_tables import PROTOCOLS, Protocol
from rectory.errors import RectoryError, UsageError
from rectory.files import read_json, write_json

_REFERENCES = (LIGHTFM, EASE)
_QUICK = ("ml-100k-random",)


def main() -> None:
    """Measure what was asked for and is not in the results file yet; progress on stderr, tables on stdout."""
    given = _arguments()
    progress = Console(stderr=True)
    source = Path(__file__).resolve().parent.parent
    path = Path(given.results) if given.results else None
    results: dict[str, Any] = read_json(path) if path and path.exists() else {"machine": asdict(this_machine(source))}
    try:
        asked = list(_asked(given))
        todo = [(name, row) for name, row in asked if row not in results.get(name, {}).get("rows", {})]
        # One thread for all: RecTools' EASE would use every core for its inverse, ours would not.
        with throw_away_project(source) as project, threadpool_limits(1):

            @cache
            def log(dataset: str) -> tuple[Any, Coder]:
                return load_log(dataset, project)

            @cache
            def split(name: str) -> Split:
                rows, code = log(PROTOCOLS[name].dataset)
                return PROTOCOLS[name].split(rows, code)

            for name, row in todo:
                progress.print(f"[dim]{name}[/dim]  {row}", highlight=False)
                measured = measure(PROTOCOLS[name], row, split(name))
                kept = results.setdefault(name, {"facts": split(name).facts, "rows": {}})
                kept["rows"][row] = asdict(measured)
                if path:
                    write_json(path, results)
    except RectoryError as error:
        progress.print(f"published: {error}", style="red", markup=False, highlight=False)
        raise SystemExit(error.exit_code) from None
    if given.json:
        print(json.dumps(results, indent=2))
        return
    console = Console(width=None if sys.stdout.isatty() else 140)
    for name in dict.fromkeys(name for name, _ in asked):
        show(name, PROTOCOLS[name], results[name], console)


def measure(protocol: Protocol, row: str, split: Split) -> Measured:
    """One row: RecTools' model of this name, or the candidate of ours."""
    if row in _REFERENCES:
        return theirs(row, split, protocol.metrics)
    return ours(row, protocol.candidates[row], split, protocol.metrics)


def show(name: str, protocol: Protocol, found: dict[str, Any], console: Console) -> None:
    """Protocol in words, ours beside theirs by the first metric, and what the comparison says."""
    first = protocol.metrics[0]
    table = Table(title=f"{name}: {protocol.source}", title_justify="left", title_style="bold")
    table.add_column("")
    table.add_column("model")
    for column in (*protocol.metrics, "95%", "search CPU s", "fit CPU s", "lists/CPU s"):
        table.add_column(column, justify="right")
    lines: list[tuple[float, tuple[str, ...]]] = []
    for row in found["rows"].values():
        value, low, high = row["metrics"][first]
        metrics = (f"{row['metrics'][metric][0]:.3f}" for metric in protocol.metrics)
        speed = row["users"] / max(row["list_seconds"], 1e-9)
        seconds = (f"{row['search_seconds']:.1f}", f"{row['fit_seconds']:.2f}", f"{speed:,.0f}")
        side = "same run" if row["kind"] in _REFERENCES else "ours"
        lines.append((value, (side, row["label"], *metrics, f"{low:.3f} to {high:.3f}", *seconds)))
    for published in protocol.published:
        metrics = (f"{published.metrics[metric]:.3f}" for metric in protocol.metrics)
        deep = f"{published.name} (deep)" if published.deep else published.name
        lines.append((published.metrics[first], ("published", deep, *metrics, "", "", "", "")))
    for _, cells in sorted(lines, key=lambda line: -line[0]):
        table.add_row(*cells, style="bold" if cells[0] == "ours" else None)
    console.print(table)
    facts = ", ".join(f"{count:,} {what}" for what, count in found["facts"].items())
    for text in (*protocol.words, facts + ".", *_left_out(protocol), verdict(protocol, found)):
        console.print(text, highlight=False)
    console.print()


def verdict(protocol: Protocol, found: dict[str, Any]) -> str:
    """Our best row against the best published one that is not deep, said plainly."""
    first = protocol.metrics[0]
    rows = [row for row in found["rows"].values() if row["kind"] not in _REFERENCES]
    bar = max((row for row in protocol.published if not row.deep), key=lambda row: row.metrics[first])
    height = bar.metrics[first]
    if not rows:
        return f"None of ours was measured against {bar.name} ({height:.3f})."
    best = max(rows, key=lambda row: float(row["metrics"][first][0]))
    value, low, _ = best["metrics"][first]
    told = (
        f"{best['label']} has {first} {value:.3f}, the best published row that is not deep, {bar.name}, {height:.3f}:"
    )
    if low > height:
        return f"{told} beaten, its whole interval lies above."
    return f"{told} beaten, but its interval reaches below." if value > height else f"{told} NOT beaten."


def _left_out(protocol: Protocol) -> Iterator[str]:
    for kind, why in protocol.left_out.items():
        yield f"Left out: {kind}, {why}."


def _asked(given: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """(protocol, row) pairs in order."""
    names = given.protocol or (_QUICK if given.quick else tuple(PROTOCOLS))
    for name in names:
        if name not in PROTOCOLS:
            raise UsageError(f"no protocol {name!r}; there are {', '.join(PROTOCOLS)}.")
        rows = (*PROTOCOLS[name].candidates, *_REFERENCES)
        if unknown := set(given.only or ()) - {row for one in PROTOCOLS.values() for row in (*one.candidates, *rows)}:
            raise UsageError(f"no row {', '.join(sorted(unknown))} in any protocol; {name} has {', '.join(rows)}.")
        yield from ((name, row) for row in rows if not given.only or row in given.only)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.published",
        description="Our candidates under published protocols, ours beside theirs.",
    )
    parser.add_argument("--quick", action="store_true", help=f"only {' and '.join(_QUICK)}: some minutes")
    parser.add_argument("--protocol", action="append", metavar="NAME", help=f"repeat; there are {', '.join(PROTOCOLS)}")
    parser.add_argument("--only", action="append", metavar="ROW", help="only this candidate or reference; repeat")
    parser.add_argument("--results", metavar="FILE", help="JSON file of rows: those in it are not measured again")
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    return parser.parse_args()


if __name__ == "__main__":
    main()

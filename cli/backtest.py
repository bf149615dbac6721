"""Command backtest: the time machine."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from cli.common import Dataset, Json, Overrides, project_params, project_workspace, show_json


def add_to(app: typer.Typer) -> None:
    """Register this file's commands."""
    app.command()(backtest)


def backtest(
    start: Annotated[datetime, typer.Option("--from", help="First date (UTC) on which policies decide.")],
    end: Annotated[datetime, typer.Option("--to", help="Nothing after this moment (UTC) is looked at.")],
    every: Annotated[str, typer.Option(help="Time between dates, e.g. 7d, 12h; also what each is judged by.")] = "7d",
    dataset: Dataset = None,
    policies: Annotated[
        str | None, typer.Option(help="Names with commas between; each may carry +refit (default: all of them).")
    ] = None,
    candidates: Annotated[str | None, typer.Option(help="Names with commas between (default: all).")] = None,
    workers: Annotated[int, typer.Option(help="Processes at a time; 0 is one for each core.", min=0)] = 0,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Replay history through the whole loop and compare ways to run it, judged by what then happened.

    Started again, it goes on where it was: finished dates and fits are not made twice.
    """
    import os

    from rich.console import Console

    from cli.progress import RunProgress
    from flows.children import interruptible
    from flows.local_server import prefect_server
    from flows.progress import listening
    from rectory.data.card import load_card
    from rectory.evaluation.backtest import steps_between
    from rectory.files import read_json
    from rectory.registry.policies import policy_of
    from rectory.reporting.backtest_terminal import print_backtest

    console = Console(stderr=as_json)
    workspace = project_workspace()
    params = project_params(dataset, overrides)
    # Wrong use is told before anything starts.
    load_card(workspace.card(params.dataset))
    steps = steps_between(start, end, every)
    asked = None if policies is None else [policy_of(name).name for name in _names(policies)]
    console.print(f"[bold]Rectory backtest[/bold]: {params.dataset}, {len(steps)} dates", highlight=False)
    with interruptible(), RunProgress(console) as progress, listening(progress), prefect_server(workspace):
        from flows.backtest import backtest as run_flow

        result = run_flow(
            start=start,
            end=end,
            every=every,
            dataset=params.dataset,
            policies=asked,
            candidates=None if candidates is None else _names(candidates),
            workers=workers,
            overrides=overrides,
            project=os.environ.get("RECTORY_PROJECT", "."),
        )
    summary = read_json(Path(result.report) / "summary.json")
    if as_json:
        show_json(summary)
    else:
        print_backtest(summary, console, Path(result.report))


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]

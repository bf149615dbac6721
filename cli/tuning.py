"""The command that tunes: tune."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.common import Dataset, Json, Overrides, project_params, project_workspace, show_json

if TYPE_CHECKING:
    from rich.console import Console

_SHOWN = 10


def add_to(app: typer.Typer) -> None:
    """Register this file's command."""
    app.command()(tune)


def tune(
    candidate: Annotated[str, typer.Argument(help="A name under train.candidates in params.yaml.")],
    trials: Annotated[
        int | None,
        typer.Option(help="Trials of the study in all (default: 30, or what --minutes allow).", min=1),
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Time for trials.", min=0.01)] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Trials at a time (default: train.workers, else one a core).", min=1, max=256),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Put the best into params.yaml, if it is better by more than noise.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="With --write: in any case.")] = False,
    dataset: Dataset = None,
    as_of: Annotated[datetime | None, typer.Option(help="Nothing after this moment (UTC) is read.")] = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Find better values of one candidate on the validation window; killed, it goes on where it was."""
    import os

    from rich.console import Console

    from cli.progress import RunProgress
    from flows.children import interruptible
    from flows.local_server import prefect_server
    from flows.progress import listening
    from rectory.data.card import load_card
    from rectory.errors import RectoryError, UsageError
    from rectory.files import read_json
    from rectory.workspace import Workspace

    if force and not write:
        raise UsageError("--force says how to --write: give both.")
    console, workspace = Console(stderr=as_json), project_workspace()
    params = project_params(dataset, overrides)
    load_card(workspace.card(params.dataset))
    _can_be_tuned(params, candidate)
    project = os.environ.get("RECTORY_PROJECT", ".")
    console.print(f"[bold]Rectory[/bold]: tuning {candidate} on {params.dataset}", highlight=False)
    with interruptible(), RunProgress(console) as progress, listening(progress), prefect_server(workspace):
        from flows.tune import tune as tune_flow

        result = tune_flow(
            candidate=candidate,
            trials=trials,
            minutes=minutes,
            workers=workers,
            write=write,
            force=force,
            dataset=params.dataset,
            as_of=as_of,
            overrides=overrides,
            project=project,
        )
    facts = read_json(Workspace(result.workspace, project).tuning_result)
    outcome = {name: getattr(result, name) for name in ("page", "seconds", "workers", "written", "refusal")}
    if as_json:
        show_json({**facts, **outcome})
    else:
        _print(facts, outcome, console)
    if result.refusal is not None:
        raise RectoryError(f"params.yaml was left as it is: {result.refusal}.")


def _can_be_tuned(params: Any, candidate: str) -> None:
    """Wrong use is told before a server starts."""
    from rectory.errors import UsageError
    from rectory.tuning.spaces import space_of

    known = params.train.candidates
    if candidate not in known:
        raise UsageError(f"no candidate {candidate!r} under train.candidates; there are {', '.join(known)}.")
    space_of(known[candidate])


def _print(facts: dict[str, Any], outcome: dict[str, Any], console: Console) -> None:
    """The best trials, the verdict, what would change, where the page is."""
    from rich.table import Table

    from rectory.reporting.tuning import plain

    scored = [one for one in facts["trials"] if one["state"] == "complete"]
    scored.sort(key=lambda one: (-one["score"], one["number"]))
    table = Table(title=f"{facts['candidate']}: {facts['metric']} on validation", title_justify="left")
    for name in ("trial", "score", "seconds"):
        table.add_column(name, justify="right")
    table.add_column("other than the defaults")
    defaults = facts["defaults"]
    for one in scored[:_SHOWN] + [one for one in scored[_SHOWN:] if one["number"] == defaults["number"]]:
        other = [f"{key} {plain(value)}" for key, value in one["values"].items() if value != defaults["values"][key]]
        words = ", ".join(other) or "the defaults"
        table.add_row(str(one["number"]), f"{one['score']:.4f}", f"{one['seconds']:.1f}", words)
    console.print(table)
    console.print(f"{facts['candidate']}: {facts['verdict']}.", highlight=False, markup=False)
    for key, value in facts["changed"].items():
        before = plain(facts["defaults"]["values"][key])
        console.print(f"  {key}: {before} -> {plain(value)}", highlight=False, markup=False)
    if outcome["written"]:
        console.print("Written to params.yaml; `rectory run` trains with it and the gate decides.")
    elif facts["changed"] and facts["better"]:
        console.print("`--write` puts this into params.yaml.", highlight=False)
    console.print(f"page: {Path(outcome['page'])}", highlight=False, markup=False)

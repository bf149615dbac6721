"""Commands that do work: run, validate, reproduce."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from cli.common import Dataset, Json, Overrides, project_params, project_workspace, show_json


def add_to(app: typer.Typer) -> None:
    """Register this file's commands."""
    app.command()(run)
    app.command()(validate)
    app.command()(reproduce)


def run(
    dataset: Dataset = None,
    as_of: Annotated[datetime | None, typer.Option(help="Nothing after this moment (UTC) is read.")] = None,
    overrides: Overrides = None,
    require_promotion: Annotated[
        bool, typer.Option("--require-promotion", help="Exit with 4 when no challenger passes the gate.")
    ] = False,
    wait: Annotated[int, typer.Option(help="Seconds to wait for another run to end.", min=0)] = 3600,
    as_json: Json = False,
) -> None:
    """The whole chain: raw log to a promoted (or refused) champion, with a report."""
    import os

    from rich.console import Console

    from cli.progress import RunProgress
    from flows.children import interruptible
    from flows.limits import project_at_work
    from flows.local_server import prefect_server
    from flows.progress import listening
    from rectory import journal
    from rectory.data.card import load_card
    from rectory.errors import BusyError, GateRefused
    from rectory.files import read_json

    # With RECTORY_LOG=json the terminal has JSON lines and nothing else.
    console = Console(stderr=as_json, quiet=journal.json_wanted())
    workspace = project_workspace()
    params = project_params(dataset, overrides)
    load_card(workspace.card(params.dataset))  # Wrong use is told before anything starts.
    project = os.environ.get("RECTORY_PROJECT", ".")
    console.print(f"[bold]Rectory[/bold]: {params.dataset}", highlight=False)
    try:
        with (
            interruptible(),
            project_at_work(workspace, "rectory run", wait),
            RunProgress(console) as progress,
            listening(progress),
            prefect_server(workspace),
        ):
            from flows.run import run as run_flow

            result = run_flow(dataset=params.dataset, as_of=as_of, overrides=overrides, project=project)
    except BusyError as error:
        raise BusyError(f"another run is at work in this project. {error}") from None
    summary = read_json(Path(result.report) / "summary.json")
    if as_json:
        show_json(summary)
    else:
        from rectory.reporting.summary import Summary
        from rectory.reporting.terminal import print_summary

        print_summary(Summary.model_validate(summary), console)
    if require_promotion and not summary["decision"]["promoted"]:
        raise GateRefused("no challenger passed the gate; the reasons stand above and in the report.")


def validate(dataset: Dataset = None, overrides: Overrides = None, as_json: Json = False) -> None:
    """Fetch and validate a data set without training: what is bad, and is it too much?"""
    import tempfile

    from rich.console import Console

    from cli.show import print_validation
    from rectory.errors import DataError
    from rectory.files import read_json
    from rectory.workspace import Workspace
    from tasks import fetch as fetch_step
    from tasks import validate as validate_step

    params = project_params(dataset, overrides)
    project = project_workspace().project
    with tempfile.TemporaryDirectory(prefix="rectory-validate-") as folder:
        workspace = Workspace(folder, project)
        refusal: DataError | None = None
        fetch_step.run(params, workspace)
        try:
            validate_step.run(params, workspace)
        except DataError as error:
            refusal = error
        if workspace.validation.is_file():
            report = read_json(workspace.validation)
            if as_json:
                show_json(report)
            else:
                print_validation(report, Console())
    if refusal is not None:
        raise refusal


def reproduce(
    version: Annotated[str | None, typer.Argument(help="Registered version (default: the champion).")] = None,
    as_json: Json = False,
) -> None:
    """Rebuild a registered version from its recorded commit, data, params and lock, and compare the bytes."""
    from rectory.registry.reproduce import reproduce as rebuild

    result = rebuild(version, project_workspace())
    if as_json:
        told = {"identical": result.identical, "differences": list(result.differences), "links": list(result.links)}
        show_json({"version": result.version, **told})
    elif result.identical:
        chain = f", rebuilt from a full fit on: {' -> '.join(result.links)}" if len(result.links) > 1 else ""
        print(f"version {result.version}: identical{chain}")
    else:
        print(f"version {result.version} differs:")
        for difference in result.differences:
            print(f"  {difference}")
    if not result.identical:
        raise typer.Exit(1)

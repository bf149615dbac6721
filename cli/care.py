"""Commands that care for an installation: doctor, gc, metrics, forget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.common import Dataset, Json, Overrides, project_params, project_workspace, show_json


def add_to(app: typer.Typer) -> None:
    """Register this file's commands."""
    for command in (doctor, gc, metrics, forget):
        app.command()(command)


def doctor(as_json: Json = False) -> None:
    """Examine the installation and say what to fix; exit code 1 when something is broken."""
    from rich.console import Console

    from rectory.care.doctor import examine, facts

    console = Console()
    said = Console(stderr=True)
    with said.status("looking") as spinner:
        found = examine(project_workspace(), lambda name: spinner.update(f"looking at {name}"))
    told = facts(found)
    if as_json:
        show_json(told)
    else:
        colours = {"ok": "green", "warn": "yellow", "fail": "red"}
        for one in found:
            console.print(f"[{colours[one.status]}]{one.status:>5}[/]  ", end="")
            console.print(f"{one.name}: {one.text}", highlight=False, markup=False)
    if told["status"] == "fail":
        raise typer.Exit(1)


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go; touch nothing.")] = False,
    keep_runs: Annotated[int | None, typer.Option(help="Newest runs to keep (default: gc.keep_runs).", min=1)] = None,
    keep_days: Annotated[
        float | None, typer.Option(help="Keep what is younger (default: gc.keep_days).", min=0)
    ] = None,
    keep_versions: Annotated[
        int | None, typer.Option(help="Newest model versions of each data set (default: gc.keep_versions).", min=1)
    ] = None,
    keep_snapshots: Annotated[
        int | None, typer.Option(help="Newest data versions of each data set (default: gc.keep_snapshots).", min=1)
    ] = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Remove old runs, versions and caches by policy; never what a seated model needs."""
    from rich.console import Console

    from rectory.care.gc import collect, plan

    given = {
        "keep_runs": keep_runs,
        "keep_days": keep_days,
        "keep_versions": keep_versions,
        "keep_snapshots": keep_snapshots,
    }
    policy = project_params(None, overrides).gc.model_copy(
        update={name: value for name, value in given.items() if value is not None}
    )
    workspace = project_workspace()
    console = Console(stderr=True)
    told = plan(workspace, policy).facts()
    if not dry_run:
        collect(workspace, policy, lambda text: console.print(f"removing {text}", highlight=False, markup=False))
    if as_json:
        show_json({**told, "dry_run": dry_run})
        return
    word = "would go" if dry_run else "gone"
    for folder in told["folders"]:
        print(f"{word}: {folder['path']} ({folder['why']}, {folder['bytes'] / 1e6:.1f} MB)")
    for version in told["versions"]:
        print(f"{word}: model version {version['version']} ({version['name']})")
    for content in told["snapshots"]:
        print(f"{word}: data version {content}")
    print(
        f"{told['bytes'] / 1e6:.1f} MB in folders; versions: {len(told['versions'])} of models, "
        f"{len(told['snapshots'])} of data"
    )


def metrics(
    file: Annotated[Path | None, typer.Argument(help="Where to (default: .rectory/metrics.prom).")] = None,
) -> None:
    """Write the state for Prometheus' textfile collector."""
    from rectory.care.status import write_metrics

    print(write_metrics(project_workspace(), file))


def forget(
    user: Annotated[str, typer.Argument(help="User id, exactly as in the data.")],
    dataset: Dataset = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Remove a person from data, models, scores, reports and logs, keep them out, and prove it. Cannot be undone."""
    from dataclasses import asdict

    from rich.console import Console

    from rectory.care.forget import forget as erase
    from rectory.serving.forgetting import forget_in_log

    workspace = project_workspace()
    name = project_params(dataset).dataset
    if not yes:
        typer.confirm(f"Forget user {user!r} of {name}? It cannot be undone.", abort=True)
    said = Console(stderr=True)
    with said.status("the live event log") as spinner:
        events = forget_in_log(workspace, user)
        done = erase(workspace, name, user, spinner.update)
    if as_json:
        show_json({**asdict(done), "events": events})
    else:
        print(f"{events} events, {len(done.files)} files, {len(done.snapshots)} data versions, models: {done.versions}")
        for path in done.files:
            print(f"  removed from {path}")
        if not done.distinctive:
            print("The id is short or an item's too: it was looked for where ids of users stand, not in running text.")
        for path in done.sources:
            print(f"STILL IN YOUR SOURCE: {path}. Rectory reads past it; erase it there yourself.")
        print("Found nowhere else." if not done.left else "STILL THERE:")
        for path in done.left:
            print(f"  {path}")
    if done.left:
        raise typer.Exit(1)

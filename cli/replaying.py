"""Command replay: live answers against frozen ones, over what really happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.common import Dataset, Json, project_params, project_workspace, show_json

if TYPE_CHECKING:
    from rectory.registry.store import ModelStore
    from rectory.registry.store import Version as Registered


def add_to(app: typer.Typer) -> None:
    """Register this file's commands."""
    app.command()(replay)


def replay(
    dataset: Dataset = None,
    version: Annotated[str | None, typer.Option("--version", help="Registered version (default: champion).")] = None,
    candidate: Annotated[str | None, typer.Option(help="The newest version of this candidate instead.")] = None,
    against: Annotated[
        str | None, typer.Option(help="Also replay the frozen lists of this candidate's newest version.")
    ] = None,
    users: Annotated[int | None, typer.Option(help="Ask for so many users only, drawn at random.", min=1)] = None,
    events: Annotated[int | None, typer.Option(help="Stop after so many events of the test window.", min=1)] = None,
    as_json: Json = False,
) -> None:
    """Rank before every event of the test window, note the rank of what was taken, learn it; live against frozen.

    Each event is answered by the engine that serves, once as it learns and once as it was in the night. All events are
    learned; with --users the answers to some users only are looked at.
    """
    from rich.console import Console

    from cli.progress import counting
    from rectory.serving.account import account
    from rectory.serving.loading import gather

    workspace = project_workspace()
    params = project_params(dataset)
    from rectory.registry.store import ModelStore

    store = ModelStore(workspace)
    chosen = _chosen(store, params.dataset, version, candidate)
    other = None if against is None else _chosen(store, params.dataset, None, against)
    console = Console(stderr=as_json)
    console.print(f"[bold]Rectory replay[/bold]: {params.dataset}, {chosen.candidate} version {chosen.version}")
    with counting(console, "replaying") as tick:
        told = account(
            gather(workspace, chosen),
            seed=params.train.seed,
            samples=params.evaluate.bootstrap_samples,
            users=users,
            events=events,
            against=None if other is None else gather(workspace, other),
            tick=tick,
        )
    if as_json:
        show_json(told)
    else:
        _print(told, console)


def _chosen(store: ModelStore, dataset: str, version: str | None, candidate: str | None) -> Registered:
    from rectory.errors import UsageError

    if version is not None:
        return store.version(version)
    found = [
        one
        for one in store.versions(dataset)
        if one.refit_of is None and (candidate is None or one.candidate == candidate)
    ]
    champion = found[0] if candidate is not None and found else store.champion(dataset) if candidate is None else None
    if champion is None:
        what = "no champion" if candidate is None else f"no version of a candidate {candidate!r}"
        raise UsageError(f"{dataset} has {what} to replay; `rectory run -d {dataset}` makes one.")
    # A refit knows what the replay would ask about.
    return store.measured(champion)


def _print(told: dict[str, Any], console: Any) -> None:
    from rich.table import Table

    table = Table(title=f"{told['events']:,} events of {told['users']:,} users after {told['trained_until']}")
    for column in ("", "hit@10", "ndcg@10", "mrr"):
        table.add_column(column, justify="right" if column else "left")
    for name, metrics in told["metrics"].items():
        table.add_row(name, *(_value(metrics[metric]) for metric in ("hit@10", "ndcg@10", "mrr")))
    table.add_row("gain", *(_value(told["gain"][metric], "+") for metric in ("hit@10", "ndcg@10", "mrr")))
    console.print(table)
    ratios = ", ".join(f"{ratio:.2f} times {name}" for name, ratio in told["ratios"].items())
    console.print(f"live hits {ratios or 'where frozen never does'}; 95% intervals over users.")
    console.print(f"{told['milliseconds']:.2f} ms a live answer, {told['seconds']:.0f} s in all")
    console.print("weights: " + (", ".join(f"{name} {weight:g}" for name, weight in told["weights"].items())))
    console.print("how found: " + str(told["fitted"]))


def _value(interval: dict[str, float], sign: str = "") -> str:
    return f"{interval['value']:{sign}.4f} [{interval['low']:{sign}.4f}, {interval['high']:{sign}.4f}]"

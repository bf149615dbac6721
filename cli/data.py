"""Commands about data: datasets, init, data list, data checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.common import Dataset, Json, project_workspace, show_json


def add_to(app: typer.Typer) -> None:
    """Register this file's commands."""
    app.command()(datasets)
    app.command()(init)
    group = typer.Typer(no_args_is_help=True, help="Versions of the data.")
    group.command("list")(list_versions)
    group.command("checkout")(checkout)
    app.add_typer(group, name="data")


def datasets(as_json: Json = False) -> None:
    """List the data cards."""
    from rectory.data.card import load_card

    cards = [load_card(path) for path in sorted((project_workspace().project / "datasets").glob("*.yaml"))]
    if as_json:
        show_json([card.model_dump(mode="json") for card in cards])
        return
    width = max((len(card.name) for card in cards), default=0)
    for card in cards:
        print(f"{card.name:<{width}}  {card.source.kind:<6} {' '.join(card.description.split())}")


def init(
    interactions: Annotated[Path, typer.Argument(help="Interaction log: csv, csv.gz, parquet or jsonl.")],
    items: Annotated[Path | None, typer.Option(help="Item table.")] = None,
    users: Annotated[Path | None, typer.Option(help="User table.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the data set (default: the file's).")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a card of the same name.")] = False,
) -> None:
    """Profile your files and write a commented data card that runs."""
    from rectory.data.profile import profile_files
    from rectory.errors import UsageError
    from rectory.files import replacing

    text = profile_files(interactions, items, users, name)
    card_name = next(
        line.split(":", 1)[1].strip().strip("'\"") for line in text.splitlines() if line.startswith("name:")
    )
    target = project_workspace().card(card_name)
    if target.exists() and not force:
        raise UsageError(f"{target} exists already: choose another --name, or replace it with --force.")
    with replacing(target) as scratch:
        scratch.write_text(text, encoding="utf-8")
    print(f"Wrote {target}. Look it over, then: rectory validate -d {card_name}; rectory run -d {card_name}")


def list_versions(dataset: Dataset = None, as_json: Json = False) -> None:
    """List the snapshots that were versioned, newest first."""
    from dataclasses import asdict

    from rectory.data.snapshots import list_snapshots

    found = list_snapshots(project_workspace(), dataset)[::-1]
    if as_json:
        show_json([asdict(one) for one in found])
        return
    if not found:
        print("No snapshot yet: `rectory run` makes the first.")
    for one in found:
        print(f"{one.hash}  {one.dataset:<20} as of {one.as_of}  {one.rows['interactions']:,} interactions")


def checkout(
    content_hash: Annotated[str, typer.Argument(metavar="HASH", help="Content hash; its first characters will do.")],
    target: Annotated[Path | None, typer.Option("--to", help="Folder to write (default: data-HASH).")] = None,
) -> None:
    """Bring a version's tables back, from the cache or the remote; no git checkout is needed."""
    from rectory.data.snapshots import checkout as bring_back
    from rectory.errors import UsageError

    folder = target or Path(f"data-{content_hash[:8]}")
    if folder.exists():
        raise UsageError(f"{folder} exists already: name another folder with --to.")
    bring_back(project_workspace(), content_hash, folder)
    print(folder)

"""Commands about models: status, recommend, similar, why, promote, rollback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.common import Json, project_workspace, show_json

if TYPE_CHECKING:
    from rectory.models.bundle import Bundle

Count = Annotated[int, typer.Option("-k", "--count", help="Length of the list.", min=1, max=1000)]
Version = Annotated[str | None, typer.Option("--version", help="Registered version (default: the champion).")]


def add_to(app: typer.Typer) -> None:
    """Register this file's commands."""
    for command in (status, recommend, similar, why, promote, rollback):
        app.command()(command)


def status(
    as_json: Json = False,
    prometheus: Annotated[
        bool, typer.Option("--prometheus", help="Print in Prometheus' text format; docs/care.md tells of a textfile.")
    ] = False,
) -> None:
    """Champion, its age, data, drift, last decisions, next runs, what is stuck, disk use."""
    from rectory.care.status import metrics_text
    from rectory.care.status import status as look

    facts = look(project_workspace())
    if prometheus:
        print(metrics_text(facts), end="")
        return
    if as_json:
        show_json(facts)
        return
    from rich.console import Console

    from cli.show import print_status

    print_status(facts, Console())


def recommend(
    user: Annotated[str, typer.Argument(help="User id; one that was never seen gets the list for newcomers.")],
    k: Count = 10,
    version: Version = None,
    as_json: Json = False,
) -> None:
    """Items for a user, from the champion."""
    bundle = _bundle(version)
    found = bundle.recommend([user], k)
    if as_json:
        show_json(_with_titles(bundle, found.to_dict("records"), "item_id"))
        return
    if user not in set(bundle.users.ids):
        print(f"{user}: never seen before, so this is the list for newcomers.")
    _print_ranked(bundle, found.to_dict("records"), "item_id")


def similar(
    item: Annotated[str, typer.Argument(help="Item id.")],
    k: Count = 10,
    version: Version = None,
    as_json: Json = False,
) -> None:
    """Items like an item, from the champion."""
    bundle = _bundle(version)
    found = bundle.similar([item], k).to_dict("records")
    if as_json:
        show_json(_with_titles(bundle, found, "similar_item_id"))
        return
    print(f"like {item} {(bundle.titles or {}).get(item, '')}".rstrip())
    _print_ranked(bundle, found, "similar_item_id")


def why(
    user: Annotated[str, typer.Argument(help="User id.")],
    item: Annotated[str, typer.Argument(help="Item id.")],
    version: Version = None,
    as_json: Json = False,
) -> None:
    """Why the champion gives an item its score for a user; the parts add up to the score."""
    bundle = _bundle(version)
    reasons = bundle.why(user, item)
    score = sum(reason.contribution for reason in reasons)
    if as_json:
        parts = [{"text": reason.text, "contribution": reason.contribution} for reason in reasons]
        show_json({"user_id": user, "item_id": item, "score": score, "reasons": parts})
        return
    print(f"{item} {(bundle.titles or {}).get(item, '')}".rstrip() + f" for {user}: {score:.4f}")
    for reason in reasons:
        print(f"  {reason.contribution:+10.4f}  {reason.text}")


def promote(
    version: Annotated[str, typer.Argument(help="Registered version.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the audit log.")],
) -> None:
    """Make a version the champion by hand. The gate is not asked; the audit log says so."""
    from rectory.registry.store import ModelStore

    store = ModelStore(project_workspace())
    chosen, before = store.version(version), store.champion()
    store.promote(chosen, f"by hand: {reason}")
    _tell_promotion(chosen, before, reason)
    print(f"champion: version {chosen.version} ({chosen.candidate})")


def rollback(
    to: Annotated[str | None, typer.Option(help="Version to go back to (default: the previous champion).")] = None,
    reason: Annotated[str, typer.Option(help="Why; kept in the audit log.")] = "",
    block: Annotated[
        bool, typer.Option("--block/--no-block", help="Keep the version that is left from coming back by itself.")
    ] = True,
) -> None:
    """Seat the previous champion again, in one step; the version that is left may not come back by itself."""
    from flows import events
    from rectory.registry.store import ModelStore

    store = ModelStore(project_workspace())
    before = store.champion()
    seated = store.rollback(to, reason, block=block)
    payload = {"version": seated.version, "candidate": seated.candidate, "run_id": "", "reason": reason}
    replaced = {"replaces": before.version if before else None}
    events.emit_by_hand(store.workspace, events.ROLLED_BACK, seated.dataset, {**payload, **replaced})
    print(f"champion: version {seated.version} ({seated.candidate})")


def _tell_promotion(chosen: Any, before: Any, reason: str) -> None:
    """Whoever listens rescores, as after any promotion."""
    from flows import events

    payload = {"version": chosen.version, "candidate": chosen.candidate, "run_id": "", "reason": f"by hand: {reason}"}
    replaced = {"replaces": before.version if before else None}
    events.emit_by_hand(project_workspace(), events.PROMOTED, chosen.dataset, {**payload, **replaced})


def _bundle(version: str | None) -> Bundle:
    """A version's bundle; the champion's without the two seconds that it takes to import mlflow, where it lies here."""
    from rectory.registry.glance import champion_folder

    workspace = project_workspace()
    if version is None and (folder := champion_folder(workspace)) is not None:
        from rectory.models.bundle import Bundle

        return Bundle.load(folder)
    from rectory.errors import UsageError
    from rectory.registry.store import ModelStore

    store = ModelStore(workspace)
    chosen = store.version(version) if version else store.champion()
    if chosen is None:
        raise UsageError("there is no champion yet; `rectory run` makes one.")
    return store.bundle(chosen)


def _with_titles(bundle: Bundle, rows: list[dict[Any, Any]], column: str) -> list[dict[Any, Any]]:
    titles = bundle.titles or {}
    return [{**row, "title": titles.get(str(row[column]))} for row in rows]


def _print_ranked(bundle: Bundle, rows: list[dict[Any, Any]], column: str) -> None:
    titles = bundle.titles or {}
    width = max((len(str(row[column])) for row in rows), default=0)
    for row in rows:
        item = str(row[column])
        print(f"{row['rank']:>4}  {item:<{width}}  {row['score']:>9.4f}  {titles.get(item, '')}".rstrip())

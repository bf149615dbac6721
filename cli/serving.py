"""Commands of the live service: serve, events, keys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.common import Json, Overrides, project_params, project_workspace, show_json

if TYPE_CHECKING:
    from rectory.serving.store import Store

KeyId = Annotated[str, typer.Argument(metavar="KEY_ID", help="The key's id: what stands after rk_.")]


def add_to(app: typer.Typer) -> None:
    """Register this file's commands."""
    app.command()(serve)
    app.command()(trace)
    events = typer.Typer(no_args_is_help=True, help="The live event log.")
    events.command("import")(import_file)
    events.command("export")(export_file)
    app.add_typer(events, name="events")
    keys = typer.Typer(no_args_is_help=True, help="API keys of the live service.")
    keys.command("create")(create)
    keys.command("list")(list_keys)
    keys.command("rotate")(rotate)
    keys.command("revoke")(revoke)
    app.add_typer(keys, name="keys")


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (default: serve.host).")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = None,
    workers: Annotated[int | None, typer.Option(help="Processes.", min=1, max=64)] = None,
    overrides: Overrides = None,
) -> None:
    """Serve the champion over HTTP, learning from each event, until stopped. Gorse's clients can be pointed at it."""
    from rectory.serving.server import serve as run

    params = project_params(None, overrides)
    run(project_workspace(), params.serve, host=host, port=port, workers=workers)


def trace(
    recommendation_id: Annotated[str, typer.Argument(metavar="RECOMMENDATION_ID", help="As the answer said it.")],
    as_json: Json = False,
) -> None:
    """From one answer back to its model, run, data and commit, with what was shown and what followed."""
    from rich.console import Console

    from cli.show import print_trace
    from rectory.serving.trace import trace as find

    found = find(project_workspace(), recommendation_id)
    if as_json:
        show_json(found.to_dict())
    else:
        print_trace(found.to_dict(), Console())


def import_file(
    file: Annotated[Path, typer.Argument(help="JSON lines (.gz too): events of /api/v1/events, or Gorse's feedback.")],
    skip_unfit: Annotated[bool, typer.Option("--skip-unfit", help="Leave unfit lines out.")] = False,
    as_json: Json = False,
) -> None:
    """Append the events of a file to the log; sending it again changes nothing."""
    import time
    from dataclasses import asdict

    from rectory.serving.bulk import import_events
    from rectory.serving.forgetting import ledgers

    with _progress("importing") as progress:
        done = import_events(
            file,
            _store(),
            now=time.time(),
            max_future_seconds=project_params().serve.max_future_seconds,
            skip_unfit=skip_unfit,
            ledgers=ledgers(project_workspace()),
            progress=progress,
        )
    if as_json:
        show_json(asdict(done))
        return
    unfit = f", {done.unfit:,} unfit and left out" if done.unfit else ""
    gone = f", {done.forgotten:,} of forgotten users left out" if done.forgotten else ""
    print(f"{done.accepted:,} events accepted, {done.duplicates:,} were there already{unfit}{gone}")


def export_file(
    file: Annotated[Path | None, typer.Argument(help="File to write, .gz packs it (default: to stdout).")] = None,
) -> None:
    """Write the log as JSON lines, in its order; `events import` takes them."""
    import gzip
    import sys

    from rectory.errors import UsageError
    from rectory.files import replacing
    from rectory.serving.bulk import export_events

    store = _store()
    if not store.exists:
        raise UsageError(f"there is no event log yet ({store.shown}); `rectory serve` begins one.")
    if file is None:
        export_events(store, sys.stdout)
        return
    with replacing(file) as scratch, _progress("exporting") as progress:
        opened: Any = gzip.open if file.suffix == ".gz" else open
        with opened(scratch, "wt", encoding="utf-8") as out:
            count = export_events(store, out, progress)
    print(f"{count:,} events in {file}")


def create(
    name: Annotated[str, typer.Argument(help="Who uses it, e.g. shop-frontend.")],
    scope: Annotated[str, typer.Option(help="read (ask), write (and post), or admin (and delete users and items).")],
    days: Annotated[float | None, typer.Option(help="Days until it ends (default: never).", min=0)] = None,
) -> None:
    """Make an API key and print it, this once."""
    import time

    from rectory.serving.keys import ApiKeys

    expires = None if days is None else time.time() + 86_400 * days
    print(ApiKeys(_opened()).create(name, scope, expires))  # type: ignore[arg-type]


def list_keys(as_json: Json = False) -> None:
    """List the API keys; their secrets are not kept."""
    import time

    from rectory.serving.answers import written
    from rectory.serving.keys import ApiKeys

    keys = ApiKeys(_opened()).all()
    if as_json:
        facts = ("key_id", "name", "scope", "created", "expires", "revoked")
        show_json([{name: getattr(key, name) for name in facts} for key in keys])
        return
    if not keys:
        print("No key yet: rectory keys create NAME --scope read|write|admin")
    for key in keys:
        state = "valid" if key.valid(time.time()) else ("revoked" if key.revoked is not None else "expired")
        until = f", until {written(key.expires)}" if key.expires is not None else ""
        print(f"{key.key_id}  {key.scope:<5}  {state:<7}  {key.name}, made {written(key.created)}{until}")


def rotate(
    key_id: KeyId,
    grace_hours: Annotated[float, typer.Option(help="Hours for which the old key goes on.", min=0)] = 24.0,
) -> None:
    """Make a key that takes another's place and print it; the old one goes on for a while."""
    from rectory.serving.keys import ApiKeys

    print(ApiKeys(_opened()).rotate(key_id, 3600 * grace_hours))


def revoke(key_id: KeyId) -> None:
    """End an API key; every worker refuses it within two seconds."""
    from rectory.serving.keys import ApiKeys

    ApiKeys(_opened()).revoke(key_id)
    print(f"{key_id} is revoked")


def _store() -> Store:
    from rectory.serving.store import Store

    return Store.of(project_workspace(), project_params().serve.lock_seconds)


def _opened() -> Store:
    store = _store()
    store.open()
    return store


def _progress(doing: str) -> Any:
    """A counter on stderr, called with the number of lines done."""
    import contextlib
    import sys

    from rich.console import Console

    @contextlib.contextmanager
    def counting() -> Any:
        with Console(file=sys.stderr).status(f"{doing} ...") as status:
            yield lambda count: status.update(f"{doing} ... {count:,} events")

    return counting()

"""`rectory up`: the whole installation in one terminal."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from cli.common import project_workspace

if TYPE_CHECKING:
    from rich.console import Console

    from flows.installation.services import Service
    from flows.installation.settings import Settings
    from flows.installation.supervisor import Supervisor
    from rectory.workspace import Workspace


def add_to(app: typer.Typer) -> None:
    """Register this file's commands."""
    app.command()(up)


def up(
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Only this service (as in a container of its own); repeat.")
    ] = None,
) -> None:
    """Prefect, MLflow, a worker, all deployments and the API: start them, keep them running, stop them with Ctrl-C.

    Hosts, ports and databases come from the environment; docs/operations.md lists them.
    """
    import os

    from rich.console import Console

    from flows.installation.keeper import kept
    from flows.installation.services import services
    from flows.installation.settings import prepare, read_settings
    from flows.installation.supervisor import Supervisor
    from rectory.errors import BusyError
    from rectory.files import exclusive
    from rectory.installation import running, withdraw

    console = Console()
    workspace = project_workspace()
    settings = read_settings(workspace)
    chosen = services(settings, only or ())
    name = "up" if not only else "up-" + "-".join(sorted(only))
    try:
        with exclusive(workspace.lock(name), "rectory up", timeout_seconds=0):
            supervisor = Supervisor(
                chosen,
                workspace.service_log,
                lambda service, text: _say(console, service, text),
                changed=lambda pids: _write_down(workspace, settings, supervisor, pids) if not only else None,
                environ=os.environ,
            )
            supervisor.check_ports()
            prepare(settings)
            _say(
                console,
                "rectory",
                f"starting {', '.join(one.name for one in chosen)}; output in {workspace.state}/logs",
            )
            with kept(supervisor.token), _stopped_by_signals(supervisor):
                try:
                    supervisor.run(lambda: _show(console, chosen, supervisor))
                finally:
                    withdraw(workspace)
    except BusyError:
        there = running(workspace)
        where = f" by process {there.pid}: {there.prefect}, {there.mlflow}" if there else ""
        raise BusyError(f"the installation of this project is up already{where}. Stop it with Ctrl-C there.") from None
    _say(console, "rectory", "stopped")


@contextmanager
def _stopped_by_signals(supervisor: Supervisor) -> Iterator[None]:
    """Ctrl-C, `kill`, and a terminal that closes: each stops the installation in good order."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        supervisor.ask_to_stop()

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {one: signal.signal(one, stop) for one in signals}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _say(console: Console, service: str, text: str) -> None:
    from rich.text import Text

    first, *rest = text.splitlines()
    console.print(Text.assemble((f"{datetime.now():%H:%M:%S} ", "dim"), (f"{service} ", "bold"), first))
    for line in rest:
        console.print(Text(f"    {line}", "dim"))


def _show(console: Console, services: Sequence[Service], supervisor: Supervisor) -> None:
    """The table of what is up and where."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("service", "address", "state", "what it does"):
        table.add_column(heading, overflow="fold")
    for one in services:
        table.add_row(one.name, one.url or "", supervisor.all[one.name].state, one.what)
    console.print(table)
    _say(console, "rectory", "up. Ctrl-C stops all.")


def _write_down(workspace: Workspace, settings: Settings, supervisor: Supervisor, pids: Mapping[str, int]) -> None:
    """Tell other commands of this project where the servers are."""
    import os

    from rectory.installation import Installation, announce, born

    def address(name: str) -> str | None:
        return settings.address(name) if name in supervisor.all else None

    pid, prefect = os.getpid(), address("prefect")
    announce(
        workspace,
        Installation(
            pid, born(pid) or 0.0, f"{prefect}/api" if prefect else None, address("mlflow"), address("api"), dict(pids)
        ),
    )

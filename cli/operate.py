"""Commands of operators: deploy, approve, reject, unblock."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.common import Dataset, Json, project_params, project_workspace, show_json

Version = Annotated[
    str | None,
    typer.Argument(help="Version that waits (default: the newest one that does; `rectory status` names it)."),
]
Comment = Annotated[str, typer.Option("--comment", "-m", help="Why; kept in the audit log and on the version.")]
By = Annotated[str | None, typer.Option("--by", help="Who answers (default: your login name).")]


def add_to(app: typer.Typer) -> None:
    """Register this file's commands."""
    for command in (deploy, approve, reject, unblock):
        app.command()(command)


def deploy(as_json: Json = False) -> None:
    """Create or renew the work pool, limits, deployments and automations on the Prefect server."""
    from flows.local_server import prefect_server

    workspace = project_workspace()
    with prefect_server(workspace):
        from flows.deployments import POOL
        from flows.deployments import deploy as deploy_all

        names = deploy_all(workspace.project)
    if as_json:
        show_json({"work_pool": POOL, "deployments": names})
        return
    for name in names:
        print(name)
    print(f"work pool {POOL}: `prefect worker start --pool {POOL}` serves it")


def approve(version: Version = None, comment: Comment = "", by: By = None, dataset: Dataset = None) -> None:
    """Let a challenger that passed the gate and waits for approval become champion."""
    _answer(version, comment, by, dataset, yes=True)


def reject(version: Version = None, comment: Comment = "", by: By = None, dataset: Dataset = None) -> None:
    """Refuse a challenger that passed the gate and waits for approval."""
    _answer(version, comment, by, dataset, yes=False)


def unblock(
    version: Annotated[str, typer.Argument(help="Registered version that was rolled back.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the audit log.")],
) -> None:
    """Let the gate judge a blocked version like any other again."""
    from rectory.registry.store import ModelStore

    store = ModelStore(project_workspace())
    if store.unblock(store.version(version), reason):
        print(f"version {version} is no longer blocked")
    else:
        print(f"version {version} was not blocked")


def _answer(version: str | None, comment: str, by: str | None, dataset: str | None, *, yes: bool) -> None:
    from flows.answering import answer
    from rectory.registry.store import user_name

    params = project_params(dataset)
    project = project_workspace().project
    decided = answer(project, params.dataset, version, approve=yes, by=by or user_name(), comment=comment)
    print(decided.text)

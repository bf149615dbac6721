"""What commands share: the project, the data set, JSON output."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rectory.params import Params
    from rectory.workspace import Workspace

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Dataset = Annotated[
    str | None,
    typer.Option("--dataset", "-d", envvar="RECTORY_DATASET", help="Card in datasets/ (default: params.yaml's)."),
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", "-S", metavar="KEY=VALUE", help="Override one key of params.yaml; repeat.")
]


def project_workspace() -> Workspace:
    """The project's workspace; its own files (not those of a run) are what commands read."""
    from rectory.workspace import Workspace

    project = os.environ.get("RECTORY_PROJECT", ".")
    return Workspace(project, project)


def project_params(dataset: str | None = None, overrides: list[str] | None = None) -> Params:
    """params.yaml with the data set that was asked for."""
    from rectory.params import load_params

    given = [f"dataset={dataset}"] if dataset else []
    return load_params(project_workspace().params_file, [*given, *(overrides or [])])


def show_json(value: Any) -> None:
    """One JSON document on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))

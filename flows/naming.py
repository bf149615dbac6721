"""Names of flow runs: data set and as-of date, as an operator looks for them."""

from __future__ import annotations

from typing import Any

from prefect.runtime import flow_run

from flows.sequences import project_folder
from rectory.errors import RectoryError
from rectory.params import load_params
from rectory.workspace import Workspace


def data_and_moment() -> str:
    """`sales, as of 2025-03-01 00:00`, or of the run whose data are used."""
    given = options()
    if given.get("run_id"):
        return f"{_dataset(given)}, run {given['run_id']}"
    moment = str(given["as_of"]).replace("T", " ")[:16] if given.get("as_of") else "its newest row"
    return f"{_dataset(given)}, as of {moment}"


def judged_run() -> str:
    """`sales, its newest run`."""
    given = options()
    return f"{_dataset(given)}, {given.get('run_id') or 'its newest run'}"


def dates() -> str:
    """`sales, 2025-03-01 to 2025-03-07`."""
    given = options()
    return f"{_dataset(given)}, {given.get('start')} to {given.get('end')}"


def seat() -> str:
    """`to version 7 by ann`."""
    given = options()
    return f"to {'version ' + str(given['to']) if given.get('to') else 'the previous champion'} by {given.get('by')}"


def event() -> str:
    """`rectory.data.refused sales`."""
    given = options()
    return f"{given.get('event')} {given.get('subject') or ''}".strip()


def options() -> dict[str, Any]:
    """The flow run's form, as plain values."""
    given = flow_run.parameters.get("options") or {}
    return dict(given) if isinstance(given, dict) else dict(given.model_dump())


def _dataset(given: dict[str, Any]) -> str:
    if given.get("dataset"):
        return str(given["dataset"])
    try:
        return load_params(Workspace(project=project_folder()).params_file).dataset
    except RectoryError:
        return "default data set"  # The flow itself says what is wrong with params.yaml.

"""Runs in runs/ whose candidates are registered: which is to be judged, which waits for an answer. Files only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rectory.errors import UsageError
from rectory.files import read_json
from rectory.params import Params, load_params
from rectory.params.load import dump_params, parse_params
from rectory.workspace import Workspace, safe_name

_NEWEST = 200
"""Runs that are looked at; an older one that nobody has judged is history."""


@dataclass(frozen=True)
class Trained:
    """A run that has registered its candidates.

    decision: None before it was judged. asked: id of the flow run that is suspended until somebody answers.
    """

    workspace: Workspace
    facts: dict[str, Any]
    decision: dict[str, Any] | None
    asked: str | None

    @property
    def run_id(self) -> str:
        return self.workspace.root.name

    @property
    def waiting(self) -> str | None:
        """Version that waits for approval."""
        waits = (self.decision or {}).get("waiting")
        return str(waits["version"]) if waits else None

    def params(self) -> Params:
        """What it was trained with, and today's rules of the gate: those are the team's, not the run's."""
        trained_with = load_params(self.workspace.root / "params.yaml")
        today = load_params(self.workspace.params_file)
        return parse_params({**dump_params(trained_with), "gate": dump_params(today)["gate"]}, "params.yaml")


def trained_runs(project: Path, dataset: str) -> Iterator[Trained]:
    """Newest first."""
    folders = sorted((path for path in Workspace(project=project).runs.glob("*") if path.is_dir()), reverse=True)
    for folder in folders[:_NEWEST]:
        workspace = Workspace(folder, project)
        if not workspace.registered.is_file() or not workspace.run_facts.is_file():
            continue
        found = _read(workspace)
        if found.facts.get("dataset") == dataset:
            yield found


def to_judge(project: Path, dataset: str, run_id: str | None, flow_run: str | None) -> Trained | None:
    """The run that a promotion is about.

    Args:
        run_id: that one and no other.
        flow_run: the flow run that asks: what it had asked a person about is what it goes on with.
    Returns:
        None: there is none, or the newest is decided already.
    Raises:
        UsageError: the run that is named has not registered anything.
    """
    if run_id is not None:
        workspace = Workspace(Workspace(project=project).runs / safe_name(run_id, "run id"), project)
        if not workspace.registered.is_file() or not workspace.run_facts.is_file():
            raise UsageError(f"run {run_id} has no registered candidates: there is nothing to judge.")
        return _read(workspace)
    runs = list(trained_runs(project, dataset))
    own = next((one for one in runs if flow_run is not None and one.asked == flow_run), None)
    if own is not None:
        return own
    newest = runs[0] if runs else None
    return newest if newest is not None and (newest.decision is None or newest.waiting) else None


def waiting_runs(project: Path, dataset: str) -> list[Trained]:
    """Runs whose challenger waits for an answer, newest first."""
    return [one for one in trained_runs(project, dataset) if one.waiting]


def _read(workspace: Workspace) -> Trained:
    decision = read_json(workspace.decision) if workspace.decision.is_file() else None
    asked = read_json(workspace.asked)["flow_run"] if workspace.asked.is_file() else None
    return Trained(workspace, read_json(workspace.run_facts), decision, asked)

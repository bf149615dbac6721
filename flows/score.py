"""Flow score: the champion's lists for everybody, on the newest data or on those of a run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from prefect import flow

from flows import artifacts, sequences
from flows.naming import data_and_moment
from flows.options import ScoreOptions
from flows.steps import run_step
from rectory.errors import UsageError
from rectory.files import read_json
from rectory.params import Params, load_params
from rectory.params.load import dump_params, parse_params
from rectory.workspace import Workspace, safe_name


@dataclass(frozen=True)
class ScoreResult:
    """As scores/summary.json of the run's workspace has it."""

    run_id: str
    users: int
    rows: int
    model_version: str


@flow(name="score", flow_run_name=data_and_moment, timeout_seconds=timedelta(hours=4).total_seconds())
@sequences.refusable
def score(options: ScoreOptions = ScoreOptions()) -> ScoreResult:
    """Write a list for every user.

    Args:
        options: on which data.
    """
    asked = sequences.asked(options.dataset, options.as_of, options.overrides)
    if options.run_id:
        params, workspace = _of_run(asked, options.run_id)
    else:
        params, workspace = asked.params, asked.begin("score")
        sequences.fetch(params, workspace)
        sequences.take_in(params, workspace)
    sequences.score(params, workspace)
    if workspace.decision.is_file():
        run_step("report", params, workspace)
    done = read_json(workspace.scores_summary)
    artifacts.leave_scores(workspace)
    return ScoreResult(workspace.root.name, done["users"], done["rows"], done["model_version"])


def _of_run(asked: sequences.Asked, run_id: str) -> tuple[Params, Workspace]:
    """The run's workspace and params, with today's way of scoring."""
    workspace = Workspace(Workspace(project=asked.project).runs / safe_name(run_id, "run id"), asked.project)
    own: Path = workspace.root / "params.yaml"
    if not own.is_file() or not (workspace.tables / "tables.json").is_file():
        raise UsageError(f"run {run_id} has no validated tables in {workspace.tables}: there is nothing to score on.")
    today = dump_params(asked.params)
    merged = dump_params(load_params(own)) | {name: today[name] for name in ("score", "guard", "engine")}
    return parse_params(merged, str(own)), workspace

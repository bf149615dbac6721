"""The main job: from the raw log to a promoted (or refused) champion, with scores, drift and a report."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from prefect import flow
from prefect.runtime import flow_run

from flows import artifacts, finished, sequences
from flows.limits import alone
from flows.sequences import begin, note, read_params
from flows.steps import run_step
from rectory.params import Params
from rectory.workspace import Workspace


@dataclass(frozen=True)
class RunResult:
    """What a run came to. `reused`: an earlier run with equal inputs had done it all."""

    run_id: str
    workspace: str
    report: str
    reused: bool
    promoted: bool


def _run_name() -> str:
    """Data set and as-of date, as an operator looks for a run."""
    given = flow_run.parameters
    moment = f"{given['as_of']:%Y-%m-%d %H:%M}" if given.get("as_of") else "its newest row"
    return f"{given.get('dataset') or 'default data set'}, as of {moment}"


@flow(name="run", flow_run_name=_run_name, task_runner=sequences.THREADS)
def run(
    dataset: str | None = None,
    as_of: datetime | None = None,
    overrides: list[str] | None = None,
    project: str = ".",
) -> RunResult:
    """Fetch, validate, version, split, train, compare, register, promote, score, watch and report.

    Args:
        dataset: card in datasets/; None: the one that params.yaml names.
        as_of: nothing after this moment is read; None: params.yaml's, else now, else the end of a historic log.
        overrides: `section.key=value`, applied to params.yaml for this run only.
        project: folder with params.yaml and datasets/.
    """
    params = read_params(Path(project), dataset, as_of, overrides or [])
    workspace = begin("run", params, Path(project))
    started = datetime.now(UTC)
    with alone("training", workspace):
        fetched = sequences.fetch(params, workspace)
        looked = finished.look(workspace, params, fetched.fingerprint)
        note(workspace, why=looked.why, inputs_key=looked.inputs_key)
        if looked.earlier:
            return _reuse(looked.earlier, workspace, params, started)
        sequences.take_in(params, workspace)
        sequences.train(params, workspace)
    decision = sequences.judge(params, workspace)
    sequences.score(params, workspace)
    run_step("drift", params, workspace)
    sequences.report(params, workspace)
    artifacts.leave(workspace)
    return RunResult(
        workspace.root.name, str(workspace.root), str(workspace.reports / "latest"), False, decision.promoted
    )


def _reuse(earlier: finished.Finished, workspace: Workspace, params: Params, started: datetime) -> RunResult:
    """Show the earlier run's results again, marked as reused."""
    seconds = (datetime.now(UTC) - started).total_seconds()
    finished.publish_again(earlier, workspace, params, seconds)
    note(workspace, reused=True, reuses=earlier.run_id)
    artifacts.leave_reused(earlier)
    return RunResult(workspace.root.name, earlier.workspace, str(workspace.reports / "latest"), True, False)

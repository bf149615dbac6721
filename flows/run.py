"""The main job: from the raw log to a promoted (or refused) champion, with scores, drift and a report."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.runtime import flow_run
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows import artifacts, finished
from flows.engine import Engine, engine_of
from flows.steps import run_candidate_step, run_step, write_params
from rectory.files import read_json, write_json
from rectory.params import Params, load_params
from rectory.workspace import Workspace

# An upper bound only: the engine decides, through its slots.
_MOST_THREADS = 64


@dataclass(frozen=True)
class RunResult:
    """What a run came to. `reused`: an earlier run with equal inputs had done it all."""

    run_id: str
    workspace: str
    report: str
    reused: bool
    promoted: bool


def new_run_id() -> str:
    """Sorts by time and is unique: 20261123T201500-1f3a."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"


def read_params(project: Path, dataset: str | None, as_of: datetime | None, overrides: list[str]) -> Params:
    """params.yaml with the data set and as-of date of this run."""
    given = [f"dataset={dataset}"] if dataset else []
    given += [f"as_of={as_of.isoformat()}"] if as_of else []
    return load_params(Workspace(project=project).params_file, [*given, *overrides])


def _run_name() -> str:
    """Data set and as-of date, as an operator looks for a run."""
    given = flow_run.parameters
    moment = f"{given['as_of']:%Y-%m-%d %H:%M}" if given.get("as_of") else "its newest row"
    return f"{given.get('dataset') or 'default data set'}, as of {moment}"


_THREADS: TaskRunner[Any] = ThreadPoolTaskRunner(max_workers=_MOST_THREADS)


@flow(name="run", flow_run_name=_run_name, task_runner=_THREADS)
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
    workspace = Workspace(Path(project) / "runs" / new_run_id(), project)
    workspace.root.mkdir(parents=True)
    write_params(params, workspace)
    started = datetime.now(UTC)
    write_json(workspace.run_facts, {"run_id": workspace.root.name, "started_at": started.isoformat(), "reused": False})

    fetched = run_step("fetch", params, workspace)
    looked = finished.look(workspace, params, fetched.fingerprint)
    write_json(workspace.run_facts, {**read_json(workspace.run_facts), "why": looked.why})
    if looked.earlier:
        return _reuse(looked.earlier, workspace, params, started)
    for step in ("validate", "snapshot", "split", "features"):
        run_step(step, params, workspace)
    reused = run_step("reuse", params, workspace)
    with engine_of(params, workspace) as engine:
        _train_and_evaluate(params, workspace, reused.candidates, engine)
    run_step("register", params, workspace)
    decision = run_step("promote", params, workspace)
    for step in ("score", "drift", "report"):
        run_step(step, params, workspace)
    finished.remember(workspace, params, fetched.fingerprint)
    artifacts.leave(workspace)
    return RunResult(
        workspace.root.name, str(workspace.root), str(workspace.reports / "latest"), False, decision.promoted
    )


def _train_and_evaluate(params: Params, workspace: Workspace, trained_before: tuple[str, ...], engine: Engine) -> None:
    """Candidates side by side, `train.workers` at a time; dearest first, so that no core idles at the end."""
    order = sorted(params.train.candidates, key=lambda name: params.train.candidates[name].baseline)
    done = []
    for candidate in order:
        given = (candidate, workspace, engine)
        trained = [] if candidate in trained_before else [run_candidate_step.submit("train", *given)]
        done += [
            run_candidate_step.submit(step, *given, return_state=False, wait_for=trained)
            for step in ("evaluate", "behave")
        ]
    for future in done:
        future.result()


def _reuse(earlier: finished.Finished, workspace: Workspace, params: Params, started: datetime) -> RunResult:
    """Show the earlier run's results again, marked as reused."""
    seconds = (datetime.now(UTC) - started).total_seconds()
    finished.publish_again(earlier, workspace, params, seconds)
    write_json(workspace.run_facts, {**read_json(workspace.run_facts), "reused": True, "reuses": earlier.run_id})
    artifacts.leave_reused(earlier)
    return RunResult(workspace.root.name, earlier.workspace, str(workspace.reports / "latest"), True, False)

"""The job that tunes one candidate: prepared data, a study, workers, a verdict, and params.yaml if asked."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run
from pydantic import Field

from flows.engine import Ended, Engine, Running, StepCommand, engine_of, error_of
from flows.progress import StepEvent, announce
from flows.sequences import new_run_id, read_params
from flows.steps import run_step, told, write_params
from rectory.errors import RectoryError, UsageError
from rectory.files import write_json
from rectory.params import Params, load_params
from rectory.params.edit import set_values
from rectory.tuning.plan import MANY, Plan
from rectory.tuning.result import Tuned
from rectory.tuning.spaces import defaults_of, space_of
from rectory.tuning.storage import alone, counted, give_up, open_study
from rectory.workspace import Workspace
from tasks import tune as step

_POLL_SECONDS = 0.5
_MOST_DEATHS = 3
"""Workers that may die in one call before it gives up: something kills them whatever they try."""


@dataclass(frozen=True)
class TuneResult:
    """What a study came to. written: keys that params.yaml has new; refusal: why it was left as it is."""

    run_id: str
    workspace: str
    page: str
    study: str
    seconds: float
    workers: int
    verdict: str
    better: bool
    changed: dict[str, Any]
    written: bool
    refusal: str | None


def _run_name() -> str:
    given = flow_run.parameters
    return f"{given['candidate']} on {given.get('dataset') or 'default data set'}"


@flow(name="tune", flow_run_name=_run_name)
def tune(
    candidate: str,
    *,
    trials: Annotated[int, Field(ge=1, le=MANY)] | None = None,
    minutes: Annotated[float, Field(gt=0)] | None = None,
    workers: Annotated[int, Field(ge=1, le=256)] | None = None,
    write: bool = False,
    force: bool = False,
    dataset: str | None = None,
    as_of: datetime | None = None,
    overrides: list[str] | None = None,
    project: str = ".",
) -> TuneResult:
    """Find better values of one candidate on the validation window; the test window is never read.

    Args:
        candidate: a name under train.candidates.
        trials: that the study shall have in all; None: no limit but the time's, or 30 where that has none either.
        minutes: time for trials from their start on.
        workers: trials at the same time; None: as train.workers says.
        write: put the best into params.yaml when it is better than the defaults by more than noise.
        force: put it there in any case.
        dataset: card in datasets/; None: the one that params.yaml names.
        as_of: nothing after this moment is read.
        overrides: `section.key=value`, applied to params.yaml for this call only.
        project: folder with params.yaml and datasets/.
    """
    began = time.perf_counter()
    params = read_params(Path(project), dataset, as_of, overrides or [])
    may_tune(params, candidate, overrides or [], write=write)
    workspace = Workspace(Path(project) / "runs" / f"tune-{new_run_id()}", project)
    with alone(workspace.study(params.dataset, candidate)):
        workspace.root.mkdir(parents=True)
        write_params(params, workspace)
        write_json(workspace.run_facts, {"run_id": workspace.root.name, "tunes": candidate})
        for name in ("fetch", "validate", "snapshot", "split", "features"):
            run_step(name, params, workspace)
        with engine_of(params, workspace, workers or 0) as engine:
            hands = engine.workers
            _prepare(params, workspace, candidate, trials=trials, minutes=minutes, workers=hands)
            _trials(params, workspace, candidate, engine)
        done: step.Concluded = _conclude(params, workspace, candidate)
    refusal = why_not(done.tuned, workspace, force=force) if write else None
    written = write and refusal is None and bool(done.tuned.changed)
    if written:
        set_values(workspace.params_file, f"train.candidates.{candidate}", done.tuned.changed)
    _leave(done)
    return TuneResult(
        run_id=workspace.root.name,
        workspace=str(workspace.root),
        page=str(done.page),
        study=done.tuned.study,
        seconds=round(time.perf_counter() - began, 3),
        workers=hands,
        verdict=done.tuned.verdict,
        better=done.tuned.better,
        changed=done.tuned.changed,
        written=written,
        refusal=refusal,
    )


def may_tune(params: Params, candidate: str, overrides: list[str], *, write: bool) -> None:
    """Wrong use is told before anything starts.

    Raises:
        UsageError: there is no such candidate, nothing to tune, or the result could not be written as it was found.
    """
    if candidate not in params.train.candidates:
        raise UsageError(
            f"no candidate {candidate!r} under train.candidates; there are {', '.join(params.train.candidates)}."
        )
    space_of(params.train.candidates[candidate])
    mine = [one for one in overrides if one.startswith(f"train.candidates.{candidate}")]
    if write and mine:
        raise UsageError(
            f"--write with {mine[0]!r}: params.yaml would not hold what was tuned. Put that value there first."
        )


def why_not(tuned: Tuned, workspace: Workspace, *, force: bool) -> str | None:
    """Why the best is not to be written into params.yaml; None: nothing speaks against it."""
    if force or not tuned.changed:
        return None
    now = load_params(workspace.params_file).train.candidates.get(tuned.candidate)
    if now is None or defaults_of(now, space_of(now)) != tuned.defaults.values:
        return f"{tuned.candidate} in params.yaml was changed while it was tuned: tune again, or write with --force"
    if not tuned.better:
        return f"the best is not better than the defaults by more than noise: {tuned.verdict}. --force writes it anyway"
    return None


@task(name="prepare", task_run_name="prepare", cache_policy=NO_CACHE)
def _prepare(params: Params, workspace: Workspace, candidate: str, **wanted: Any) -> step.Prepared:
    prepared: step.Prepared = told("study", lambda: step.prepare(params, workspace, candidate, **wanted))
    return prepared


@task(name="conclude", task_run_name="conclude", cache_policy=NO_CACHE)
def _conclude(params: Params, workspace: Workspace, candidate: str) -> step.Concluded:
    concluded: step.Concluded = told("conclude", lambda: step.conclude(params, workspace, candidate))
    return concluded


@task(name="trials", task_run_name="trials", cache_policy=NO_CACHE)
def _trials(params: Params, workspace: Workspace, candidate: str, engine: Engine) -> None:
    """Let workers try, each a process of its own, until the plan is fulfilled."""
    told("trials", lambda: Team(params, workspace, candidate, engine).work())


class Team:
    """The workers of one call, watched over."""

    def __init__(self, params: Params, workspace: Workspace, candidate: str, engine: Engine) -> None:
        self._workspace, self._candidate, self._engine = workspace, candidate, engine
        self._plan = Plan.load(workspace.tuning_plan)
        self._study = open_study(self._plan, params.train.seed)
        self._before = len(counted(self._study))
        self._began = time.monotonic()
        self._deaths = 0
        self._running: dict[int, Running] = {}

    def work(self) -> dict[str, int]:
        """Number of trials made. Ends with the last worker; whatever ends it early takes the workers along."""
        with ExitStack() as stack:
            for number in range(1, self._plan.workers + 1):
                self._start(stack, number)
            while self._running:
                next(iter(self._running.values())).wait(_POLL_SECONDS)
                self._tell()
                for number, running in list(self._running.items()):
                    if (ended := running.wait(0)) is not None:
                        del self._running[number]
                        self._ended(stack, number, running.worker, ended)
        self._tell()
        return {"trials": len(counted(self._study)) - self._before}

    def _start(self, stack: ExitStack, number: int) -> None:
        command = StepCommand("tune", self._workspace, self._candidate, f"tune-{number}")
        self._running[number] = stack.enter_context(self._engine.start(command))

    def _ended(self, stack: ExitStack, number: int, worker: int | str, ended: Ended) -> None:
        """A worker that was killed (out of memory, say) costs its trial, not the study."""
        if ended.code == 0:
            return
        error = error_of(ended.code, f"worker {number}", ended.words)
        if ended.code > 0:
            raise error
        give_up(self._study, worker, str(error))
        self._deaths += 1
        if self._deaths >= _MOST_DEATHS:
            raise RectoryError(f"{_MOST_DEATHS} workers were killed, the last one: {error} Try fewer: --workers 1.")
        self._start(stack, number)

    def _tell(self) -> None:
        """How far it is: trial, best so far, time left."""
        done = [one for one in counted(self._study) if one.state.is_finished()]
        whole = [one for one in done if one.value is not None]
        words = f"{len(done)} of {self._plan.trials}" if self._plan.trials < MANY else f"{len(done)}"
        words = f"trials {words}"
        if whole:
            top = max(whole, key=lambda one: (one.value or 0.0, -one.number))
            words += f", best {top.value:.4f} (trial {top.number})"
            base = next((one for one in whole if one.user_attrs.get("values") == self._plan.defaults), None)
            words += f", defaults {base.value:.4f}" if base else ""
        left = self._seconds_left(len(done))
        words += "" if left is None else f", about {left:.0f} s left"
        announce(StepEvent("trials", "progress", text=words, share=min(1.0, len(done) / self._plan.trials)))

    def _seconds_left(self, done: int) -> float | None:
        """By the mean time of the trials of this call, and by the deadline."""
        limits = []
        if self._plan.deadline is not None:
            limits.append(max(0.0, self._plan.deadline - time.time()))
        if self._plan.trials < MANY and done > self._before:
            each = (time.monotonic() - self._began) / (done - self._before)
            limits.append(each * max(0, self._plan.trials - done))
        return min(limits) if limits else None


def _leave(done: step.Concluded) -> None:
    """The verdict on the flow run's page."""
    tuned = done.tuned
    rows = [f"| {key} | {tuned.defaults.values[key]} | {tuned.best.values[key]} |" for key in tuned.best.values]
    table = "\n".join(["| key | default | best |", "|---|---|---|", *rows])
    create_markdown_artifact(key="tuning", markdown=f"{tuned.candidate}: {tuned.verdict}\n\n{table}\n\n`{done.page}`")

"""The parts that flows are made of: begin, take data in, train, judge, score, watch. Each stands here once.

A part works in a workspace of its own and hands on files: the next flow finds them by run.json and registry/ in runs/.
"""

from __future__ import annotations

import functools
import inspect
import os
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, get_type_hints

from prefect import get_run_logger
from prefect.runtime import deployment
from prefect.states import Failed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows import artifacts, events, finished
from flows.checkouts import require_deployed
from flows.engine import Engine, engine_of
from flows.limits import alone
from flows.scoring import score_everybody
from flows.steps import run_candidate_step, run_step, write_params
from flows.textfile import leave_metrics_at_exit
from rectory import journal
from rectory.data.card import load_card
from rectory.data.readers import SourceFacts
from rectory.errors import DataError, RectoryError
from rectory.files import read_json, write_json
from rectory.params import Params, load_params
from rectory.workspace import Workspace
from tasks.promote import Promoted
from tasks.renew import Renewed

P = ParamSpec("P")
R = TypeVar("R")

# An upper bound only: the engine decides, through its slots.
_MOST_THREADS = 64
THREADS: TaskRunner[Any] = ThreadPoolTaskRunner(max_workers=_MOST_THREADS)


@dataclass(frozen=True)
class Asked:
    """A flow run's project and params, its code checked against what was deployed."""

    project: Path
    params: Params

    def begin(self, kind: str) -> Workspace:
        return begin(kind, self.params, self.project)


def new_run_id() -> str:
    """Sorts by time and is unique: 20261123T201500-1f3a."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"


def project_folder() -> Path:
    """The folder that a worker's flow runs are started in, unless RECTORY_PROJECT names another."""
    return Path(os.environ.get("RECTORY_PROJECT", "."))


def read_params(project: Path, dataset: str | None, as_of: datetime | None, overrides: list[str]) -> Params:
    """params.yaml with the data set and as-of date of this run."""
    given = [f"dataset={dataset}"] if dataset else []
    given += [f"as_of={as_of.isoformat()}"] if as_of else []
    return load_params(Workspace(project=project).params_file, [*given, *overrides])


def asked(dataset: str | None, as_of: datetime | None = None, overrides: list[str] | None = None) -> Asked:
    """What this flow run is to work on; wrong use and old code are told before anything starts."""
    found = require_deployed(deployment.version)
    if found.text:
        get_run_logger().warning("%s", found.text)
    project = project_folder()
    params = read_params(project, dataset, as_of, overrides or [])
    load_card(Workspace(project=project).card(params.dataset))
    return Asked(project, params)


def begin(kind: str, params: Params, project: Path) -> Workspace:
    """A workspace with this run's params and facts. kind: which flow made it, e.g. train."""
    workspace = Workspace(Workspace(project=project).runs / new_run_id(), project)
    workspace.root.mkdir(parents=True)
    write_params(params, workspace)
    facts = {"run_id": workspace.root.name, "started_at": datetime.now(UTC).isoformat(), "reused": False}
    write_json(workspace.run_facts, {**facts, "kind": kind, "dataset": params.dataset})
    journal.bind(workspace, run_id=workspace.root.name, kind=kind, dataset=params.dataset)
    leave_metrics_at_exit(project)
    return workspace


def note(workspace: Workspace, **facts: Any) -> None:
    """Add to run.json."""
    write_json(workspace.run_facts, {**read_json(workspace.run_facts), **facts})


def fetch(params: Params, workspace: Workspace) -> SourceFacts:
    """Read the source; a refusal is told as an event."""
    with events.telling_refusals(params.dataset, workspace.root.name):
        fetched: SourceFacts = run_step("fetch", params, workspace)
    note(workspace, fingerprint=fetched.fingerprint)
    return fetched


def take_in(params: Params, workspace: Workspace) -> None:
    """Validate what was fetched and give it a version; a refusal is told as an event."""
    with events.telling_refusals(params.dataset, workspace.root.name):
        run_step("validate", params, workspace)
    run_step("snapshot", params, workspace)


def train(params: Params, workspace: Workspace) -> None:
    """From validated tables to registered candidates."""
    for step in ("split", "features"):
        run_step(step, params, workspace)
    reused = run_step("reuse", params, workspace)
    with engine_of(params, workspace) as engine:
        _train_and_evaluate(params, workspace, reused.candidates, engine)
    run_step("register", params, workspace)


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
    with artifacts.progress("training", f"{len(order)} candidates of {params.dataset}") as advance:
        for number, future in enumerate(done, start=1):
            future.result()
            advance(number / len(done))


def judge(params: Params, workspace: Workspace) -> Promoted:
    """Ask the gate, one judgement at a time, and tell what came of it."""
    with alone("promotion", workspace):
        decided: Promoted = run_step("promote", params, workspace)
    run_step("live", params, workspace)
    renewed = refit(params, workspace) if params.refit.enabled else None
    tell_decision(params.dataset, workspace, decided)
    if renewed is not None and renewed.served and not decided.promoted:
        events.emit(events.RENEWED, params.dataset, {"run_id": workspace.root.name, **asdict(renewed)})
    return decided


def refit(params: Params, workspace: Workspace) -> Renewed:
    """Fit the champion's recipe again on everything up to as_of and let that serve; if it fails nothing is lost."""
    planned = run_step("recipe", params, workspace)
    if planned.recipe:
        try:
            run_step("history", params, workspace)
            with engine_of(params, workspace) as engine:
                run_candidate_step("refit", planned.recipe, workspace, engine)
        except RectoryError as error:
            get_run_logger().error("the refit failed, the champion serves as it is: %s", error)
    with alone("promotion", workspace):
        renewed: Renewed = run_step("renew", params, workspace)
    if renewed.served:
        run_step("live", params, workspace)
    return renewed


def tell_decision(
    dataset: str,
    workspace: Workspace,
    decided: Promoted,
    emit: Callable[[str, str, dict[str, Any]], object] = events.emit,
) -> None:
    """Emit what was decided, once: a run that is resumed, or judged by two at once, does not tell it again.

    That the champion's very model is no challenger is no news.
    """
    decision = read_json(workspace.decision)
    word = "waiting" if decided.waiting else "promoted" if decided.promoted else "refused"
    if workspace.told.is_file() and read_json(workspace.told)["decision"] == word:
        return
    failed = [reason for reason in decision["reasons"] if not reason["passed"]]
    if any(reason["rule"] == "already_champion" for reason in failed):
        return
    event = {"waiting": events.WAITING, "promoted": events.PROMOTED, "refused": events.REFUSED}[word]
    before = decision.get("champion_before") or {}
    shown = decision["reasons"] if decided.promoted else failed
    payload = {
        "run_id": workspace.root.name,
        "candidate": decided.challenger,
        "version": decided.waiting or decided.version,
        "replaces": before.get("version"),
        "reason": "; ".join(reason["text"] for reason in shown[:5]),
    }
    emit(event, dataset, payload)
    write_json(workspace.told, {"decision": word})


def score(params: Params, workspace: Workspace) -> None:
    """Lists of the champion for everybody; some of them, and the previous champion's, are kept for the guard."""
    with engine_of(params, workspace) as engine:
        score_everybody(params, workspace, engine)
    run_step("shadow", params, workspace)


def report(params: Params, workspace: Workspace) -> None:
    """Make and publish the run's page; if it ended well, note it so that an equal run is not made again."""
    run_step("report", params, workspace)
    finished.remember(workspace, params, str(read_json(workspace.run_facts)["fingerprint"]))


def refusable(body: Callable[P, R]) -> Callable[P, R]:
    """Data that are refused end a flow run as Refused, which is a failure that was told already (see flows.events)."""

    @functools.wraps(body)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> Any:
        try:
            return body(*args, **kwargs)
        except DataError as error:
            get_run_logger().error("refused: %s", error)
            return Failed(name="Refused", message=str(error))

    # Prefect resolves annotations where the wrapper was defined; the form's class is known where the body was.
    guarded.__annotations__ = get_type_hints(body, include_extras=True)
    guarded.__signature__ = inspect.signature(body, eval_str=True)  # type: ignore[attr-defined]
    return guarded

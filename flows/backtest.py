"""The time machine: a data set's history through the real steps as of each date, under several policies at once.

Phase 1 knows no order: each date validates, splits, trains and evaluates in a workspace of its own. Phase 2 lets each
policy walk through the dates and decide. Phase 3 fits the recipes again that a policy serves with refits. Phase 4 looks
at what then happened. Every piece of work is noted with the key of its inputs when it has ended: a backtest that was
killed goes on where it was, and one with other policies or other rules of the gate trains nothing again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.engine import Engine, StepCommand, engine_of, run_command
from flows.sequences import read_params
from flows.steps import run_step, told, write_params
from rectory.data.canonical import AFTER_AS_OF
from rectory.data.card import load_card
from rectory.errors import UsageError
from rectory.evaluation.backtest import Step, steps_between
from rectory.files import exclusive, read_json, read_parquet, replacing, sha256_file, sha256_json, write_json
from rectory.params import Params, dump_params
from rectory.registry.pieces import Pieces, is_done, key_of, note_done, tables_digest
from rectory.registry.policies import DEFAULT_POLICIES, Turn, policy_of
from rectory.registry.recipes import Recipe
from rectory.registry.served import Served, as_trained, recipe_of, served_by, wanted
from rectory.reporting.backtest_build import write_backtest_report
from rectory.reporting.backtest_terminal import summary_rows
from rectory.workspace import Backtest, Workspace

_MOST_THREADS = 64
_THREADS: TaskRunner[Any] = ThreadPoolTaskRunner(max_workers=_MOST_THREADS)


@dataclass(frozen=True)
class BacktestResult:
    """Where the page and summary.json lie."""

    backtest_id: str
    report: str


@dataclass(frozen=True)
class _Scene:
    """What all pieces share."""

    params: Params
    backtest: Backtest
    steps: list[Step]
    pieces: Pieces
    engine: Engine
    digests: dict[str, str] = field(default_factory=dict)

    @property
    def slots(self) -> threading.Semaphore:
        return self.engine.slots

    def data(self, date: str) -> str:
        """Digest of the tables that were validated as of the date."""
        if date not in self.digests:
            self.digests[date] = tables_digest(self.backtest.date(date))
        return self.digests[date]

    def train_key(self, date: str, candidate: str) -> str:
        return self.pieces.train(self.data(date), candidate)

    def model_key(self, step: str, date: str, candidate: str) -> str:
        return self.pieces.per_model(step, self.train_key(date, candidate), candidate)

    def moment(self, date: str) -> pd.Timestamp:
        return next(step.since for step in self.steps if step.date == date)


def _run_name() -> str:
    given = flow_run.parameters
    return f"{given.get('dataset') or 'default data set'}, {given['start']:%Y-%m-%d} to {given['end']:%Y-%m-%d}"


@flow(name="backtest", flow_run_name=_run_name, task_runner=_THREADS)
def backtest(
    *,
    start: datetime,
    end: datetime,
    every: str = "7d",
    dataset: str | None = None,
    policies: list[str] | None = None,
    candidates: list[str] | None = None,
    workers: int = 0,
    overrides: list[str] | None = None,
    project: str = ".",
) -> BacktestResult:
    """Replay history and compare ways to run the loop, judged by what then happened.

    Args:
        start: first date. end: nothing after it is looked at.
        every: time between dates, and length of the windows that decisions are judged by.
        dataset: card in datasets/; None: the one that params.yaml names.
        policies: see rectory.registry.policies; None: DEFAULT_POLICIES.
        candidates: names under train.candidates; None: all.
        workers: processes at a time; 0 is one for each core.
        overrides: `section.key=value`, applied to params.yaml for this backtest only.
        project: folder with params.yaml and datasets/.
    """
    names = list(policies or DEFAULT_POLICIES)
    params = _chosen(read_params(Path(project), dataset, None, overrides or []), candidates)
    for name in names:
        policy_of(name)  # Wrong use is told before anything starts.
    steps = steps_between(start, end, every)
    place = _place(params, Workspace(project=project))
    with exclusive(place.root / "lock", "rectory backtest", timeout_seconds=5):
        fetched = run_step("fetch", params, Workspace(place.whole.root, project))
        whole = place.whole
        pieces = Pieces(params, load_card(whole.card(params.dataset)), whole.card(params.dataset), whole.lock_file)
        with engine_of(params, whole, workers) as engine:
            scene = _Scene(params, place, steps, pieces, engine)
            _prepare_and_fit(scene, fetched.fingerprint)
            plan = _plan(scene, names, every)
            turns = _decide(scene, plan, names)
            served = _serve(scene, turns)
            _look_back(scene, wanted(turns, served))
        report = write_backtest_report(params, place, plan, served, Workspace(project=project))
    _leave(report)
    return BacktestResult(plan.root.name, str(report))


def _chosen(params: Params, candidates: list[str] | None) -> Params:
    """Only these candidates."""
    known = params.train.candidates
    if candidates is None:
        return params
    if missing := [name for name in candidates if name not in known]:
        raise UsageError(f"no candidate {', '.join(missing)} under train.candidates; there are {', '.join(known)}.")
    kept = {name: one for name, one in known.items() if name in candidates}
    return params.model_copy(update={"train": params.train.model_copy(update={"candidates": kept})})


def _place(params: Params, project: Workspace) -> Backtest:
    """The folder of all backtests with this card and these windows, with the project as its dates see it.

    It has a state of its own: a date must not meet the champion, the snapshots or the drift history of today.
    """
    dumped, card = dump_params(params), project.card(params.dataset)
    load_card(card)
    read = {name: dumped[name] for name in ("validate", "split", "features")}
    key = sha256_json({"card": sha256_file(card), **read})[:8]
    place = Backtest(project.project / "runs" / f"backtest-{params.dataset}-{key}")
    world = Workspace(project=place.project)
    copies = [(card, world.card(params.dataset)), (project.lock_file, world.lock_file)]
    copies += [(project.project / module, place.project / module) for module in params.behave.modules]
    for source, target in copies:
        if source.is_file():
            with replacing(target) as scratch:
                shutil.copyfile(source, scratch)
    return place


@dataclass(frozen=True)
class _Job:
    """A piece of work: its name for people, where and under which name it is noted, and its key, asked for in time."""

    label: str
    workspace: Workspace
    piece: str
    key: Callable[[], str]

    @property
    def step(self) -> str:
        return self.piece.partition("-")[0]


@task(name="piece", task_run_name="{label}", cache_policy=NO_CACHE)
def _piece(label: str, job: _Job, slots: threading.Semaphore, work: Callable[[], None]) -> None:
    """Do a piece of work when a slot is free, unless it was done with this very key."""
    with slots:
        key = job.key()
        if is_done(job.workspace, job.piece, key):
            get_run_logger().info("done before, with key %s", key[:16])
            return
        told(label, work)
        note_done(job.workspace, job.piece, key)


def _do(job: _Job, slots: threading.Semaphore, work: Callable[[], None], *after: Any) -> Any:
    """Start a piece of work when those of `after` have ended."""
    return _piece.submit(job.label, job, slots, work, return_state=False, wait_for=list(after))


def _process(engine: Engine, step: str, workspace: Workspace, name: str | None = None) -> None:
    """Run `python -m tasks.<step> [name]` to its end.

    Raises:
        RectoryError: of the kind that the exit code stands for, with the last words.
    """
    command = StepCommand(step, workspace, name)
    run_command(engine, command, f"{command.label} as of {workspace.root.name}")


def _prepare_and_fit(scene: _Scene, fingerprint: str) -> None:
    """The whole log for looking back, then every date on its own."""
    end = scene.steps[-1].until
    whole = _as_of(scene, scene.backtest.whole, end)
    job = _Job("validate whole log", whole, "validate", _until(scene, fingerprint, end))
    _do(job, scene.slots, partial(_process, scene.engine, "validate", whole)).result()
    _require_log_until(scene)
    order = sorted(scene.params.train.candidates, key=lambda name: scene.params.train.candidates[name].baseline)
    futures, later = [], []
    for step in scene.steps:
        workspace = _as_of(scene, scene.backtest.date(step.date), step.since)
        job = _Job(f"prepare {step.date}", workspace, "tables", _until(scene, fingerprint, step.since))
        prepared = _do(job, scene.slots, partial(_prepare, scene, step))
        futures.append(prepared)
        later += [one for name in order for one in _candidate(scene, step.date, name, prepared)]
    # In the order of the work, so that the first error is told and not that something waited for it in vain.
    for future in [*futures, *later]:
        future.result()


def _until(scene: _Scene, fingerprint: str, moment: pd.Timestamp) -> Callable[[], str]:
    return partial(scene.pieces.tables, fingerprint, moment.isoformat())


def _as_of(scene: _Scene, workspace: Workspace, moment: pd.Timestamp) -> Workspace:
    """The workspace with today's params, which may differ from those that earlier pieces were made with."""
    write_params(scene.params.model_copy(update={"as_of": moment.to_pydatetime()}), workspace)
    return workspace


def _prepare(scene: _Scene, step: Step) -> None:
    """From the raw tables to the training sets, as of the date."""
    workspace = scene.backtest.date(step.date)
    scene.digests.pop(step.date, None)
    if not workspace.raw.exists():
        workspace.raw.parent.mkdir(parents=True, exist_ok=True)
        workspace.raw.unlink(missing_ok=True)
        workspace.raw.symlink_to(os.path.relpath(scene.backtest.whole.raw, workspace.raw.parent))
    for name in ("validate", "split", "features", "history"):
        _process(scene.engine, name, workspace)


def _candidate(scene: _Scene, date: str, name: str, prepared: Any) -> list[Any]:
    """Train, then whatever looks at the fitted model."""
    workspace = scene.backtest.date(date)
    fit = _Job(f"train-{name} {date}", workspace, f"train-{name}", partial(scene.train_key, date, name))
    fitted = _do(fit, scene.slots, partial(_fit, scene, date, name), prepared)
    # Baselines are never refused for what they fail, so nobody would look at the answer.
    examined = scene.params.gate.behaviour != "off" and not scene.params.train.candidates[name].baseline
    jobs = [
        _Job(f"{step}-{name} {date}", workspace, f"{step}-{name}", partial(scene.model_key, step, date, name))
        for step in (["evaluate", "behave"] if examined else ["evaluate"])
    ]
    return [
        fitted,
        *(_do(job, scene.slots, partial(_process, scene.engine, job.step, workspace, name), fitted) for job in jobs),
    ]


def _fit(scene: _Scene, date: str, name: str) -> None:
    _process(scene.engine, "train", scene.backtest.date(date), name)


def _require_log_until(scene: _Scene) -> None:
    """Windows that the log does not reach would be judged by days that are missing."""
    report, last = read_json(scene.backtest.whole.validation), scene.steps[-1]
    if report["tables"]["interactions"]["filtered"].get(AFTER_AS_OF):
        return  # There are later rows, so a quiet end of the window is just that.
    newest = pd.Timestamp(report["as_of"])
    if newest < last.until - min(pd.Timedelta(days=1), (last.until - last.since) / 7):
        raise UsageError(
            f"the log ends at {newest.isoformat()}, inside the last window ({last.since.isoformat()} to "
            f"{last.until.isoformat()}): choose --to {newest:%Y-%m-%d} or earlier."
        )


def _plan(scene: _Scene, policies: list[str], every: str) -> Workspace:
    """The workspace of this comparison; equal comparisons share one."""
    dumped = dump_params(scene.params)
    facts = {
        "dataset": scene.params.dataset,
        "dates": {step.date: step.since.isoformat() for step in scene.steps},
        "until": {step.date: step.until.isoformat() for step in scene.steps},
        "every": every,
        "policies": policies,
        "candidates": list(scene.params.train.candidates),
    }
    read = {name: dumped[name] for name in ("train", "evaluate", "gate", "drift", "behave")}
    del read["train"]["workers"]
    key = sha256_json({"place": scene.backtest.root.name, "data": tables_digest(scene.backtest.whole), **read, **facts})
    plan = scene.backtest.plan(f"{scene.params.dataset}-{key[:8]}")
    write_json(plan.plan, facts)
    return _as_of(scene, plan, scene.steps[-1].since)


def _decide(scene: _Scene, plan: Workspace, policies: list[str]) -> dict[str, list[Turn]]:
    """Each policy on its way through the dates, in one process: most of them ask the same of a date."""
    models = [
        scene.model_key("evaluate", step.date, name) for step in scene.steps for name in scene.params.train.candidates
    ]
    job = _Job("replay policies", plan, "replay", partial(scene.pieces.replay, policies, models))
    _do(job, scene.slots, partial(_process, scene.engine, "replay", plan)).result()
    return {name: [Turn.from_dict(turn) for turn in read_json(plan.turns(name))] for name in policies}


def _serve(scene: _Scene, turns: dict[str, list[Turn]]) -> dict[str, dict[str, Served]]:
    """Policy -> date -> model that serves; recipes that are to be fitted again are."""
    seats = {turn.seat.model: turn.seat for name, of in turns.items() if policy_of(name).refit for turn in of}
    recipes = {model: recipe_of(seat, scene.backtest, scene.params) for model, seat in seats.items()}
    by_name = {recipe.name: (recipe, as_trained(seats[model])) for model, recipe in recipes.items()}
    served = {name: served_by(policy_of(name), of_policy, recipes) for name, of_policy in turns.items()}
    again = {model.name: model for by_date in served.values() for model in by_date.values() if model.recipe}
    futures = [_refit(scene, model, *by_name[str(model.recipe)]) for model in again.values()]
    for future in futures:
        future.result()
    return served


def _refit(scene: _Scene, model: Served, recipe: Recipe, fitted: Served) -> Any:
    """fitted: the model that the recipe is of."""
    workspace = scene.backtest.date(model.date)
    recipe.lay_out(workspace, fitted.folder(scene.backtest))
    as_of = scene.moment(model.date).isoformat()
    key = partial(scene.pieces.refit, scene.data(model.date), as_of, recipe.told)
    job = _Job(f"{model.piece} {model.date}", workspace, model.piece, key)
    return _do(job, scene.slots, partial(_process, scene.engine, "refit", workspace, recipe.name))


def _look_back(scene: _Scene, models: dict[str, dict[str, Served]]) -> None:
    """Score what was wanted of each date on what followed it."""
    columns = ["user_id", "item_id", "timestamp", "event", "value"]
    log = read_parquet(scene.backtest.whole.tables / "interactions.parquet", columns).astype({"event": object})
    futures = []
    for step in scene.steps:
        rows = log[(log["timestamp"] > step.since) & (log["timestamp"] <= step.until)]
        # The table's cells, not its bytes: a log that has grown since still has the rows of old windows.
        digest = hashlib.sha256(pd.util.hash_pandas_object(rows, index=False).to_numpy().tobytes()).hexdigest()
        keys = {
            name: scene.pieces.hindsight(key_of(scene.backtest.date(model.date), model.piece), digest)
            for name, model in models[step.date].items()
        }
        workspace = scene.backtest.date(step.date)
        todo = [name for name, key in keys.items() if not is_done(workspace, f"hindsight-{name}", key)]
        if todo:
            wanted_models = {name: models[step.date][name] for name in todo}
            futures.append(_hindsight.submit(f"hindsight {step.date}", scene, step, wanted_models, keys))
    for future in futures:
        future.result()


@task(name="hindsight", task_run_name="{label}", cache_policy=NO_CACHE)
def _hindsight(label: str, scene: _Scene, step: Step, models: dict[str, Served], keys: dict[str, str]) -> None:
    workspace, root = scene.backtest.date(step.date), scene.backtest.root
    folders = {name: model.folder(scene.backtest).relative_to(root).as_posix() for name, model in models.items()}
    moments = {"since": step.since.isoformat(), "until": step.until.isoformat()}
    with scene.slots:
        write_json(workspace.wanted, {**moments, "models": folders})
        told(label, partial(_process, scene.engine, "hindsight", workspace))
        for name in models:
            note_done(workspace, f"hindsight-{name}", keys[name])


def _leave(report: Path) -> None:
    """The summary on the run's page."""
    summary = read_json(report / "summary.json")
    create_table_artifact(key="backtest", table=summary_rows(summary), description=summary["headline"])
    create_markdown_artifact(key="backtest-report", markdown=f"`{(report / 'index.html').resolve()}`")

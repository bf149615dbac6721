"""Lists for everybody: in this process, or in shards of users on the engine."""

from __future__ import annotations

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from flows.engine import Engine, StepCommand, run_command
from flows.steps import run_step, told
from rectory.measure import measured
from rectory.params import Params
from rectory.workspace import Workspace
from tasks import score


def score_everybody(params: Params, workspace: Workspace, engine: Engine) -> Any:
    """The step score, cut into `engine.score_shards` pieces of users; the same bytes, however many there are."""
    shards = params.engine.score_shards or engine.shards
    if shards == 1:
        return run_step("score", params, workspace)
    futures = [_shard.submit(number, workspace, engine) for number in range(_prepare(params, workspace, shards))]
    for future in futures:
        future.result()
    return _join(params, workspace)


@task(name="shards", task_run_name="shards", cache_policy=NO_CACHE)
def _prepare(params: Params, workspace: Workspace, shards: int) -> int:
    return int(told("shards", lambda: score.prepare(params, workspace, shards)))


@task(name="score shard", task_run_name="score-shard-{number}", cache_policy=NO_CACHE)
def _shard(number: int, workspace: Workspace, engine: Engine) -> None:
    """Score one piece in a process of its own, when a slot is free."""
    command = StepCommand("score_shard", workspace, str(number))
    with engine.slots:
        told(command.label, lambda: run_command(engine, command))


@task(name="step", task_run_name="score", cache_policy=NO_CACHE)
def _join(params: Params, workspace: Workspace) -> score.Scored:
    def work() -> score.Scored:
        with measured(workspace.timing("score"), "score"):
            return score.join(params, workspace)

    scored: score.Scored = told("score", work)
    return scored

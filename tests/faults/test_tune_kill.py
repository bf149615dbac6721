"""A study that is killed (SIGKILL) in the middle leaves no process behind and goes on where it was."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
from contextlib import closing
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
import pytest

from flows.engine import LocalEngine
from flows.steps import write_params
from flows.tune import Team
from rectory.params import load_params
from rectory.registry import lineage
from rectory.tuning.plan import Plan
from rectory.tuning.storage import alone, open_study
from rectory.workspace import Workspace
from tasks import tune
from tests.shop import make_project
from tests.unit.tuning.conftest import prepare_data
from tests.waiting import until

# Catches workers at work, and so depends on how long a trial takes: not on a busy machine.
pytestmark = pytest.mark.slow

CANDIDATE = "lightfm_hybrid"
TRIALS = 6
# Slow enough to be caught at work.
SLOW = ("train.candidates.lightfm_hybrid.max_epochs=40", "train.candidates.lightfm_hybrid.patience=40")


def tune_here(project: Path) -> None:
    """What the flow does around its workers, without a Prefect server."""
    os.chdir(project)
    # Sources may be edited while this runs, which would rightly begin a new study.
    lineage.candidate_code = lambda *_: "code"
    params = load_params(project / "params.yaml", [*SLOW, "train.candidates.lightfm_hybrid.half_lives_days=[30]"])
    workspace = Workspace(project / "run", project)
    with alone(workspace.study("shop", CANDIDATE)):
        write_params(params, workspace)
        tune.prepare(params, workspace, CANDIDATE, trials=TRIALS, workers=2)
        Team(params, workspace, CANDIDATE, LocalEngine(2)).work()


def start(project: Path) -> BaseProcess:
    process = multiprocessing.get_context("spawn").Process(target=tune_here, args=(project,))
    process.start()
    return process


def states(storage: Path) -> list[str]:
    if not storage.is_file():
        return []
    # Not read-only: what a killed writer left half-done has to be rolled back first.
    with closing(sqlite3.connect(storage, timeout=60)) as database:
        if not database.execute("select 1 from sqlite_master where name = 'trials'").fetchall():
            return []
        return [state for (state,) in database.execute("select state from trials order by number")]


def workers_of(parent: BaseProcess) -> list[psutil.Process]:
    return [one for one in psutil.Process(parent.pid).children() if "tasks.tune" in one.cmdline()]


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_killed_worker_costs_its_trial_and_a_killed_study_goes_on(tmp_path: Path) -> None:
    project = prepare_data(make_project(tmp_path / "project"))
    storage = Workspace(project / "run", project).study("shop", CANDIDATE)

    first = start(project)
    until(lambda: states(storage).count("COMPLETE") >= 1 and states(storage).count("RUNNING") >= 2)
    victim = workers_of(first)[0]
    victim.kill()
    until(lambda: states(storage).count("FAIL") == 1 and states(storage).count("RUNNING") >= 2)
    workers = workers_of(first)
    assert len(workers) == 2, "the dead one was replaced"
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    until(lambda: all(map(gone, workers)), seconds=10)
    left = states(storage)
    assert "RUNNING" in left, "it was not killed at work"

    second = start(project)
    second.join(180)
    assert second.exitcode == 0
    trials = open_study(Plan.load(project / "run" / "tuning" / "plan.json"), 42).trials
    killed = [one for one in trials if "killed" in one.user_attrs]
    lost = [one for one in trials if "reason" in one.user_attrs]
    whole = [one for one in trials if one.state.name in {"COMPLETE", "PRUNED"}]
    assert len(killed) == left.count("RUNNING")
    assert [one.user_attrs["worker"] for one in lost] == [victim.pid]
    assert "killed by signal 9" in lost[0].user_attrs["reason"]
    assert (len(whole), len(trials)) == (TRIALS - 1, TRIALS + len(killed))
    tried = [one.user_attrs["values"] for one in whole]
    assert all(one.user_attrs["values"] in tried for one in killed if "values" in one.user_attrs)

"""A real Dask scheduler and two real worker processes on loopback: equal bytes, lost workers, errors, interruption."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from flows import on_worker
from flows.engine import Engine, LocalEngine, StepCommand, engine_of, run_command
from flows.steps import write_params
from flows.tune import Team
from rectory.errors import UsageError
from rectory.files import tree_digests
from rectory.models.bundle import Bundle
from rectory.params import Params, load_params
from rectory.registry.shards import ScorePlan, save_users
from rectory.tuning.plan import Plan
from rectory.tuning.storage import alone, open_study
from rectory.workspace import Workspace
from tasks import tune
from tests.shop import ROOT, make_project
from tests.unit.tuning.conftest import prepare_data
from tests.waiting import until

pytestmark = pytest.mark.long

CANDIDATES = ("popularity", "personal_frequency", "lightfm_hybrid")
# Long enough to be caught at work: epochs go on without patience.
SLOW = [
    "train.candidates.lightfm_hybrid.max_epochs=150",
    "train.candidates.lightfm_hybrid.patience=50",
    "train.candidates.lightfm_hybrid.components=32",
]


@dataclass
class Cluster:
    """A scheduler and its workers, as processes of ours."""

    folder: Path
    address: str = ""
    workers: list[psutil.Popen] = field(default_factory=list)

    def add_worker(self) -> None:
        options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1"]
        self.workers.append(_dask(self.folder / f"worker-{len(self.workers)}.log", "worker", self.address, *options))

    def at_work(self) -> list[psutil.Popen]:
        """Workers that have a step running."""
        return [one for one in self.workers if one.is_running() and _steps_of(one)]


def _dask(log: Path, *words: str) -> psutil.Popen:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with log.open("w", encoding="utf-8") as out:
        return psutil.Popen([sys.executable, "-m", "dask", *words], env=env, stdout=out, stderr=subprocess.STDOUT)


def _steps_of(worker: psutil.Popen) -> list[psutil.Process]:
    try:
        return [one for one in worker.children() if any(word.startswith("tasks.") for word in one.cmdline())]
    except psutil.NoSuchProcess:
        return []


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    found = folder / "scheduler.json"
    options = ["--port", "0", "--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(found)]
    scheduler = _dask(folder / "scheduler.log", "scheduler", *options)
    made = Cluster(folder)
    try:
        until(lambda: found.is_file() and found.read_text().strip().endswith("}"))
        made.address = json.loads(found.read_text())["address"]
        made.add_worker()
        made.add_worker()
        yield made
    finally:
        for process in [*made.workers, scheduler]:
            if process.is_running():
                process.terminate()
            process.wait(60)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A run that is about to train."""
    project = prepare_data(make_project(tmp_path_factory.mktemp("shop") / "project"))
    return Workspace(project / "run", project)


@pytest.fixture
def params(shop: Workspace, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Params:
    monkeypatch.setenv("RECTORY_DASK_ADDRESS", cluster.address)
    found = load_params(shop.params_file, ["engine.kind=dask"])
    write_params(found, shop)
    return found


def train(engine: Engine, workspace: Workspace, candidates: tuple[str, ...] = CANDIDATES) -> dict[str, str]:
    """Train side by side; digests of all models' files."""

    def one(candidate: str) -> None:
        with engine.slots:
            run_command(engine, StepCommand("train", workspace, candidate))

    with ThreadPoolExecutor(len(candidates)) as pool:
        list(pool.map(one, candidates))
    return tree_digests(workspace.root / "models") | tree_digests(workspace.root / "metrics")


def test_models_are_equal_to_the_byte(shop: Workspace, cluster: Cluster, params: Params) -> None:
    here = train(LocalEngine(2), shop)
    before = {path: path.stat().st_mtime_ns for path in (shop.root / "models").iterdir()}
    until(lambda: "Registered" in (cluster.folder / "worker-1.log").read_text())
    with engine_of(params, shop) as engine:
        assert engine.workers == 2
        there = train(engine, shop)
    assert all(path.stat().st_mtime_ns != before[path] for path in before), "nothing was trained anew"
    assert there == here
    assert len({path.split("/")[0] for path in here}) >= len(CANDIDATES)
    assert not list((shop.root / "logs").glob("seen-by-workers-*"))


def test_a_killed_workers_step_runs_on_the_other_and_gives_the_same(
    shop: Workspace, cluster: Cluster, params: Params
) -> None:
    write_params(load_params(shop.params_file, ["engine.kind=dask", *SLOW]), shop)
    slow = ("lightfm_hybrid",)
    here = train(LocalEngine(1), shop, slow)
    with engine_of(params, shop) as engine, ThreadPoolExecutor(1) as pool:
        trained = pool.submit(train, engine, shop, slow)
        until(lambda: bool(cluster.at_work()))
        victim = cluster.at_work()[0]
        step = _steps_of(victim)[0]
        victim.kill()
        until(lambda: cluster.at_work() not in ([], [victim]))
        assert not trained.done()
        until(lambda: not step.is_running() or step.status() == psutil.STATUS_ZOMBIE)
        assert trained.result(300) == here
    victim.wait(60)
    cluster.add_worker()


def test_a_step_that_fails_says_what_it_says_here(shop: Workspace, params: Params) -> None:
    command = StepCommand("train", shop, "nobody")
    told = []
    with engine_of(params, shop) as remote:
        for engine in (LocalEngine(1), remote):
            with pytest.raises(UsageError, match="train-nobody failed: train: no candidate 'nobody'") as error:
                run_command(engine, command)
            told.append(str(error.value))
    assert told[0] == told[1]


def test_what_nobody_waits_for_any_more_is_stopped(shop: Workspace, cluster: Cluster, params: Params) -> None:
    write_params(load_params(shop.params_file, ["engine.kind=dask", *SLOW]), shop)
    with engine_of(params, shop) as engine, engine.start(StepCommand("train", shop, "lightfm_hybrid")) as running:
        until(lambda: bool(cluster.at_work()))
        assert running.wait(0) is None
    until(lambda: not cluster.at_work(), seconds=30)


def test_user_shards_are_scored_to_the_same_bytes(shop: Workspace, params: Params) -> None:
    """A plan by hand: the store has no part in what workers do."""
    train(LocalEngine(1), shop, ("personal_frequency",))
    users = Bundle.load(shop.model("personal_frequency")).users.ids
    bundle, size = str(shop.model("personal_frequency").absolute()), len(users)
    about = {"model_version": "1", "candidate": "personal_frequency", "as_of": "today", "k": 5, "jsonl": True}
    plan = ScorePlan(bundle, **about, exclude_seen=False, users=size, starts=(0, size // 2), began=0.0)
    save_users(users, shop)
    plan.save(shop)
    made = []
    with engine_of(params, shop) as remote:
        for engine in (LocalEngine(2), remote):
            for shard in range(2):
                run_command(engine, StepCommand("score_shard", shop, str(shard)))
            made.append(tree_digests(shop.score_shards))
    assert made[0] == made[1]
    assert {"00000.parquet", "00001.parquet", "00000.jsonl", "00001.jsonl"} <= set(made[0])


def test_trials_run_on_the_cluster_and_a_lost_workers_trial_is_tried_again(
    shop: Workspace, cluster: Cluster, params: Params
) -> None:
    candidate, trials = "lightfm_hybrid", 4
    slow = load_params(shop.params_file, ["engine.kind=dask", *SLOW, "train.candidates.lightfm_hybrid.loss=bpr"])
    with alone(shop.study("shop", candidate)), engine_of(slow, shop) as engine, ExitStack() as stack:
        write_params(slow, shop)
        tune.prepare(slow, shop, candidate, trials=trials, workers=2)
        team = Team(slow, shop, candidate, engine)
        thread = threading.Thread(target=team.work)
        thread.start()
        stack.callback(thread.join)
        study = open_study(Plan.load(shop.tuning_plan), 42)
        # A quick one of the two could else have made all trials before the other's first.
        until(
            lambda: (
                {one.user_attrs.get("worker") for one in study.get_trials(states=_running())} == {"tune-1", "tune-2"}
            )
        )
        cluster.at_work()[0].kill()
        cluster.add_worker()
        thread.join(300)
        assert not thread.is_alive()
    made = study.get_trials()
    # Values that cannot be fitted (bpr diverges at some learning rates) were tried too; their trial says so.
    tried = [one for one in made if one.state.name in {"COMPLETE", "PRUNED"} or "reason" in one.user_attrs]
    lost = [one for one in made if "killed" in one.user_attrs]
    assert len(tried) == trials, [(one.number, one.state.name, one.user_attrs) for one in made]
    assert {one.user_attrs["worker"] for one in made} == {"tune-1", "tune-2"}
    assert all(one.user_attrs["killed"] == "its worker was lost" for one in lost)
    assert len(made) == trials + len(lost)


def _running() -> tuple[object, ...]:
    from optuna.trial import TrialState

    return (TrialState.RUNNING,)


def test_a_cluster_that_cannot_be_used_is_refused_with_the_cure(
    shop: Workspace, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RECTORY_DASK_ADDRESS")
    with pytest.raises(UsageError, match="set RECTORY_DASK_ADDRESS"), engine_of(params, shop):
        pass
    nowhere = load_params(shop.params_file, ["engine.kind=dask", "engine.address=tcp://127.0.0.1:9"])
    monkeypatch.setattr("flows.dask_engine._CONNECT_SECONDS", 2)
    with (
        pytest.raises(UsageError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"),
        engine_of(nowhere, shop),
    ):
        pass


def test_a_worker_of_another_version_is_refused(
    shop: Workspace, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = on_worker.identity()
    monkeypatch.setattr(on_worker, "identity", lambda: {**mine, "code": "0123456789abcdef"})
    with (
        pytest.raises(UsageError, match=f"has code {mine['code']} instead of 0123456789abcdef"),
        engine_of(params, shop),
    ):
        pass


def test_a_worker_that_sees_another_folder_is_unfit(tmp_path: Path) -> None:
    probe, mine = (tmp_path / "probe", "token"), on_worker.identity()
    assert "does not see" in str(on_worker.unfit(probe, mine))
    probe[0].write_text("other", encoding="utf-8")
    assert "is not the shared one" in str(on_worker.unfit(probe, mine))
    probe[0].write_text("token", encoding="utf-8")
    assert on_worker.unfit(probe, mine) is None
    assert len(list(tmp_path.iterdir())) == 2, "it left a file that the other side can look for"

"""`rectory run` under fire: killed, interrupted, started twice, with a locked store and with an export that turned bad.

One project and one story, because each run starts a real Prefect server: the tests stand in the order in which the
faults happen, and each run is looked at from several sides.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

import tasks.features
import tasks.fetch
import tasks.split
import tasks.train
import tasks.validate
from rectory.files import read_json, tree_digests
from rectory.params import load_params
from rectory.registry.store import ModelStore
from rectory.workspace import Workspace
from tests.shop import make_project
from tests.waiting import until

pytestmark = pytest.mark.server

BIN = Path(sys.executable).parent
PATIENCE = 180.0
SEED = "train.seed=7"
# So long a training that a run which only ends with it is seen to do so.
ENDLESS = (
    "train.candidates.lightfm_hybrid.components=512",
    "train.candidates.lightfm_hybrid.max_epochs=500",
    "train.candidates.lightfm_hybrid.patience=50",
    "train.candidates.lightfm_hybrid.learning_rate=0.00001",
)


class Run:
    """A `rectory run` at work; its own process group, as under a terminal."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.said = folder / f"said-{time.monotonic_ns()}.txt"
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PREFECT_", "MLFLOW_", "RECTORY_"))
        }
        environment = {**inherited, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "160"}
        with self.said.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", "run", *arguments],
                cwd=folder,
                env={**environment, "PYTHONPATH": str(folder), "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        return self.said.read_text(encoding="utf-8")

    def family(self) -> list[psutil.Process]:
        """All processes that it has started, and what those have."""
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def until_it_trains(self) -> list[psutil.Process]:
        """Its descendants at the moment when a candidate's training is among them."""

        def training() -> list[psutil.Process]:
            assert self.process.poll() is None, self.text
            family = self.family()
            return family if any("tasks.train" in command(one) for one in family) else []

        return list(until(training, "a candidate trains"))

    def end(self, code: int = 0) -> str:
        """Wait for its end with `code`; its whole output."""
        found = self.process.wait(PATIENCE)
        assert found == code, f"ended with {found}:\n{self.text}"
        return self.text


def command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def gone(processes: list[psutil.Process]) -> None:
    """Fails unless they all end soon."""
    _, alive = psutil.wait_procs(processes, timeout=30)
    left = [command(one) for one in alive if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    assert not left, f"orphans: {left}"


@dataclass(frozen=True)
class Shop:
    """The project after one good run."""

    folder: Path
    first: dict[str, Any]
    """Summary of that run."""

    def store(self) -> ModelStore:
        return ModelStore(Workspace(self.folder, self.folder))

    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = read_json(self.folder / "reports" / "latest" / "summary.json")
        return found

    def champion_serves(self) -> None:
        """The first run's champion is seated and answers."""
        champion = self.store().champion()
        assert champion is not None
        assert champion.version == self.first["decision"]["champion"]["version"]
        assert len(self.store().bundle(champion).recommend(["00001"], k=5)) == 5
        assert self.summary() == self.first


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = make_project(
        tmp_path_factory.mktemp("faults") / "project", code=True, candidates=("popularity", "lightfm_hybrid")
    )
    Run(folder).end()
    made = Shop(folder, read_json(folder / "reports" / "latest" / "summary.json"))
    yield made
    for process in psutil.process_iter(["cwd"]):
        assert process.info["cwd"] != str(folder), f"left behind: {command(process)}"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """An exclusive transaction of somebody else."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


def undisturbed_model(folder: Path, candidate: str, seed: int) -> dict[str, str]:
    """Digests of the model that a project without any fault gives."""
    make_project(folder)
    params = load_params(folder / "params.yaml", [f"train.seed={seed}"])
    workspace = Workspace(folder / "run", folder)
    here = Path.cwd()
    os.chdir(folder)
    try:
        for step in (tasks.fetch, tasks.validate, tasks.split, tasks.features):
            step.run(params, workspace)
        tasks.train.run(params, workspace, candidate)
    finally:
        os.chdir(here)
    return tree_digests(workspace.model(candidate))


def test_kill_9_while_training_leaves_no_orphan_and_the_champion(shop: Shop) -> None:
    run = Run(shop.folder, "--set", SEED)
    family = run.until_it_trains()
    assert any("prefect" in command(one) for one in family)
    run.process.kill()
    run.end(-signal.SIGKILL)
    gone(family)
    shop.champion_serves()


@pytest.mark.parametrize("to", ["parent", "group"])
def test_ctrl_c_while_training_ends_at_once_with_130_and_one_paragraph(shop: Shop, to: str) -> None:
    """A terminal signals the whole group; `kill -INT` only the parent, whose children must not be waited for."""
    arguments = [part for change in (SEED, *ENDLESS) for part in ("--set", change)]
    run = Run(shop.folder, *arguments)
    family = run.until_it_trains()
    (os.kill if to == "parent" else os.killpg)(run.process.pid, signal.SIGINT)
    began = time.monotonic()
    text = run.end(130)
    assert time.monotonic() - began < 30
    assert "Traceback" not in text
    assert text.splitlines()[-1].startswith("rectory: interrupted.")
    assert text.count("interrupted") == 1
    gone(family)
    shop.champion_serves()


def test_data_that_turned_bad_is_refused_and_the_champion_stays(shop: Shop) -> None:
    export = shop.folder / "exports" / "sales.csv"
    shutil.copy2(export, export.with_suffix(".good"))
    log = pd.read_csv(export, dtype=str)
    log.loc[log.index % 5 != 0, "at"] = "gone bad"
    log.to_csv(export, index=False)
    text = Run(shop.folder).end(3)
    export.with_suffix(".good").replace(export)
    assert "Traceback" not in text
    assert "gone bad" in text.splitlines()[-1], "the refusal shows an example"
    newest = sorted((shop.folder / "runs").iterdir())[-1]
    assert len(pd.read_parquet(newest / "data" / "quarantine.parquet")) > 4000
    assert not (newest / "data" / "tables").exists()
    shop.champion_serves()


def test_after_all_that_two_runs_at_once_and_a_locked_store_give_what_one_quiet_run_gives(
    shop: Shop, tmp_path: Path
) -> None:
    """The store is locked while the first run asks it; the second run waits, the third does not want to."""
    before = {version.version for version in shop.store().versions()}
    store = shop.folder / ".rectory" / "mlflow.db"
    with locked(store):
        first = Run(shop.folder, "--set", SEED)
        until(lambda: "prefect server" in first.text, "the first run holds the lock")
        impatient = Run(shop.folder, "--set", SEED, "--wait", "0")
        text = impatient.end(1)
        assert "another run is at work in this project" in text.splitlines()[-1]
        assert "Wait for it to end" in text
        assert "Traceback" not in text
        second = Run(shop.folder, "--set", SEED)
        until(lambda: "  reuse ..." in first.text, "the first run asks the store")
        assert first.process.poll() is None
    first.end()
    summary = shop.summary()
    assert not summary["reused"]
    text = second.end()
    assert "train-" not in text
    assert shop.summary()["reused"]
    assert shop.summary()["decision"] == summary["decision"]
    new = {version.version for version in shop.store().versions()} - before
    assert len(new) == len({facts["version"] for facts in summary["candidates"].values()} - before)
    registered = shop.store().version(summary["candidates"]["lightfm_hybrid"]["version"])
    assert registered.version in new
    workspace = next(run for run in (shop.folder / "runs").iterdir() if run.name == summary["run_id"])
    made = tree_digests(workspace / "models" / "lightfm_hybrid")
    assert made == undisturbed_model(tmp_path / "quiet", "lightfm_hybrid", 7)

"""A shop whose data is prepared once; each test gets studies of its own beside it."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from rectory.features.training_set import TrainingSet
from rectory.files import write_json
from rectory.params import Params, load_params
from rectory.registry import lineage
from rectory.tuning.plan import Plan
from rectory.tuning.result import Tuned, summarise
from rectory.tuning.storage import open_study
from rectory.tuning.work import work
from rectory.workspace import Workspace
from tasks import tune
from tests.shop import make_project

QUICK = ("train.candidates.lightfm_hybrid.max_epochs=5", "train.candidates.lightfm_hybrid.components=16")


def prepare_data(project: Path) -> Path:
    """Fetch to features in `run`, as a flow does; the snapshot's hash is only a name here."""
    params, workspace = load_params(project / "params.yaml"), Workspace(project / "run", project)
    for step in ("fetch", "validate", "split", "features"):
        importlib.import_module(f"tasks.{step}").run(params, workspace)
    write_json(workspace.snapshot, {"hash": "ab12.dir"})
    return project


class Bench:
    """Tunes in this process, as one worker does."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self.workspace = Workspace(project / "run", project)

    def params(self, *overrides: str) -> Params:
        return load_params(self.project / "params.yaml", [*QUICK, *overrides])

    def prepare(self, candidate: str, trials: int, *overrides: str, minutes: float | None = None) -> tune.Prepared:
        return tune.prepare(self.params(*overrides), self.workspace, candidate, trials=trials, minutes=minutes)

    @property
    def plan(self) -> Plan:
        return Plan.load(self.workspace.tuning_plan)

    def work(self, *overrides: str) -> int:
        return work(self.plan, self.params(*overrides).train, TrainingSet.load(self.workspace.features))

    def result(self) -> Tuned:
        return summarise(open_study(self.plan, 42), self.plan, 200, 42)

    def tune(self, candidate: str, trials: int, *overrides: str) -> Tuned:
        self.prepare(candidate, trials, *overrides)
        self.work(*overrides)
        return self.result()


def facts(tuned):
    """All of a result but times and numbers of trials, which a kill shifts."""
    return [(one.state, one.values, one.score, one.curve, one.chosen) for one in tuned.trials]


@pytest.fixture(scope="session", autouse=True)
def one_reading_of_the_code() -> Iterator[None]:
    """The sources are read once: somebody may edit them while tests run, which would rightly begin new studies."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lineage, "candidate_code", cache(lineage.candidate_code))
        yield


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_data(make_project(tmp_path_factory.mktemp("tuning") / "project"))


@pytest.fixture
def bench(prepared: Path, tmp_path: Path) -> Bench:
    shutil.copytree(prepared, tmp_path / "project", symlinks=True)
    return Bench(tmp_path / "project")


@pytest.fixture(scope="session")
def tuned(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Bench, Tuned]:
    """A study of twelve trials by one worker; look, do not touch."""
    folder = tmp_path_factory.mktemp("tuned") / "project"
    shutil.copytree(prepared, folder, symlinks=True)
    bench = Bench(folder)
    return bench, bench.tune("lightfm_hybrid", 12)

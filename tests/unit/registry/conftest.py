"""One small run, made once; each test gets a project of its own with an empty model store beside it."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path

import pandas as pd
import pytest

from rectory.data.card import load_card
from rectory.files import read_json
from rectory.measure import measured
from rectory.params import Params, load_params
from rectory.registry.environment import Checkout
from rectory.registry.lineage import CodeGraph, candidate_lineage, run_lineage
from rectory.registry.record import Record, RunContext, gather
from rectory.registry.store import ModelStore, Version
from rectory.workspace import Workspace
from tests.shop import make_project


def small_params(project: Path, *overrides: str) -> Params:
    """The shop without LightFM and what is built around it, which the registry does not need to be tested."""
    params = load_params(project / "params.yaml", overrides)
    kept = {name: one for name, one in params.train.candidates.items() if one.kind not in ("lightfm_hybrid", "blend")}
    return params.model_copy(update={"train": params.train.model_copy(update={"candidates": kept})})


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose run `runs/first` has come as far as evaluate, with an empty model store."""
    project = make_project(tmp_path_factory.mktemp("registry") / "project")
    sales = pd.read_csv(project / "exports" / "sales.csv", dtype=str)
    good = sales["customer"].notna() & (sales["at"] != "yesterday")
    sales[good].to_csv(project / "exports" / "sales.csv", index=False)
    params, workspace = small_params(project), Workspace(project / "runs" / "first", project)
    for step in ("fetch", "validate", "snapshot", "split", "features"):
        importlib.import_module(f"tasks.{step}").run(params, workspace)
    for candidate in params.train.candidates:
        with measured(workspace.timing(f"train-{candidate}"), "train"):
            importlib.import_module("tasks.train").run(params, workspace, candidate)
        importlib.import_module("tasks.evaluate").run(params, workspace, candidate)
    ModelStore(workspace).connection.client()
    return project


@pytest.fixture
def project(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    copy = tmp_path / "project"
    shutil.copytree(finished_run, copy, symlinks=True)
    return copy


@pytest.fixture
def params(project: Path) -> Params:
    return small_params(project)


@pytest.fixture
def workspace(project: Path) -> Workspace:
    return Workspace(project / "runs" / "first", project)


@pytest.fixture
def store(workspace: Workspace) -> ModelStore:
    return ModelStore(workspace, patience_seconds=5)


class Bench:
    """Registers candidates of the small run, under other names of data sets and other params where asked."""

    def __init__(self, params: Params, workspace: Workspace, store: ModelStore) -> None:
        self.params = params
        self.workspace = workspace
        self.store = store

    def record(self, candidate: str = "popularity", dataset: str = "shop", data: str = "ab12.dir") -> Record:
        params = self.params.model_copy(update={"dataset": dataset})
        card_file = self.workspace.card(dataset)
        if not card_file.is_file():
            text = self.workspace.card("shop").read_text(encoding="utf-8")
            card_file.write_text(text.replace("name: shop", f"name: {dataset}"), encoding="utf-8")
        card, graph, lock = load_card(card_file), CodeGraph(), self.workspace.lock_file
        snapshot = {**read_json(self.workspace.snapshot), "hash": data}
        whole = run_lineage(params, card, data, lock, graph=graph)
        checkout = Checkout(None, "c0ffee", False, None)
        context = RunContext(params, card, self.workspace, snapshot, whole, checkout, "first")
        return gather(context, candidate, candidate_lineage(params, card, data, lock, candidate, graph=graph))

    def register(self, candidate: str = "popularity", dataset: str = "shop", data: str = "ab12.dir") -> Version:
        record = self.record(candidate, dataset, data)
        experiment, parent = self.store.begin(record.run)
        return self.store.register(record, experiment, parent).version


@pytest.fixture
def bench(params: Params, workspace: Workspace, store: ModelStore) -> Bench:
    return Bench(params, workspace, store)

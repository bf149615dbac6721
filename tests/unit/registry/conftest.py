"""One small run, made once; each test gets a project of its own with an empty model store beside it."""

from __future__ import annotations

import importlib
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Self

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
from tasks import promote, register
from tests.shop import make_project


def small_params(project: Path, *overrides: str) -> Params:
    """The shop without LightFM and what is built around it, which the registry does not need to be tested."""
    params = load_params(project / "params.yaml", overrides)
    kept = {name: one for name, one in params.train.candidates.items() if one.kind not in ("lightfm_hybrid", "blend")}
    return params.model_copy(update={"train": params.train.model_copy(update={"candidates": kept})})


def first_run(project: Path) -> Workspace:
    return Workspace(project / "runs" / "first", project)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose run `runs/first` has come as far as evaluate, with an empty model store."""
    project = make_project(tmp_path_factory.mktemp("registry") / "project")
    sales = pd.read_csv(project / "exports" / "sales.csv", dtype=str)
    good = sales["customer"].notna() & (sales["at"] != "yesterday")
    sales[good].to_csv(project / "exports" / "sales.csv", index=False)
    params, workspace = small_params(project), first_run(project)
    for step in ("fetch", "validate", "snapshot", "split", "features"):
        importlib.import_module(f"tasks.{step}").run(params, workspace)
    for candidate in params.train.candidates:
        with measured(workspace.timing(f"train-{candidate}"), "train"):
            importlib.import_module("tasks.train").run(params, workspace, candidate)
        importlib.import_module("tasks.evaluate").run(params, workspace, candidate)
    ModelStore(workspace).connection.client()
    return project


# Where MLflow keeps absolute paths.
_PATHS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)


def copied(project: Path, target: Path) -> Path:
    """The project in another folder, as if all that its model store knows had been made there."""
    shutil.copytree(project, target, symlinks=True)
    with closing(sqlite3.connect(Workspace(project=target).model_store)) as store, store:
        for table, column in _PATHS:
            moved = f"UPDATE {table} SET {column} = replace({column}, ?, ?)"
            store.execute(moved, (str(project), str(target)))
    return target


def seated_project(finished_run: Path, target: Path, params_of: Callable[[Path], Params]) -> Path:
    """A copy of the small run's project, whose run has been judged and has seated a champion."""
    project = copied(finished_run, target)
    params, run = params_of(project), first_run(project)
    register.run(params, run)
    assert promote.run(params, run).promoted
    return project


def damage(store: ModelStore, version: str) -> Path:
    """Change a byte in the largest file of a version, as a disk may."""
    folder = store.bundle_folder(store.version(version))
    victim = max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 0xFF
    victim.write_bytes(bytes(content))
    return victim


@pytest.fixture
def starting(finished_run: Path) -> Path:
    """What each test's project is a copy of; a file whose tests all begin later in the story has its own."""
    return finished_run


@pytest.fixture
def project(starting: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return copied(starting, tmp_path / "project")


@pytest.fixture
def params(project: Path) -> Params:
    return small_params(project)


@pytest.fixture
def workspace(project: Path) -> Workspace:
    return first_run(project)


@pytest.fixture
def store(workspace: Workspace) -> ModelStore:
    return ModelStore(workspace, patience_seconds=5)


class Bench:
    """Registers candidates of the small run, under other names of data sets and other params where asked."""

    def __init__(self, params: Params, workspace: Workspace, store: ModelStore) -> None:
        self.params = params
        self.workspace = workspace
        self.store = store

    @classmethod
    def of(cls, project: Path) -> Self:
        workspace = first_run(project)
        return cls(small_params(project), workspace, ModelStore(workspace))

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

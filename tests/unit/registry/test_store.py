"""Versions: registered once, complete or not at all, loadable from anywhere."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from rectory.errors import StoreError, UsageError
from rectory.files import read_json, tree_digests
from rectory.models.bundle import Bundle
from rectory.registry.sample_lists import SAMPLE_FILE
from rectory.registry.store import ModelStore
from rectory.workspace import Workspace
from tests.unit.registry.conftest import Bench


def test_an_empty_project_has_no_versions_and_reading_makes_no_store(tmp_path: Path) -> None:
    store = ModelStore(Workspace(tmp_path, tmp_path))
    assert (store.versions(), store.champion(), store.aliases()) == ([], None, {})
    assert not (tmp_path / ".rectory").exists()


def test_the_same_candidate_is_registered_once_and_other_data_give_a_new_version(bench: Bench) -> None:
    first, again = bench.register(), bench.register()
    other = bench.register(data="cd34.dir")
    assert (first.version, again.version, other.version) == ("1", "1", "2")
    assert [one.version for one in bench.store.versions()] == ["2", "1"]
    assert bench.store.find(first.lineage_key) == again


def test_a_version_carries_its_lineage_and_its_files(bench: Bench, workspace: Workspace) -> None:
    version = bench.register("personal_frequency")
    tags = version.tags
    assert (tags["dataset"], tags["candidate"], tags["kind"]) == ("shop", "personal_frequency", "personal_frequency")
    assert (tags["snapshot_hash"], tags["commit"], tags["baseline"]) == ("ab12.dir", "c0ffee", "false")
    assert tags["reproducible"] == "true"
    for name in ("params.json", "card.yaml", "model_card.md", "plots/metrics.png", "environment/requirements.lock"):
        found = bench.store.artifact(version, name)
        assert found is not None and found.stat().st_size > 0, name
    assert bench.store.artifact(version, "code.patch") is None
    noted = read_json(bench.store.artifact(version, SAMPLE_FILE) or Path())["lists"]
    assert len(noted) == 32
    for one in (noted[0], noted[-1]):
        batch = Bundle.load(workspace.model("personal_frequency")).recommend([one["user_id"]], 20)
        assert (one["items"], one["scores"]) == (batch["item_id"].tolist(), batch["score"].tolist())
    card = (bench.store.artifact(version, "model_card.md") or Path()).read_text()
    assert "A small shop with planted tastes." in card and "ndcg@10" in card and "95% interval" in card
    run = bench.store.connection.client().get_run(version.run_id)
    measured = read_json(workspace.metrics("personal_frequency"))["metrics"]["ndcg@10"]
    assert run.data.metrics["ndcg_at_10"] == pytest.approx(measured["value"])
    assert run.data.metrics["ndcg_at_10_low"] == pytest.approx(measured["low"])
    (logged,) = run.outputs.model_outputs
    model = bench.store.connection.client().get_logged_model(logged.model_id)
    assert {one.key: one.value for one in model.metrics} == run.data.metrics, "shown beside the model too"
    assert run.data.params["train.seed"] == "42"
    assert [one.dataset.name for one in run.inputs.dataset_inputs] == ["shop"]


def test_the_bundle_comes_back_byte_for_byte(bench: Bench, workspace: Workspace) -> None:
    version = bench.register()
    assert tree_digests(bench.store.bundle_folder(version)) == tree_digests(workspace.model("popularity"))
    assert (
        bench.store.bundle(version)
        .recommend(["00001"], 3)
        .equals(Bundle.load(workspace.model("popularity")).recommend(["00001"], 3))
    )
    target = Workspace(workspace.root.parent / "second", workspace.project)
    bench.store.restore(version, target)
    assert tree_digests(target.model("popularity")) == tree_digests(workspace.model("popularity"))
    assert read_json(target.fit_report("popularity")) == read_json(workspace.fit_report("popularity"))


def test_missing_files_of_a_version_are_told_with_the_way_out(bench: Bench) -> None:
    version = bench.register()
    (bench.store.bundle_folder(version) / "bundle.json").unlink()
    with pytest.raises(StoreError, match=r"missing at .* rebuild it"):
        bench.store.bundle(version)


def test_what_a_killed_registration_left_is_cleared_and_never_seen_as_a_version(bench: Bench) -> None:
    record = bench.record()
    experiment, parent = bench.store.begin(record.run)
    client = bench.store.connection.client()
    tags = {**record.tags(), "rectory.part": "candidate", "mlflow.parentRunId": parent}
    half = client.create_run(experiment, tags=tags).info.run_id
    assert bench.store.versions() == []
    version = bench.register()
    assert version.version == "1" and version.run_id != half
    assert client.get_run(half).info.lifecycle_stage == "deleted"
    assert client.get_run(parent).info.lifecycle_stage == "active"


def test_a_version_by_an_unknown_number_is_refused_with_the_known_ones(bench: Bench) -> None:
    bench.register()
    with pytest.raises(UsageError, match=r"no version '7'.*there are: 1"):
        bench.store.version("7")


def test_other_test_metrics_of_the_same_model_are_kept_on_its_run(bench: Bench) -> None:
    version = bench.register()
    record = bench.record()
    record.metrics["metrics"]["ndcg@10"]["value"] = 0.125
    assert bench.store.register(record, *bench.store.begin(record.run)).reused
    assert bench.store.connection.client().get_run(version.run_id).data.metrics["ndcg_at_10"] == 0.125


def test_a_locked_store_is_waited_for_within_bounds_and_then_named(bench: Bench, workspace: Workspace) -> None:
    bench.register()
    impatient = ModelStore(workspace, patience_seconds=0.4)
    with closing(sqlite3.connect(workspace.model_store, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        with pytest.raises(StoreError, match=r"locked by another process.*fuser"):
            impatient.versions()
        assert time.monotonic() - began < 5
        other.execute("ROLLBACK")
    assert [one.version for one in impatient.versions()] == ["1"]


def test_an_unreachable_store_is_an_error_that_names_the_setting(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workspace.project / 'params.yaml'}")
    with pytest.raises(StoreError, match="MLFLOW_TRACKING_URI"):
        ModelStore(workspace).versions()


_LOAD = """
import sys, mlflow, pandas as pd
model = mlflow.pyfunc.load_model("models:/recommender@champion")
users = pd.DataFrame({"user_id": ["00001", "nobody"]})
lists = model.predict(users, params={"k": 3})
assert list(lists.columns) == ["user_id", "rank", "item_id", "score"], lists.columns
assert lists["user_id"].tolist() == ["00001"] * 3 + ["nobody"] * 3 and lists["rank"].tolist() == [1, 2, 3] * 2
assert len(model.predict(users)) == 20
assert len(model.predict(users, params={"k": 2, "exclude_seen": True})) == 4
import rectory
print(rectory.__file__)
"""


def test_plain_mlflow_loads_the_champion_from_another_folder_with_the_code_it_brought(
    bench: Bench, tmp_path: Path
) -> None:
    bench.store.promote(bench.register("personal_frequency"), "first", by="test")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {**os.environ, "MLFLOW_TRACKING_URI": bench.store.connection.uri}
    done = subprocess.run(
        [sys.executable, "-c", _LOAD], cwd=elsewhere, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert str(bench.workspace.model_artifacts.resolve()) in done.stdout

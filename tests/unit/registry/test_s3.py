"""Models on an S3 API over HTTP: moto's server, in a process of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from rectory.errors import StoreError
from rectory.files import read_json, tree_digests
from rectory.registry.store import ModelStore
from rectory.workspace import Workspace
from tests.installed import S3
from tests.unit.registry.conftest import Bench

BUCKET = "models"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    pytest.importorskip("moto", reason="moto serves the S3 API of this test")
    made = S3(tmp_path_factory.mktemp("s3"))
    made.client().create_bucket(Bucket=BUCKET)
    yield made
    made.stop()


@pytest.fixture
def on_s3(s3: S3, workspace: Workspace, params: object, monkeypatch: pytest.MonkeyPatch) -> Bench:
    for name, value in {**s3.env, "RECTORY_ARTIFACTS": f"s3://{BUCKET}/shop"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    return Bench(params, workspace, ModelStore(workspace, patience_seconds=3))  # type: ignore[arg-type]


def test_a_bundle_and_its_files_come_back_from_s3_byte_for_byte(on_s3: Bench, s3: S3, workspace: Workspace) -> None:
    version = on_s3.register()
    assert any(key.endswith("bundle.json") for key in s3.keys(BUCKET, "shop/"))
    assert not workspace.model_artifacts.exists()
    assert tree_digests(on_s3.store.bundle_folder(version)) == tree_digests(workspace.model("popularity"))
    measured = on_s3.store.artifact(version, "metrics.json")
    assert measured is not None
    assert read_json(measured) == read_json(workspace.metrics("popularity"))
    assert on_s3.store.artifact(version, "code.patch") is None


def test_while_s3_is_away_nothing_is_registered_and_what_was_fetched_serves(
    on_s3: Bench, s3: S3, workspace: Workspace
) -> None:
    champion = on_s3.register()
    on_s3.store.bundle_folder(champion)
    s3.stop()
    try:
        with pytest.raises(StoreError, match="the storage of model files answered: Could not connect"):
            on_s3.register("personal_frequency")
        assert [one.version for one in on_s3.store.versions()] == [champion.version]
        assert on_s3.store.bundle(champion).recommend(["00001"], 3).shape[0] == 3
        shutil.rmtree(workspace.state / "bundles")
        with pytest.raises(StoreError, match="could not download version 1: the storage of model files"):
            on_s3.store.bundle(champion)
    finally:
        s3.start()
        s3.client().create_bucket(Bucket=BUCKET)
    assert on_s3.register("personal_frequency").version == "2"

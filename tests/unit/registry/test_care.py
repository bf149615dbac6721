"""status, doctor and gc on a small installation whose store, data and runs are real."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rectory.care import gc as collecting
from rectory.care.doctor import examine
from rectory.care.gc import collect, needed_versions, plan
from rectory.care.status import metrics_text, status
from rectory.data.snapshots import add_snapshot, checkout, list_snapshots
from rectory.files import read_json, read_parquet, tree_digests, write_json
from rectory.params.sections import GcParams
from rectory.registry import glance
from rectory.registry.store import ModelStore, Version
from rectory.workspace import Workspace
from tests.unit.registry.conftest import Bench, copied

NOTHING_KEPT = GcParams(keep_runs=1, keep_days=0, keep_versions=1, keep_snapshots=1)


@pytest.fixture(scope="module")
def starting(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three versions; the third is champion, the first was."""
    project = copied(finished_run, tmp_path_factory.mktemp("seated") / "project")
    bench = Bench.of(project)
    made = [bench.register(data=f"{n}{n}12.dir") for n in "abc"]
    bench.store.promote(made[0], "first", by="test")
    bench.store.promote(made[2], "better", by="test")
    bench.store.challenge(made[2])
    return project


@pytest.fixture
def seated(bench: Bench) -> Bench:
    return bench


def test_the_glance_says_what_the_store_says(seated: Bench) -> None:
    long_way = ModelStore(seated.workspace).status()
    assert glance.status(seated.workspace) == long_way
    assert long_way["champion"]["metrics"] and long_way["previous"] == {"name": "popularity", "version": "1"}
    seated.store.rollback(reason="worse")
    assert glance.status(seated.workspace)["champion"]["version"] == "1"


def test_the_champions_folder_is_found_the_short_way_or_left_to_the_store(seated: Bench, monkeypatch) -> None:
    def long_way() -> Path:
        return seated.store.bundle_folder(seated.store.champion())

    first = glance.champion_folder(seated.workspace)
    assert first == long_way()
    seated.store.rollback(reason="worse")
    assert glance.champion_folder(seated.workspace) == long_way() != first
    monkeypatch.setattr(glance, "_TIMEOUT_SECONDS", 0.05)
    with closing(sqlite3.connect(seated.workspace.model_store, isolation_level=None)) as locked:
        locked.execute("BEGIN EXCLUSIVE")
        assert glance.champion_folder(seated.workspace) is None
    shutil.rmtree(long_way())
    assert glance.champion_folder(seated.workspace) is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert glance.champion_folder(seated.workspace) is None


def test_a_list_is_given_without_importing_mlflow(seated: Bench) -> None:
    code = (
        "import sys\nfrom cli.main import app\napp(['recommend', 'u0'], standalone_mode=False)\n"
        "print('mlflow' in sys.modules)"
    )
    asked = [sys.executable, "-c", code]
    done = subprocess.run(asked, cwd=seated.workspace.project, capture_output=True, text=True, check=True)
    *shown, imported = done.stdout.splitlines()
    assert len(shown) > 5
    assert imported == "False"


def test_an_empty_project_has_a_status_and_reading_it_makes_nothing(tmp_path: Path) -> None:
    found = status(Workspace(tmp_path, tmp_path))
    assert found["champion"] is None and found["stuck"] == [] and found["next_runs"] is None
    assert "rectory_champion_seated 0.0" in metrics_text(found)
    assert list(tmp_path.iterdir()) == []


def test_status_imports_nothing_heavy_and_says_ages_disk_and_what_hangs(seated: Bench) -> None:
    project = seated.workspace.project
    run = project / "runs" / "20200101T000000-dead"
    write_json(run / "run.json", {"run_id": run.name, "started_at": "2020-01-01T00:00:00+00:00", "kind": "run"})
    (project / ".rectory" / ".half.4194304-0123abcd.part").write_text("half")
    for path in (run / "run.json", run):
        os.utime(path, (1, 1))
    code = (
        "import sys, json\nfrom cli.main import main\nsys.argv = ['rectory', 'status', '--json']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'mlflow', 'pandas', 'sqlalchemy', 'prefect', 'pyarrow'} & set(sys.modules)\nassert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project,
        env={**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", "") or str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["champion"]["version"] == "3"
    assert 0 <= found["ages"]["champion_seconds"] < 3600
    assert found["ages"]["data_seconds"] > 0
    assert found["disk"]["models"] > 0 and found["disk"]["free_bytes"] > 0
    assert len(found["stuck"]) == 2
    assert any(run.name in text for text in found["stuck"]) and any(".half." in text for text in found["stuck"])
    text = metrics_text(found)
    assert 'rectory_champion_info{dataset="shop",name="popularity",version="3"} 1.0' in text
    assert "rectory_stuck 2.0" in text


def test_a_flow_leaves_the_textfile_and_a_broken_store_is_no_fault_of_the_flow(
    seated: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    from flows.textfile import leave_metrics

    workspace = seated.workspace
    leave_metrics(workspace.project)
    assert "rectory_champion_seated 1.0" in workspace.metrics_file.read_text()
    workspace.model_store.write_bytes(b"no database" * 100)
    leave_metrics(workspace.project)
    assert "could not write the metrics" in caplog.text and "model store" in caplog.text
    leave_metrics(workspace.project / "nowhere")
    assert not (workspace.project / "nowhere").exists()


def test_the_doctor_finds_a_champion_whose_files_were_changed(seated: Bench) -> None:
    workspace = seated.workspace
    sound = {one.name: one for one in examine(workspace)}
    assert sound["version 3 (challenger, champion, champion-shop)"].status == "ok"
    assert sound["data versions"].status == "ok"
    champion = seated.store.champion()
    assert champion is not None
    with (seated.store.bundle_folder(champion) / "items.parquet").open("ab") as handle:
        handle.write(b"x")
    (snapshot,) = list_snapshots(workspace)
    for store in (workspace.project / ".dvc" / "cache", workspace.state / "remote"):
        for path in store.rglob("*"):
            if path.is_file() and path.suffix != ".dir":
                path.chmod(0o644)
                path.write_bytes(b"rotten")
    found = {one.name: one for one in examine(workspace)}
    assert found["version 3 (challenger, champion, champion-shop)"].status == "fail"
    assert "rectory rollback" in found["version 3 (challenger, champion, champion-shop)"].text
    assert found["version 1 (previous, previous-shop)"].status == "ok"
    assert found[f"data {snapshot.hash[:12]}"].status == "fail"


def test_the_doctor_names_a_broken_params_file_and_card(seated: Bench) -> None:
    workspace = seated.workspace
    workspace.params_file.write_text("dataset: [")
    (workspace.project / "datasets" / "odd.yaml").write_text("name: odd\n")
    found = [one for one in examine(workspace) if one.status == "fail"]
    assert any("params.yaml" in one.text for one in found)


def version(number: int, days_old: float, **tags: str) -> Version:
    created = (datetime.now(UTC) - timedelta(days=days_old)).isoformat()
    told = {"dataset": "shop", "lineage_key": f"key{number}", "candidate": "one", **tags}
    return Version(str(number), "run", "model", created, told)


def test_the_seated_the_young_the_newest_and_their_ancestors_stay() -> None:
    versions = [version(n, 100.0 - n) for n in range(1, 9)]
    versions[4] = version(5, 95.0, warm_start_of="key2")
    versions[1] = version(2, 98.0, warm_start_of="key1")
    versions[7] = version(8, 1.0)
    kept = needed_versions(versions, {"champion": "5"}, GcParams(keep_versions=1, keep_days=30.0), time.time())
    assert sorted(one.version for one in kept) == ["1", "2", "5", "8"]


def test_gc_keeps_what_the_seats_need_and_a_dry_look_touches_nothing(seated: Bench, tmp_path: Path) -> None:
    workspace = seated.workspace
    tables = workspace.tables
    (used,) = list_snapshots(workspace)
    for n in range(2):
        facts = {**read_json(tables / "tables.json"), "note": n}
        write_json(tables / "tables.json", facts)
        add_snapshot(tables, workspace, "shop", {"summary": {}})
    for n in (1, 2, 3):
        old = workspace.project / "runs" / f"2020010{n}T000000-aaaa"
        write_json(old / "run.json", {"run_id": old.name})
        os.utime(old, (n, n))
    # The champion was made from the oldest data version.
    champion = seated.store.champion()
    assert champion is not None
    seated.store._tag(champion, "snapshot_hash", used.hash)
    before = tree_digests(workspace.state)
    found = plan(workspace, NOTHING_KEPT)
    assert tree_digests(workspace.state) == before
    assert [one.version for one in found.versions] == ["2"]
    assert used.hash not in found.snapshots and len(found.snapshots) == 1
    collect(workspace, NOTHING_KEPT)
    assert [one.version for one in seated.store.versions()] == ["3", "1"]
    assert not (workspace.project / "runs" / "20200101T000000-aaaa").exists()
    assert not workspace.gc_note.exists()
    assert len(seated.store.bundle(champion).recommend(["00001"], k=5)) == 5
    for left in list_snapshots(workspace):
        checkout(workspace, left.hash, tmp_path / left.hash)
        assert len(read_parquet(tmp_path / left.hash / "interactions.parquet")) > 1000
    assert plan(workspace, NOTHING_KEPT).facts()["versions"] == []


@pytest.mark.parametrize("where", ["before the version is off the list", "before its files are gone"])
def test_a_killed_gc_leaves_all_consistent_and_the_next_completes_it(
    seated: Bench, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    doomed = seated.store.version("2")
    files = seated.store.files_of(doomed)

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        if where == "before the version is off the list":
            patched.setattr(ModelStore, "remove", dies)
        else:
            patched.setattr(collecting.shutil, "rmtree", dies)
        with pytest.raises(KeyboardInterrupt):
            collect(seated.workspace, NOTHING_KEPT)
    assert all(path.is_dir() for path in files)
    for one in seated.store.versions():
        assert seated.store.bundle(one).candidate == "popularity", "what is listed is whole"
    collect(seated.workspace, NOTHING_KEPT)
    assert [one.version for one in seated.store.versions()] == ["3", "1"]
    assert not any(path.exists() for path in files)

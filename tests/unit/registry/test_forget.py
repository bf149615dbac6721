"""A person is planted in everything that a project keeps, forgotten, and looked for in every byte."""

from __future__ import annotations

import gzip
import importlib
import json
import sqlite3
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from rectory.care import forget as forgetting
from rectory.care.bundles import empty_row
from rectory.care.forget import forget
from rectory.care.person import Person
from rectory.care.status import status
from rectory.data.snapshots import checkout, list_snapshots
from rectory.files import read_json, read_parquet, read_sparse, write_json
from rectory.measure import measured
from rectory.registry.sample_lists import SAMPLE_FILE, difference
from rectory.registry.store import ModelStore
from rectory.serving.event_log import EventLog
from rectory.serving.store import Store
from rectory.serving.types import Event
from rectory.workspace import Workspace
from tests.shop import make_project
from tests.unit.registry.conftest import small_params

WHO = "zebra-4711"


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop with a champion, where WHO bought, was quarantined, was scored and shown in a report."""
    project = make_project(tmp_path_factory.mktemp("forget") / "project")
    export = project / "exports" / "sales.csv"
    log = pd.read_csv(export, dtype=str)
    good = log[log["customer"].notna() & (log["at"] != "yesterday")]
    theirs = good.iloc[::200].assign(customer=WHO)
    bad = good.iloc[[5]].assign(customer=WHO, at="yesterday")
    pd.concat([good, theirs, bad]).to_csv(export, index=False)
    with export.open("a") as out:
        out.write(f"{WHO},torn\n")
    params, workspace = small_params(project), Workspace(project / "runs" / "20250101T000000-aaaa", project)
    write_json(workspace.run_facts, {"run_id": workspace.root.name, "dataset": "shop"})
    for step in ("fetch", "validate", "snapshot", "split", "features"):
        importlib.import_module(f"tasks.{step}").run(params, workspace)
    for candidate in params.train.candidates:
        with measured(workspace.timing(f"train-{candidate}"), "train"):
            importlib.import_module("tasks.train").run(params, workspace, candidate)
        importlib.import_module("tasks.evaluate").run(params, workspace, candidate)
    for step in ("register", "promote", "score"):
        importlib.import_module(f"tasks.{step}").run(params, workspace)
    report = project / "reports" / workspace.root.name
    report.mkdir(parents=True)
    card = f'<article class="card user" aria-label="User {WHO}"><h3>User {WHO}</h3></article>'
    (report / "index.html").write_text(f"<html>{card}<p>the rest stays</p></html>")
    write_json(report / "summary.json", {"samples": [{"user_id": WHO, "items": ["0001"]}, {"user_id": "00001"}]})
    (workspace.root / "logs").mkdir()
    (workspace.root / "logs" / "train.log").write_text(f"looked at {WHO}, then at 00001\n")
    (workspace.state / "service.jsonl").write_text(
        json.dumps({"user_id": WHO}) + "\n" + json.dumps({"user_id": "2"}) + "\n"
    )
    with gzip.open(workspace.state / "old.log.gz", "wt") as out:
        out.write(f"{WHO} was here\n")
    return project


def places(project: Path) -> Iterator[Path]:
    for path in sorted(project.rglob("*")):
        if path.is_file() and not path.is_relative_to(project / "exports"):
            yield path


def texts(path: Path) -> Iterator[bytes]:
    """All that a reader can get out of a file, in a way of its own."""
    content = path.read_bytes()
    yield content
    if content[:4] == b"PAR1":
        table = pq.read_table(path)
        yield str(table.schema).encode()
        for column in table.columns:
            yield repr(column.to_pylist()).encode()
            for chunk in column.chunks:
                if hasattr(chunk, "dictionary"):
                    yield repr(chunk.dictionary.to_pylist()).encode()
    elif content[:2] == b"\x1f\x8b":
        yield gzip.decompress(content)
    elif content[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                member = archive.read(name)
                yield member
                yield member.replace(b"\0", b"")  # numpy keeps text with four bytes a character


def found_in(project: Path) -> list[str]:
    wanted = WHO.encode()
    return [str(path.relative_to(project)) for path in places(project) if any(wanted in text for text in texts(path))]


def test_a_person_is_in_no_byte_of_the_project_any_more(planted: Path, tmp_path: Path) -> None:
    before = found_in(planted)
    kinds = (
        "raw",
        "tables",
        "quarantine",
        "split",
        "models",
        "scores",
        "cache",
        "remote",
        "mlartifacts",
        "reports",
        "logs",
    )
    for kind in (*kinds, "ingest", "old.log.gz"):
        assert any(kind in path for path in before), kind
    workspace = Workspace(planted, planted)
    store = ModelStore(workspace)
    champion = store.champion()
    assert champion is not None
    old = list_snapshots(workspace)
    lists = store.bundle(champion).recommend(["00001", "00002"], k=5)
    noted = [store.artifact(one, SAMPLE_FILE) or Path() for one in store.versions()]
    assert all(WHO in path.read_text(encoding="utf-8") for path in noted), "the last user is one of those noted"

    done = forget(workspace, "shop", WHO)
    assert done.new and done.distinctive and done.left == []
    assert found_in(planted) == []
    assert [Path(path).name for path in done.sources] == ["sales.csv"]

    # Everybody else is as before.
    pd.testing.assert_frame_equal(store.bundle(champion).recommend(["00001", "00002"], k=5), lists)
    for version, path in zip(store.versions(), noted, strict=True):
        bundle, sample = store.bundle(version), read_json(path)
        assert len(sample["lists"]) == 32
        assert difference(sample, lambda who, of=bundle: of.recommend([who])["item_id"].tolist()) is None
    (new,) = list_snapshots(workspace)
    assert new.hash != old[0].hash and done.snapshots == {old[0].hash: new.hash}
    checkout(workspace, new.hash, tmp_path / "tables")
    log = read_parquet(tmp_path / "tables" / "interactions.parquet")
    assert len(log) == old[0].rows["interactions"] - 30 == new.rows["interactions"]
    assert read_json(tmp_path / "tables" / "tables.json")["rows"]["interactions"] == len(log)
    assert "the rest stays" in (planted / "reports" / "20250101T000000-aaaa" / "index.html").read_text()
    assert (planted / ".rectory" / "service.jsonl").read_text() == '{"user_id": "2"}\n'
    seated = store.champion()
    assert seated is not None and seated.version == champion.version
    assert seated.tags["reproducible"] == "false" and seated.tags["snapshot_hash"] == new.hash
    assert status(workspace)["champion"]["version"] == champion.version
    from rectory.care.doctor import examine

    assert [one.text for one in examine(workspace) if one.status == "fail" and "version" in one.name] == []


def test_doing_it_again_changes_nothing_and_the_next_run_does_not_take_them_in(planted: Path) -> None:
    workspace = Workspace(planted / "runs" / "20250102T000000-bbbb", planted)
    params = small_params(planted)
    importlib.import_module("tasks.fetch").run(params, workspace)
    found = importlib.import_module("tasks.validate").run(params, workspace)
    assert found.rows_kept == list_snapshots(workspace)[-1].rows["interactions"]
    assert found_in(planted) == []
    again = forget(Workspace(planted, planted), "shop", WHO)
    assert (again.new, again.files, again.snapshots, again.versions, again.left) == (False, [], {}, [], [])


@pytest.mark.parametrize("after", ["_snapshots", "_models", "_files"])
def test_killed_in_between_the_same_command_completes_it(
    planted: Path, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    """With another person, and a name that is short."""
    workspace, who = Workspace(planted, planted), "00007"
    if after == "_models":
        who = "00008"
    if after == "_files":
        who = "00009"
    work = getattr(forgetting, after)

    def dies(*given: object) -> None:
        work(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(forgetting, after, dies)
        with pytest.raises(KeyboardInterrupt):
            forget(workspace, "shop", who)
    champion = ModelStore(workspace).champion()
    assert champion is not None
    assert len(ModelStore(workspace).bundle(champion).recommend(["00001"], k=5)) == 5
    done = forget(workspace, "shop", who)
    assert (done.new, done.left) == (False, [])
    (left,) = list_snapshots(workspace)
    assert champion.version == (ModelStore(workspace).champion() or champion).version
    assert who not in set(
        read_parquet(workspace.root / "runs" / "20250101T000000-aaaa" / "data" / "tables" / "interactions.parquet")[
            "user_id"
        ]
    )
    assert left.rows["interactions"] > 5000


def test_a_bundle_keeps_every_other_row(planted: Path) -> None:
    folder = planted / "runs" / "20250101T000000-aaaa" / "models" / "personal_frequency"
    ids = read_parquet(folder / "users.parquet")["user_id"].to_numpy()
    seen = read_sparse(folder / "seen.npz").toarray()
    row = int(np.flatnonzero(ids == "00011")[0])
    assert seen[row].any()
    assert empty_row(folder, "00011") and not empty_row(folder, "00011")
    after = read_sparse(folder / "seen.npz").toarray()
    assert not after[row].any()
    np.testing.assert_array_equal(np.delete(after, row, axis=0), np.delete(seen, row, axis=0))


def test_the_write_ahead_log_of_a_running_service_is_not_taken_from_under_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(tmp_path, tmp_path)
    monkeypatch.setattr(forgetting, "running", lambda _: object())
    log = EventLog(Store.of(workspace))
    log.open()
    log.append([Event("e1", WHO, "i", "buy", 1.0, 2.0)]).result()
    ahead = workspace.event_log.with_name("events.db-wal")
    assert WHO.encode() in ahead.read_bytes()
    assert forgetting._files(workspace, "shop", Person(WHO, frozenset({"user_id"}), distinctive=True)) == []
    assert ahead.is_file()
    log.append([Event("e2", "other", "i", "buy", 1.0, 2.0)]).result()
    log.close()
    with sqlite3.connect(workspace.event_log) as store:
        assert store.execute("SELECT count(*) FROM events").fetchone() == (2,)

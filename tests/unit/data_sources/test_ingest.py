"""A log that comes in files, day by day: read once, the same however it came, and no file can spoil the others."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rectory.data import ingest as ingesting
from rectory.data.card import Card, load_card
from rectory.data.forgotten import remember_to_forget
from rectory.data.readers import SourceFacts, fetch
from rectory.data.validation import Validated, validate
from rectory.errors import DataError
from rectory.files import read_json, tree_digests
from rectory.params.sections import ValidateParams
from rectory.workspace import Workspace

CARD = """\
name: daily
source: {kind: files, interactions: {path: "log/*"}, users: {path: users.csv}}
interactions: {user_id: who, item_id: what, timestamp: {column: at}}
users: {id: who}
"""


class Feed:
    """A project whose log arrives in files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "log").mkdir(parents=True)
        (folder / "datasets").mkdir()
        (folder / "datasets" / "daily.yaml").write_text(CARD)
        (folder / "users.csv").write_text("who\nu0\nu1\nu2\n")
        self.runs = 0
        self.said: list[str] = []

    def day(self, day: int, text: str | None = None) -> Path:
        path = self.folder / "log" / f"2024-01-{day:02d}.csv"
        rows = "\n".join(f"u{n % 3},i{n},2024-01-{day:02d}T{n:02d}:00:00" for n in range(10))
        path.write_text(f"who,what,at\n{rows}\n" if text is None else text)
        return path

    @property
    def card(self) -> Card:
        return load_card(self.folder / "datasets" / "daily.yaml")

    def fetch(self) -> tuple[SourceFacts, Workspace]:
        self.runs += 1
        workspace = Workspace(self.folder / "runs" / str(self.runs), self.folder)
        return fetch(self.card, workspace, 0.8, say=self.said.append), workspace

    def validate(self, workspace: Workspace, **limits: Any) -> Validated:
        params = ValidateParams(**({"min_interactions": 1, "min_users": 1} | limits))
        return validate(self.card, workspace.raw, params)


@pytest.fixture
def feed(tmp_path: Path) -> Feed:
    made = Feed(tmp_path / "feed")
    for day in (1, 2, 3):
        made.day(day)
    return made


def test_only_new_files_are_parsed_and_the_bytes_are_those_of_a_read_from_scratch(feed: Feed, tmp_path: Path) -> None:
    first, _ = feed.fetch()
    assert len(first.new_files) == 4
    late = feed.folder / "log" / "2024-01-00-late.csv"
    late.write_text("who,what,at\nu9,i1,2024-01-02T23:59:00\n")
    feed.day(4)
    second, workspace = feed.fetch()
    assert [Path(name).name for name in second.new_files] == ["2024-01-00-late.csv", "2024-01-04.csv"]
    ledger = read_json(feed.folder / ".rectory" / "ingest" / "daily" / "ledger.json")["parts"]
    assert sorted(facts["rows"] for facts in ledger.values()) == [1, 3, 10, 10, 10, 10]

    shutil.rmtree(feed.folder / ".rectory")
    scratch, again = feed.fetch()
    assert len(scratch.new_files) == 6
    digests = [tree_digests(one.raw) for one in (workspace, again)]
    assert digests[0]["interactions.parquet"] == digests[1]["interactions.parquet"]
    for name, one in (("a", workspace), ("b", again)):
        feed.validate(one).save(tmp_path / name)
    assert tree_digests(tmp_path / "a") == tree_digests(tmp_path / "b")
    log = pd.read_parquet(tmp_path / "a" / "interactions.parquet")
    assert log["timestamp"].is_monotonic_increasing
    assert log["user_id"].tolist().index("u9") == 20, "the late row stands at the end of its own day"


@pytest.mark.parametrize("duplicates", ["quarantine", "keep"])
def test_the_same_file_twice_adds_nothing(feed: Feed, duplicates: str) -> None:
    before = len(feed.validate(feed.fetch()[1], duplicates=duplicates).tables["interactions"])
    shutil.copy(feed.folder / "log" / "2024-01-02.csv", feed.folder / "log" / "copy of 2.csv")
    facts, workspace = feed.fetch()
    assert facts.new_files == []
    assert {Path(a).name: Path(b).name for a, b in facts.repeated_files.items()} == {"copy of 2.csv": "2024-01-02.csv"}
    found = feed.validate(workspace, duplicates=duplicates)
    assert len(found.tables["interactions"]) == before == 30
    assert any("copy of 2.csv is the same as" in line for line in feed.said)


POISON = {
    "empty": b"",
    "another layout": b"a,b\n1,2\n",
    "a torn gzip": gzip.compress(b"who,what,at\n" + b"u1,i1,2024-01-02\n" * 500)[:40],
    "another encoding": "who,what,at\nJos\u00e9,i1,2024-01-02\n".encode("cp1252"),
    "more columns": b"who,what,at,new\nu1,i1,2024-01-02,x\n",
    "no times": b"who,what,at\n" + b"u1,i1,soon\n" * 50,
    "a binary": bytes(range(256)) * 20,
}


@pytest.mark.parametrize("poison", POISON)
@pytest.mark.parametrize("name", ["2024-01-00.csv", "2024-01-02b.csv"])
def test_a_poisoned_file_between_good_ones_is_named_and_keeps_nobody_out(feed: Feed, poison: str, name: str) -> None:
    """Also when it comes first, where it could be taken for the measure of the others."""
    (feed.folder / "log" / name).write_bytes(POISON[poison])
    _, workspace = feed.fetch()
    found = feed.validate(workspace)
    found.raise_if_refused()
    assert len(found.tables["interactions"]) == 30
    bad = found.quarantine[found.quarantine["table"] == "interactions"]
    assert len(bad) >= 1
    assert bad["_source_file"].str.endswith(name).all()
    assert all(name in reason for reason in found.report["tables"]["interactions"]["quarantined"])
    facts = found.report["tables"]["interactions"]
    assert facts["rows_in"] == facts["rows_kept"] + facts["rows_quarantined"] + facts["rows_filtered"]


def test_when_every_file_is_bad_the_fetch_is_refused_and_what_was_there_stays(feed: Feed) -> None:
    _, workspace = feed.fetch()
    before = tree_digests(workspace.raw)
    for day in (1, 2, 3):
        feed.day(day, "a,b\n1,2\n")
    with pytest.raises(DataError, match=r"column"):
        fetch(feed.card, workspace, 0.8, say=feed.said.append)
    assert tree_digests(workspace.raw) == before


def test_a_killed_read_leaves_whole_parts_or_none(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ingesting.pq.write_table

    def dies(table: Any, where: Any, **more: Any) -> None:
        whole(table, where, **more)
        if table.num_rows == 10:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ingesting.pq, "write_table", dies)
        with pytest.raises(KeyboardInterrupt):
            feed.fetch()
    assert not list((feed.folder / ".rectory" / "ingest").rglob("*.parquet"))
    assert not (feed.folder / "runs" / "1" / "data" / "raw").exists()
    _, workspace = feed.fetch()
    assert len(feed.validate(workspace).tables["interactions"]) == 30


def test_a_forgotten_user_never_enters_again(feed: Feed) -> None:
    before, _ = feed.fetch()
    assert remember_to_forget(Workspace(feed.folder, feed.folder), "daily", "u1")
    assert not remember_to_forget(Workspace(feed.folder, feed.folder), "daily", "u1")
    (feed.folder / "log" / "2024-01-05.csv").write_text("who,what,at\nu1,i1,2024-01-05\nu1,torn\nu2,i1,2024-01-05\n")
    facts, workspace = feed.fetch()
    assert facts.rows_forgotten == 9 + 2 + 1
    assert facts.fingerprint != before.fingerprint
    for path in (feed.folder / ".rectory").rglob("*.parquet"):
        assert "u1" not in pd.read_parquet(path).astype(str).to_numpy().ravel().tolist(), path
    found = feed.validate(workspace)
    assert set(found.tables["interactions"]["user_id"]) == {"u0", "u2"}
    assert set(found.tables["users"]["user_id"]) == {"u0", "u2"}
    assert "u1" not in (feed.folder / ".rectory" / "forgotten.json").read_text()


def test_raw_tables_of_before_are_filtered_too(feed: Feed) -> None:
    _, workspace = feed.fetch()
    remember_to_forget(workspace, "daily", "u1")
    from rectory.data.forgotten import read_forgotten

    params = ValidateParams(min_interactions=1, min_users=1)
    found = validate(feed.card, workspace.raw, params, forgotten=read_forgotten(workspace, "daily"))
    assert found.report["tables"]["interactions"]["filtered"] == {"forgotten": 9}
    assert found.report["tables"]["users"]["filtered"] == {"forgotten": 1}
    assert "u1" not in set(found.tables["interactions"]["user_id"])

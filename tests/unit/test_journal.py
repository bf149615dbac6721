"""The journal: lines that a machine can read, about the run that they belong to, and never in its way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rectory import journal
from rectory.files import write_json
from rectory.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setattr(journal, "_now", journal._Bound())
    monkeypatch.delenv("RECTORY_LOG", raising=False)
    return Workspace(tmp_path / "runs" / "one", tmp_path)


def lines(workspace: Workspace) -> list[dict[str, object]]:
    return [json.loads(line) for line in workspace.journal.read_text(encoding="utf-8").splitlines()]


def test_lines_name_run_data_and_model_as_soon_as_they_are_known(workspace: Workspace) -> None:
    assert journal.write("started", step="fetch") is None
    journal.bind(workspace, run_id="one", kind="run", dataset="shop")
    write_json(workspace.snapshot, {"hash": "ab.dir"})
    journal.write("done", step="snapshot", seconds=1.23456, text="é")
    write_json(workspace.decision, {"champion": {"name": "blend", "version": "7"}})
    journal.write("failed", step="score", text="x" * 5000)
    first, second, third = lines(workspace)
    assert (first["event"], first["run_id"], first["data_hash"]) == ("run started", "one", None)
    assert (second["seconds"], second["text"], second["data_hash"], second["level"]) == (1.235, "é", "ab.dir", "info")
    assert (third["model_version"], third["level"], len(str(third["text"]))) == ("7", "error", 2000)
    assert {tuple(line) for line in lines(workspace)} == {tuple(first)}


def test_the_terminal_gets_the_same_lines_when_asked(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RECTORY_LOG", "json")
    journal.bind(workspace, run_id="one", kind="run", dataset="shop")
    assert json.loads(capsys.readouterr().err) == lines(workspace)[0]


def test_a_disk_that_refuses_ends_no_run_and_a_large_journal_begins_anew(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_MOST_BYTES", 10)
    journal.bind(workspace, run_id="one", kind="run", dataset="shop")
    journal.write("started", step="a")
    assert [line["step"] for line in lines(workspace)] == ["a"]
    assert workspace.journal.with_suffix(".1.jsonl").is_file()
    workspace.journal.unlink()
    workspace.journal.mkdir()
    assert journal.write("started", step="b") is not None

"""register, promote, score on a small run, twice over; reproduce what they registered."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from rectory.files import read_json, read_parquet, write_json
from rectory.params import Params
from rectory.registry import audit
from rectory.registry.reproduce import reproduce
from rectory.registry.store import ModelStore
from rectory.workspace import Workspace
from tasks import promote, register, score
from tests.shop import ROOT


def second_run(workspace: Workspace, name: str = "second") -> Workspace:
    other = Workspace(workspace.root.parent / name, workspace.project)
    shutil.copytree(workspace.root, other.root)
    shutil.rmtree(other.root / "registry", ignore_errors=True)
    return other


def test_first_run_seats_a_champion_and_the_second_reuses_all_and_changes_nothing(
    params: Params, workspace: Workspace
) -> None:
    first = register.run(params, workspace)
    assert first.new == 3 and set(first.versions) == set(params.train.candidates)
    decided = promote.run(params, workspace)
    assert decided.promoted and decided.champion == "personal_frequency"
    written = read_json(workspace.decision)
    assert written["champion"] == {"name": "personal_frequency", "version": decided.version}
    assert all({"rule", "passed", "text"} <= reason.keys() for reason in written["reasons"])
    store = ModelStore(workspace)
    champion = store.champion()
    assert champion is not None and champion.tags["decision"] == "promoted"
    assert store.aliases()["challenger"] == champion.version

    other = second_run(workspace)
    again = register.run(params, other)
    assert again.new == 0 and again.versions == first.versions and again.lineage_key == first.lineage_key
    assert read_json(other.registered)["candidates"]["popularity"]["reused"] is True
    refused = promote.run(params, other)
    assert not refused.promoted and refused.version == decided.version
    assert any("already champion" in reason for reason in refused.reasons)
    kept = ModelStore(other).champion()
    assert kept is not None and kept.tags["decision"] == "promoted"
    assert [line["event"] for line in audit.read(workspace)] == ["judged", "promoted", "judged"]


def test_where_the_best_by_validation_is_refused_the_next_tries_and_is_asked_for_more(
    params: Params, workspace: Workspace
) -> None:
    one = params.train.candidates["popularity_recent"].model_copy(update={"baseline": False})
    candidates = {**params.train.candidates, "popularity_recent": one}
    params = params.model_copy(update={"train": params.train.model_copy(update={"candidates": candidates})})
    lucky = read_json(workspace.fit_report("popularity_recent"))
    write_json(workspace.fit_report("popularity_recent"), {**lucky, "score": 1.0})
    register.run(params, workspace)
    decided = promote.run(params, workspace)
    assert decided.promoted and decided.champion == "personal_frequency"
    found = read_json(workspace.decision)
    assert [tried["challenger"] for tried in found["attempts"]] == ["popularity_recent"]
    (gain,) = [reason["text"] for reason in found["reasons"] if reason["rule"] == "baseline:popularity"]
    assert "(a 97.5% interval)" in gain
    assert not any("97.5%" in reason["text"] for reason in found["attempts"][0]["reasons"])


def test_killed_after_the_alias_had_moved_the_same_run_reports_the_same_decision(
    params: Params, workspace: Workspace
) -> None:
    register.run(params, workspace)
    decided = promote.run(params, workspace)
    workspace.decision.unlink()
    assert promote.run(params, workspace) == decided
    assert [line["event"] for line in audit.read(workspace)] == ["judged", "promoted"]


def test_a_champion_that_knows_the_whole_test_window_is_not_replaced(params: Params, workspace: Workspace) -> None:
    register.run(params, workspace)
    promote.run(params, workspace)
    store = ModelStore(workspace)
    champion = store.champion()
    assert champion is not None
    store._tag(champion, "trained_until", "2099-01-01T00:00:00+00:00")
    store._tag(champion, "lineage_key", "of another model")
    other = second_run(workspace)
    register.run(params, other)
    refused = promote.run(params, other)
    assert not refused.promoted and refused.version == champion.version
    assert any("nothing to compare on" in reason for reason in refused.reasons)


def test_scores_cover_every_user_once_in_order_and_both_files_agree(params: Params, workspace: Workspace) -> None:
    register.run(params, workspace)
    promote.run(params, workspace)
    done = score.run(params, workspace)
    lists = read_parquet(workspace.scores)
    assert list(lists.columns) == ["user_id", "rank", "item_id", "score", "model_version", "as_of"]
    assert str(lists["rank"].dtype) == "int32" and str(lists["score"].dtype) == "float32"
    users = set(read_parquet(workspace.tables / "interactions.parquet")["user_id"])
    assert set(lists["user_id"]) == users and done.users == len(users)
    assert (lists.groupby("user_id")["rank"].apply(list).map(lambda ranks: ranks == list(range(1, 21)))).all()
    assert not lists.duplicated(["user_id", "item_id"]).any()
    lines = [json.loads(line) for line in workspace.scores_jsonl.read_text(encoding="utf-8").splitlines()]
    from_lines = pd.DataFrame(lines)[["user_id", "items"]].explode("items", ignore_index=True)
    assert from_lines["items"].tolist() == lists["item_id"].tolist()
    assert read_json(workspace.scores_summary)["rows"] == len(lists) == done.rows
    assert set(lists["model_version"]) == {done.model_version}


def test_where_repeats_are_excluded_what_came_after_training_is_not_offered_either(
    params: Params, workspace: Workspace
) -> None:
    register.run(params, workspace)
    promote.run(params, workspace)
    card = workspace.card("shop")
    card.write_text(card.read_text().replace("repeats: allow", "repeats: exclude"), encoding="utf-8")
    score.run(params, workspace)
    had = read_parquet(workspace.tables / "interactions.parquet", ["user_id", "item_id"]).drop_duplicates()
    lists = read_parquet(workspace.scores, ["user_id", "item_id"])
    assert lists.merge(had, on=["user_id", "item_id"]).empty and len(lists)


def worktrees() -> str:
    listed = subprocess.run(["git", "worktree", "list"], cwd=ROOT, capture_output=True, text=True, check=False)
    return listed.stdout


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import tempfile

    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_version_is_rebuilt_byte_for_byte_and_a_changed_record_is_noticed(
    params: Params, workspace: Workspace, temporary: Path
) -> None:
    register.run(params, workspace)
    promote.run(params, workspace)
    store = ModelStore(workspace)
    champion = store.champion()
    assert champion is not None
    before = worktrees()
    result = reproduce(None, workspace)
    assert result.identical and result.differences == () and result.version == champion.version, result.differences
    assert not list(temporary.glob("rectory-reproduce-*"))
    kept = store.artifact(champion, "params.json")
    assert kept is not None
    text = json.loads(kept.read_text())
    text["train"]["candidates"]["personal_frequency"]["half_lives_days"] = [1]
    text["train"]["candidates"]["personal_frequency"]["popularity_window_days"] = 2
    kept.write_text(json.dumps(text))
    differs = reproduce(champion.version, workspace)
    assert not differs.identical and any("model/" in line and "other bytes" in line for line in differs.differences)
    assert worktrees() == before

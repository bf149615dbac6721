"""Versions of the data: found by content, brought back without git, safe against kills and lost caches or remotes."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from rectory.data.snapshots import add_snapshot, checkout, list_snapshots, previous_snapshot
from rectory.errors import DataError, UsageError
from rectory.files import tree_digests
from rectory.workspace import Workspace
from tests.unit.data_validation.world import ROWS, run_validate

LOCAL_REMOTE = "[core]\n    remote = local\n['remote \"local\"']\n    url = ../.rectory/remote\n"


def make_tables(folder: Path, last: str = "2024-01-04") -> tuple[Path, dict[str, Any]]:
    found = run_validate(folder, ROWS | {"when": [*ROWS["when"][:3], last]})
    found.save(folder / "tables")
    return folder / "tables", {"summary": found.report["summary"]}


@pytest.fixture
def project(tmp_path: Path) -> Workspace:
    """A project with a .dvc/config like the one of this repository."""
    root = tmp_path / "project"
    (root / ".dvc").mkdir(parents=True)
    (root / ".dvc" / "config").write_text(LOCAL_REMOTE)
    (root / ".dvcignore").write_text(".rectory\n")
    return Workspace(root / "runs" / "one", root)


def test_a_version_comes_back_as_it_was(project: Workspace, tmp_path: Path) -> None:
    tables, facts = make_tables(tmp_path)
    before = tree_digests(tables)
    snapshot = add_snapshot(tables, project, "small", facts)
    assert (snapshot.new, snapshot.pushed, snapshot.remote, snapshot.problem) == (True, True, "local", None)
    assert snapshot.hash.endswith(".dir")
    assert (project.project / snapshot.path).is_file()
    assert tree_digests(tables) == before
    assert all(part.stat().st_mode & 0o200 for part in (tables / "interactions.parquet").iterdir())
    checkout(project, snapshot.hash, tmp_path / "back")
    assert tree_digests(tmp_path / "back") == before


def test_equal_tables_are_one_version(project: Workspace, tmp_path: Path) -> None:
    first = add_snapshot(*_args(tmp_path / "a", project))
    again = add_snapshot(*_args(tmp_path / "b", project))
    assert again.new is False
    assert (again.hash, again.created_at) == (first.hash, first.created_at)
    other = add_snapshot(*_args(tmp_path / "c", project, last="2024-01-05"))
    assert other.hash != first.hash
    assert [snapshot.hash for snapshot in list_snapshots(project)] == sorted(
        [first.hash, other.hash], key=[first.hash, other.hash].index
    )


def _args(folder: Path, project: Workspace, last: str = "2024-01-04") -> tuple[Path, Workspace, str, dict[str, Any]]:
    tables, facts = make_tables(folder, last)
    return tables, project, "small", facts


def test_the_previous_snapshot_is_the_newest_data_of_the_same_data_set(project: Workspace, tmp_path: Path) -> None:
    assert previous_snapshot(project, "small") is None
    add_snapshot(*_args(tmp_path / "a", project, last="2024-01-09"))
    add_snapshot(*_args(tmp_path / "b", project, last="2024-01-05"))
    found = previous_snapshot(project, "small")
    assert found is not None
    assert found.as_of.startswith("2024-01-09")
    assert found.summary["interactions"] == 4
    assert previous_snapshot(project, "other") is None


def test_without_cache_the_remote_is_asked_every_time(project: Workspace, tmp_path: Path) -> None:
    snapshot = add_snapshot(*_args(tmp_path, project))
    for attempt in ("one", "two"):
        shutil.rmtree(project.project / ".dvc" / "cache")
        checkout(project, snapshot.hash[:8], tmp_path / attempt)
        assert tree_digests(tmp_path / attempt) == tree_digests(tmp_path / "tables")


def test_without_remote_the_cache_is_enough_and_the_next_run_fills_a_new_remote(
    project: Workspace, tmp_path: Path
) -> None:
    snapshot = add_snapshot(*_args(tmp_path, project))
    shutil.rmtree(project.state / "remote")
    checkout(project, snapshot.hash, tmp_path / "back")
    assert add_snapshot(*_args(tmp_path / "again", project)).pushed is True
    shutil.rmtree(project.project / ".dvc" / "cache")
    checkout(project, snapshot.hash, tmp_path / "again" / "back")


def test_a_version_that_is_nowhere_is_refused_with_what_to_do(project: Workspace, tmp_path: Path) -> None:
    snapshot = add_snapshot(*_args(tmp_path, project))
    shutil.rmtree(project.state / "remote")
    shutil.rmtree(project.project / ".dvc" / "cache")
    with pytest.raises(DataError, match=r"neither in the cache .* nor in the remote local.*dvc remote add"):
        checkout(project, snapshot.hash, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_remote_that_is_away_loses_nothing_and_is_tried_again(project: Workspace, tmp_path: Path) -> None:
    project.state.mkdir()
    (project.state / "remote").write_text("a file, where a folder should be")
    first = add_snapshot(*_args(tmp_path / "a", project))
    assert first.pushed is False
    assert first.problem is not None
    assert list_snapshots(project)[0].problem == first.problem
    (project.state / "remote").unlink()
    add_snapshot(*_args(tmp_path / "b", project, last="2024-01-05"))
    assert [snapshot.pushed for snapshot in list_snapshots(project)] == [True, True]
    shutil.rmtree(project.project / ".dvc" / "cache")
    checkout(project, first.hash, tmp_path / "back")


def test_a_teams_remote_in_the_local_config_is_honoured(project: Workspace, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    (project.project / ".dvc" / "config.local").write_text(
        f"[core]\n    remote = team\n['remote \"team\"']\n    url = {shared}\n"
    )
    assert add_snapshot(*_args(tmp_path, project)).remote == "team"
    assert list(shared.rglob("*.dir"))


def test_a_project_without_dvc_has_versions_too(tmp_path: Path) -> None:
    project = Workspace(tmp_path / "plain", tmp_path / "plain")
    project.root.mkdir()
    snapshot = add_snapshot(*_args(tmp_path, project))
    assert snapshot.pushed is True
    shutil.rmtree(project.data_versions / ".dvc" / "cache")
    checkout(project, snapshot.hash, tmp_path / "back")
    assert tree_digests(tmp_path / "back") == tree_digests(tmp_path / "tables")


def test_a_colleagues_version_comes_from_the_shared_remote_by_its_full_hash(project: Workspace, tmp_path: Path) -> None:
    snapshot = add_snapshot(*_args(tmp_path, project))
    mine = tmp_path / "mine"
    (mine / ".dvc").mkdir(parents=True)
    (mine / ".dvc" / "config").write_text(LOCAL_REMOTE.replace("../.rectory/remote", str(project.state / "remote")))
    checkout(Workspace(mine, mine), snapshot.hash, tmp_path / "back")
    assert tree_digests(tmp_path / "back") == tree_digests(tmp_path / "tables")


@pytest.mark.parametrize("content", ["ffffffff", "f" * 32, "../../x", "", "abc", "f" * 32 + ".dir"])
def test_an_unknown_hash_is_wrong_use_and_lists_the_known_ones(
    project: Workspace, tmp_path: Path, content: str
) -> None:
    snapshot = add_snapshot(*_args(tmp_path, project))
    with pytest.raises(UsageError, match=snapshot.hash[:12]):
        checkout(project, content, tmp_path / "back")


def test_checkout_replaces_what_is_there(project: Workspace, tmp_path: Path) -> None:
    snapshot = add_snapshot(*_args(tmp_path, project))
    (tmp_path / "back").mkdir()
    (tmp_path / "back" / "old.txt").touch()
    checkout(project, snapshot.hash, tmp_path / "back")
    assert tree_digests(tmp_path / "back") == tree_digests(tmp_path / "tables")


KILLED = """
import os, signal, sys
from pathlib import Path
from rectory.data import snapshots, storage
from rectory.workspace import Workspace

def die(*args, **named):
    os.kill(os.getpid(), signal.SIGKILL)

where, project, tables = sys.argv[1:]
if where == "before add":
    storage.shutil.copytree = die
elif where == "after add":
    snapshots._write = die
elif where == "before pointer":
    snapshots.pointer_text = die
elif where == "before push":
    storage.Storage.push = die
elif where == "during initialisation":
    Path.replace = die
snapshots.add_snapshot(Path(tables), Workspace(project, project), "small", {})
"""


@pytest.mark.parametrize("where", ["during initialisation", "before add", "after add", "before pointer", "before push"])
def test_a_killed_run_is_completed_by_the_next(project: Workspace, tmp_path: Path, where: str) -> None:
    tables, facts = make_tables(tmp_path)
    command = [sys.executable, "-c", textwrap.dedent(KILLED), where, str(project.project), str(tables)]
    killed = subprocess.run(command, capture_output=True, check=False)
    assert killed.returncode == -9, killed.stderr.decode()
    # What is listed is complete, whenever the kill came.
    for listed in list_snapshots(project):
        checkout(project, listed.hash, tmp_path / "listed")
    snapshot = add_snapshot(tables, project, "small", facts)
    assert snapshot.pushed is True
    assert [listed.hash for listed in list_snapshots(project)] == [snapshot.hash]
    assert not list((project.data_versions / "scratch").glob("*"))
    checkout(project, snapshot.hash, tmp_path / "back")
    assert tree_digests(tmp_path / "back") == tree_digests(tables)


def test_two_runs_at_once_make_one_version(project: Workspace, tmp_path: Path) -> None:
    tables, _ = make_tables(tmp_path)
    command = [sys.executable, "-c", textwrap.dedent(KILLED), "nowhere", str(project.project), str(tables)]
    runs = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
    for run in runs:
        _, errors = run.communicate(timeout=120)
        assert run.returncode == 0, errors.decode()
    assert len(list_snapshots(project)) == 1

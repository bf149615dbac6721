"""A worker whose code is older than what was deployed does nothing and says so."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from flows import checkouts
from rectory.errors import UsageError
from rectory.registry.environment import Checkout


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.email=shop@example.org", "-c", "user.name=Shop")
    done = subprocess.run(["git", *identity, "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def commits(tmp_path: Path) -> tuple[Path, list[str]]:
    """A repository with three commits."""
    git(tmp_path, "init", "--quiet")
    made = []
    for text in ("one", "two", "three"):
        (tmp_path / "file").write_text(text)
        git(tmp_path, "add", "file")
        git(tmp_path, "commit", "--quiet", "--message", text)
        made.append(git(tmp_path, "rev-parse", "HEAD"))
    return tmp_path, made


def at(monkeypatch: pytest.MonkeyPatch, top: Path | None, commit: str, *, dirty: bool = False) -> None:
    monkeypatch.setattr(checkouts, "checkout", lambda: Checkout(top, commit, dirty, None))


def test_older_code_is_refused_with_both_commits_and_the_cure(
    commits: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    top, (one, _, three) = commits
    at(monkeypatch, top, one)
    with pytest.raises(UsageError, match="git pull") as caught:
        checkouts.require_deployed(three[:12])
    assert one[:12] in str(caught.value) and three[:12] in str(caught.value)
    with pytest.raises(UsageError, match="does not know commit"):
        checkouts.require_deployed("0123456789ab")


def test_the_same_and_newer_code_may_work(commits: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    top, (one, _, three) = commits
    at(monkeypatch, top, three, dirty=True)
    assert checkouts.require_deployed(three[:12] + "+").found == "same"
    newer = checkouts.require_deployed(one[:12])
    assert newer.found == "newer" and one[:12] in newer.text
    assert checkouts.require_deployed(None).found == "same", "a flow that no deployment has started"


def test_without_git_versions_are_told_and_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, None, "")
    assert checkouts.code_version().startswith("v")
    assert checkouts.require_deployed("v0.0.1").found == "unknown"

"""A step that is killed (SIGKILL, at the worst moment) leaves nothing half-written; run again, it gives the same bytes.

The process kills itself right before it would move a finished file into place, or right after: the two moments between
which a sloppy writer loses data.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rectory.files import tree_digests
from tests.shop import make_project

STEPS = ["fetch", "validate", "split", "features", "train:popularity", "train:lightfm_hybrid", "evaluate:popularity"]

# Runs a step whose nth os.replace is its last act.
KILLER = """
import os, runpy, signal, sys
moment, nth = sys.argv[1], int(sys.argv[2])
real, calls = os.replace, [0]
def replace(source, target, **more):
    calls[0] += 1
    if calls[0] == nth and moment == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    real(source, target, **more)
    if calls[0] == nth:
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = replace
sys.argv = sys.argv[3:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def command(step: str) -> list[str]:
    name, _, candidate = step.partition(":")
    return [f"tasks.{name}", *([candidate] if candidate else [])]


def run_step(step: str, project: Path) -> None:
    subprocess.run([sys.executable, "-m", *command(step)], cwd=project, check=True, capture_output=True)


def outputs(project: Path) -> dict[str, str]:
    """All results but timings; a fetch notes no times either."""
    found = {}
    for folder in ("data", "models", "metrics", "evaluation", "plots"):
        if (project / folder).is_dir():
            found.update({f"{folder}/{path}": digest for path, digest in tree_digests(project / folder).items()})
    return found


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], dict[str, dict[str, str]]]:
    """For each step: the project as it stands before it, and the outputs that it should have after it."""
    project = make_project(tmp_path_factory.mktemp("reference") / "project")
    before, after = {}, {}
    for step in STEPS:
        before[step] = tmp_path_factory.mktemp("before") / "project"
        shutil.copytree(project, before[step])
        run_step(step, project)
        after[step] = outputs(project)
    return before, after


@pytest.mark.xdist_group("kill")
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_killed_step_leaves_nothing_half_written_and_runs_again_to_the_same_bytes(
    step: str, moment: str, stages: tuple[dict[str, Path], dict[str, dict[str, str]]], tmp_path: Path
) -> None:
    before, after = stages
    project = tmp_path / "project"
    shutil.copytree(before[step], project)
    killed = subprocess.run(
        [sys.executable, "-c", KILLER, moment, "1", *command(step)], cwd=project, capture_output=True, check=False
    )
    assert killed.returncode == -9, killed.stderr.decode()
    whole = {path: digest for path, digest in outputs(project).items() if "/." not in path}
    for path, digest in whole.items():
        assert after[step].get(path) == digest, f"{path} was left half-written"
    run_step(step, project)
    again = {path: digest for path, digest in outputs(project).items() if "/." not in path}
    assert again == after[step]

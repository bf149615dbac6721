"""A step that is killed (SIGKILL) leaves nothing half-written; run again, it gives the bytes of an undisturbed run.

The process kills itself right before it would move a finished file into place, for every such move that the step makes,
and right after the last: between these moments only scratch files change. The results of an earlier run with other data
are in place, so that "half" can also mean new files beside old ones.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import resource
import shutil
import signal
import sys
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest

from rectory.files import tree_digests
from tests.shop import make_project, write_exports

STEPS = ["fetch", "validate", "split", "features", "train:popularity", "train:lightfm_hybrid", "evaluate:popularity"]
FOLDERS = ("data/raw", "data/split", "data/tables", "data/features", "models/popularity", "models/lightfm_hybrid")
Digests = dict[str, str]


@dataclass(frozen=True)
class Stage:
    """Around one step: the project with everything new before it and its own results old; both sets of results."""

    before: Path
    old: Digests
    new: Digests


def run_step(step: str, project: Path, kill_before_move: int = 0, max_file_bytes: int = 0) -> None:
    """`python -m tasks.<step>` in this process, which dies before its nth move; the last move is followed by death too.

    With max_file_bytes larger files are refused by the system, as a full disk would.
    """
    os.chdir(project)
    name, _, candidate = step.partition(":")
    module = importlib.import_module(f"tasks.{name}")
    if kill_before_move:
        die_before_move(kill_before_move)
    if max_file_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, max_file_bytes))
    sys.argv = [f"tasks.{name}", *([candidate] if candidate else [])]
    with Path("said.out").open("w") as out, Path("said.err").open("w") as err:
        sys.stdout, sys.stderr = out, err
        module.main(name, module.run, per_candidate=bool(candidate))


def die_before_move(nth: int) -> None:
    """Timings are written last of all: being killed before that move is being killed after the last result."""
    real, calls = os.replace, [0]

    def replace(source: Any, target: Any, **more: Any) -> None:
        calls[0] += 1
        if calls[0] == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        real(source, target, **more)

    os.replace = replace


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """New processes from one that has done nothing but the imports: a fork each instead of seconds."""
    context = multiprocessing.get_context("forkserver")
    kinds = ("popularity", "lightfm_hybrid")
    context.set_forkserver_preload(
        [
            __name__,
            *(f"tasks.{step.partition(':')[0]}" for step in STEPS),
            *(f"rectory.models.{kind}" for kind in kinds),
            "pandas",
            "pandera.pandas",
            "lightfm",
        ]
    )
    return context


def ended(processes: ForkServerContext, step: str, project: Path, **faults: int) -> int | None:
    """Exit code of a step that ran in a process of its own."""
    process = processes.Process(target=run_step, args=(step, project), kwargs=faults)
    process.start()
    process.join(120)
    return process.exitcode


def outputs(project: Path) -> Digests:
    """Every result; timings and this test's own notes are none."""
    return {
        f"{folder}/{path}": digest
        for folder in ("data", "models", "metrics", "evaluation", "plots")
        if (project / folder).is_dir()
        for path, digest in tree_digests(project / folder).items()
    }


@pytest.fixture(scope="module")
def stages(processes: ForkServerContext, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Stage]:
    """The chain on old data, then on new data, step by step."""
    project = make_project(tmp_path_factory.mktemp("reference") / "project")
    write_exports(project / "exports", seed=8)
    for step in STEPS:
        assert ended(processes, step, project) == 0, (project / "said.err").read_text()
    write_exports(project / "exports", seed=7)
    found = {}
    for step in STEPS:
        before = tmp_path_factory.mktemp("before") / "project"
        shutil.copytree(project, before)
        assert ended(processes, step, project) == 0, (project / "said.err").read_text()
        found[step] = Stage(before, outputs(before), outputs(project))
    return found


def is_whole(found: Digests, stage: Stage) -> None:
    """Each file, and each folder that is replaced as one, is wholly old, wholly new or not there."""
    shown = {path: digest for path, digest in found.items() if "/." not in path}
    for path, digest in shown.items():
        assert digest in {stage.old.get(path), stage.new.get(path)}, f"{path} is half-written"
    for folder in FOLDERS:
        part, old, new = (
            {path: digest for path, digest in tree.items() if path.startswith(f"{folder}/")}
            for tree in (shown, stage.old, stage.new)
        )
        assert part in ({}, old, new), f"{folder} has files of two runs"


@pytest.mark.parametrize("step", STEPS)
def test_killed_step_leaves_nothing_half_written_and_runs_again_to_the_same_bytes(
    step: str, processes: ForkServerContext, stages: dict[str, Stage], tmp_path: Path
) -> None:
    stage, move, code = stages[step], 0, -signal.SIGKILL
    assert stage.old != stage.new
    while code == -signal.SIGKILL:
        move += 1
        project = tmp_path / str(move)
        shutil.copytree(stage.before, project)
        code = ended(processes, step, project, kill_before_move=move) or 0
        is_whole(outputs(project), stage)
        if code == -signal.SIGKILL:
            assert ended(processes, step, project) == 0, (project / "said.err").read_text()
        assert outputs(project) == stage.new, f"killed before move {move}"
    assert code == 0
    assert move >= 3, "at least one result and the timing"


@pytest.mark.parametrize("step", STEPS[1:])
def test_full_disk_is_told_and_the_old_results_stay(
    step: str, processes: ForkServerContext, stages: dict[str, Stage], tmp_path: Path
) -> None:
    stage, project = stages[step], tmp_path / "project"
    shutil.copytree(stage.before, project)
    assert ended(processes, step, project, max_file_bytes=1500) == 1
    said = (project / "said.err").read_bytes().decode()
    assert len(said.splitlines()) == 1, said
    assert "could not write" in said
    assert "File too large" in said
    assert "run again" in said
    assert outputs(project) == stage.old

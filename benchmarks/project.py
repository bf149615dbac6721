"""A project folder to throw away, and `rectory run` in it as a person would type it."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rectory.errors import RectoryError

_COPIED = (
    "params.yaml",
    "datasets",
    ".dvc/config",
    ".dvc/.gitignore",
    ".dvcignore",
    "requirements.lock",
    "prefect.toml",
)
_NOT_INHERITED = ("RECTORY_", "MLFLOW_TRACKING", "MLFLOW_REGISTRY", "PREFECT_", "DVC_")
_OWN_STATE = ("locks", "logs")
"""Folders of a project's state that a borrowed one has for itself."""
_SERVER = re.compile(r"prefect server\s+([0-9.]+) s")
_RUN_SECONDS = 900


@dataclass(frozen=True)
class Ran:
    """One `rectory run`.

    command_seconds: from the command's start to its end. server_seconds: what it waited for the Prefect server; None:
    it said nothing of one. summary: as printed by `--json`.
    """

    command_seconds: float
    server_seconds: float | None
    summary: dict[str, Any]


@contextmanager
def throw_away_project(source: Path) -> Iterator[Path]:
    """Params, cards, tool settings and lock file of `source`, no state but its download cache."""
    with tempfile.TemporaryDirectory(prefix="rectory-bench-") as folder:
        project = Path(folder)
        for name in _COPIED:
            origin, target = source / name, project / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if origin.is_dir():
                shutil.copytree(origin, target)
            elif origin.is_file():
                shutil.copy2(origin, target)
        downloads = source / ".rectory" / "downloads"
        downloads.mkdir(parents=True, exist_ok=True)
        (project / ".rectory").mkdir()
        # The same folder, not a copy: what this run downloads the next one finds.
        (project / ".rectory" / "downloads").symlink_to(downloads.resolve(), target_is_directory=True)
        yield project


@contextmanager
def borrowed_project(source: Path) -> Iterator[Path]:
    """Data and models of `source` with a model store and an event log to throw away: seats and events stay there."""
    with tempfile.TemporaryDirectory(prefix="rectory-bench-") as folder:
        project = Path(folder)
        for path in source.iterdir():
            if path.name != ".rectory":
                (project / path.name).symlink_to(path)
        state = project / ".rectory"
        state.mkdir()
        for path in (source / ".rectory").iterdir():
            if path.is_dir() and path.name not in _OWN_STATE:
                (state / path.name).symlink_to(path)
        store = source / ".rectory" / "mlflow.db"
        if not store.is_file():
            raise SystemExit(f"{source} has no model store of its own in .rectory/mlflow.db.")
        with closing(sqlite3.connect(store)) as theirs, closing(sqlite3.connect(state / store.name)) as ours:
            theirs.backup(ours)
        yield project


def own_environment() -> dict[str, str]:
    """Without what names stores and servers of the person: they are neither used nor written to."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}


def rectory_run(project: Path, dataset: str, say: Callable[[str], None]) -> Ran:
    """Run the command in `project`; its progress goes to `say`, line by line.

    Raises:
        RectoryError: the command failed, or took longer than fifteen minutes.
    """
    command = [sys.executable, "-m", "cli.main", "run", "--json", "--dataset", dataset]
    env = {**own_environment(), "COLUMNS": "200", "NO_COLOR": "1"}
    server_seconds, last = None, ""
    output = project / "bench-output.json"
    began = time.perf_counter()
    with (
        output.open("w", encoding="utf-8") as out,
        subprocess.Popen(command, cwd=project, env=env, stdout=out, stderr=subprocess.PIPE, text=True) as process,
    ):
        limit = threading.Timer(_RUN_SECONDS, process.terminate)
        limit.start()
        assert process.stderr is not None
        for line in process.stderr:
            if line.strip():
                last = line.strip()
                say(last)
            if found := _SERVER.search(line):
                server_seconds = float(found[1])
        code = process.wait()
        limit.cancel()
    seconds = time.perf_counter() - began
    if code != 0:
        raise RectoryError(f"rectory run of {dataset} ended with {code} after {seconds:.0f} s: {last}")
    return Ran(seconds, server_seconds, json.loads(output.read_text(encoding="utf-8")))


def run_folder(project: Path) -> Path:
    """Workspace of the one run that did all the work."""
    finished = sorted(project.glob("runs/*/timings/report.json"))
    if len(finished) != 1:
        raise RectoryError(f"{len(finished)} runs in {project} wrote a report; the bench expects one.")
    return finished[0].parent.parent

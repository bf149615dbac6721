"""One installation, made the way a user makes it: a git repository, `rectory run`, real servers, real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.shop import make_project

BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Installation:
    """A project folder and how to run commands in it."""

    folder: Path

    def run(
        self, *command: str, code: int | None = 0, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command with the test's Python first on PATH; fails unless it ends with `code` (None: any)."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={
                **inherited,
                "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
                "PYTHONPATH": str(self.folder),
                "DVC_NO_ANALYTICS": "1",
                "COLUMNS": "160",
                **(env or {}),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        assert code is None or done.returncode == code, (
            f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        )
        return done

    def rectory(self, *arguments: str, code: int | None = 0) -> str:
        return self.run(sys.executable, "-m", "cli.main", *arguments, code=code).stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.rectory(*arguments, "--json"))

    def git(self, *arguments: str) -> str:
        return self.run("git", *arguments).stdout

    def summary(self) -> Any:
        return json.loads((self.folder / "reports" / "latest" / "summary.json").read_text(encoding="utf-8"))

    def newest_run(self) -> Path:
        return sorted((self.folder / "runs").iterdir())[-1]


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """A shop after its first `rectory run`.

    Its tests tell one story in the order of the file, so they must not be dealt out to several workers.
    """
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        told = tmp_path_factory.getbasetemp().parent / "installation-of"
        try:
            with told.open("x") as out:
                out.write(worker)
        except FileExistsError:
            pytest.fail(f"{told.read_text()} has an installation already: run pytest with --dist loadfile (make test)")
    made = Installation(make_project(tmp_path_factory.mktemp("installation") / "project", code=True))
    made.git("init", "--quiet", "--initial-branch=main")
    made.git("config", "user.email", "shop@example.org")
    made.git("config", "user.name", "Shop")
    made.git("add", "--all")
    made.git("commit", "--quiet", "--message", "a shop")
    made.rectory("run")
    return made

"""One installation, made the way a user makes it: a git repository, `rectory run`, real servers, real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from flows.local_server import free_port
from tests.installed import answers
from tests.shop import make_project
from tests.waiting import until

BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Installation:
    """A project folder and how to run commands in it.

    prefect: API of the server that runs use; empty: each starts its own.
    """

    folder: Path
    prefect: str = ""

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
                **({"PREFECT_API_URL": self.prefect} if self.prefect else {}),
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


@contextmanager
def _history_shown(folder: Path) -> Iterator[str]:
    """`prefect server start` in the folder, as README has it; later runs find it and start none of their own."""
    port = str(free_port(0))
    with (folder.parent / "server.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--port", port],
            cwd=folder,
            env={name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            url = f"http://127.0.0.1:{port}/api"
            until(lambda: answers(f"{url}/health"), "the Prefect server answers")
            yield url
        finally:
            server.terminate()
            server.wait(60)


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
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
    with _history_shown(made.folder) as url:
        yield replace(made, prefect=url)

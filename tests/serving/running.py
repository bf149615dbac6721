"""Real servers in processes of their own, on free ports of this machine."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.waiting import until

ROOT = Path(__file__).parents[2]
DEADLINE_SECONDS = 120.0

_SCRIPT = """
import sys
from pathlib import Path
from rectory.params.serve import ServeParams
from rectory.serving.server import serve
from rectory.workspace import Workspace
serve(Workspace(sys.argv[1], sys.argv[1]), ServeParams.model_validate_json(sys.argv[2]), application=sys.argv[3])
"""


@dataclass
class Server:
    """A running `rectory serve`."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def ready(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended: {self.log.read_text()[-3000:]}")
        try:
            return httpx.get(f"{self.url}/api/health/ready", timeout=10).status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        """kill -9 of all its processes."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """End it as a supervisor would; gives the exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(timeout=DEADLINE_SECONDS)


@contextmanager
def serving(
    project: Path,
    *,
    application: str = "tests.serving.worker:popular",
    env: dict[str, str] | None = None,
    wait: bool = True,
    **params: Any,
) -> Iterator[Server]:
    """A server for the length of the block."""
    import json

    project.mkdir(parents=True, exist_ok=True)
    log = project / f"server-{time.monotonic_ns()}.log"
    told = json.dumps({"port": 0, **params})
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", _SCRIPT, str(project), told, application],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def url() -> str | None:
        if process.poll() is not None:
            raise AssertionError(f"the server ended: {log.read_text()[-3000:]}")
        found = re.search(r"serves at (http://\S+) ", log.read_text())
        return found[1] if found else None

    try:
        server = Server(process, until(url), log)
        if wait:
            until(server.ready)
        yield server
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

"""`mlflow models serve` answers with the champion, from a folder outside the project."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unit.registry.conftest import Bench

_START_SECONDS = 120


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(uri: str, folder: Path) -> Iterator[str]:
    """Address of a running `mlflow models serve`; its whole process group ends with the block."""
    scripts, port = Path(sys.executable).parent, free_port()
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    command = ["mlflow", "models", "serve", "-m", "models:/recommender@champion", "--env-manager", "local"]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [str(scripts / command[0]), *command[1:], "--host", "127.0.0.1", "--port", str(port)],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        pause = threading.Event()
        for _ in range(4 * _START_SECONDS):
            if server.poll() is not None:
                pytest.fail((folder / "server.log").read_text())
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=2):
                    break
            except (urllib.error.URLError, OSError):
                pause.wait(0.25)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, 9)
        server.wait()


@pytest.mark.server
def test_mlflow_serves_the_champion(bench: Bench, tmp_path: Path) -> None:
    bench.store.promote(bench.register("personal_frequency"), "first", by="test")
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    with served(bench.store.connection.uri, folder) as address:
        body = {"dataframe_records": [{"user_id": "00001"}], "params": {"k": 3}}
        asked = urllib.request.Request(  # noqa: S310 - our own server
            f"{address}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(asked, timeout=30) as answer:  # noqa: S310
            rows = json.load(answer)["predictions"]
    expected = bench.store.bundle(bench.store.versions()[0]).recommend(["00001"], 3)
    assert [row["item_id"] for row in rows] == expected["item_id"].tolist()
    assert [row["rank"] for row in rows] == [1, 2, 3]

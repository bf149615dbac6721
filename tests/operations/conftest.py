"""A whole installation as operators have it: a Prefect server, a worker, all deployments, a receiver of notices."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

from flows.local_server import QUIET, free_port
from rectory.registry import audit
from rectory.registry.store import ModelStore
from rectory.workspace import Workspace
from tests import waiting
from tests.shop import ROOT, make_project

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

BIN = Path(sys.executable).parent
# A look is a question to the server, which has flows to serve meanwhile on the same cores.
until = partial(waiting.until, every=0.3)
KEPT = ("personal_frequency",)


def small_shop(folder: Path) -> Path:
    """The shop with one quick candidate; its log is clean, so that only what a test does to it is wrong with it."""
    project = make_project(folder)
    set_params(project, lambda params: params["train"].update(candidates=_kept(params)))
    return project


def _kept(params: Any) -> Any:
    return {name: params["train"]["candidates"][name] for name in KEPT}


def set_params(project: Path, change: Callable[[Any], object]) -> None:
    """Edit params.yaml."""
    yaml = YAML()
    params = yaml.load((project / "params.yaml").read_text(encoding="utf-8"))
    change(params)
    with (project / "params.yaml").open("w", encoding="utf-8") as out:
        yaml.dump(params, out)


class Inbox:
    """An HTTP receiver of webhooks and an SMTP server, as plain as can be."""

    def __init__(self) -> None:
        self.posts: list[Any] = []
        self.mails: list[str] = []
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                inbox.posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Nobody reads it."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._loop = asyncio.new_event_loop()
        self._smtp: asyncio.Server | None = None
        started = threading.Event()

        async def serve() -> None:
            self._smtp = await asyncio.start_server(self._mail, "127.0.0.1", 0)
            started.set()

        def run() -> None:
            asyncio.set_event_loop(self._loop)
            self._loop.create_task(serve())
            self._loop.run_forever()

        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        assert started.wait(10)

    @property
    def environment(self) -> dict[str, str]:
        assert self._smtp is not None
        return {
            "RECTORY_WEBHOOK_URL": f"http://127.0.0.1:{self._http.server_address[1]}/hook",
            "RECTORY_SMTP_URL": f"smtp://127.0.0.1:{self._smtp.sockets[0].getsockname()[1]}",
            "RECTORY_MAIL_TO": "shop@example.org",
            "RECTORY_MAIL_FROM": "rectory@example.org",
        }

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        assert self._smtp is not None
        self._loop.call_soon_threadsafe(self._smtp.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _mail(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def say(text: str) -> None:
            writer.write(f"{text}\r\n".encode())
            await writer.drain()

        await say("220 inbox")
        while line := (await reader.readline()).decode().strip():
            word = line.upper().split()[0]
            if word == "DATA":
                await say("354 go on")
                text = (await reader.readuntil(b"\r\n.\r\n")).decode()
                self.mails.append(text)
                await say("250 kept")
            elif word == "QUIT":
                await say("221 bye")
                break
            else:
                await say("250 fine")
        writer.close()


@dataclass
class Station:
    """The installation and what a test does with it."""

    folder: Path
    url: str
    environment: dict[str, str]
    inbox: Inbox
    client: SyncPrefectClient
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def rectory(self, *arguments: str, code: int = 0) -> str:
        return self.command(sys.executable, "-m", "cli.main", *arguments, code=code)

    def command(self, *arguments: str, code: int = 0) -> str:
        """Run it in the project; what it said."""
        done = subprocess.run(
            arguments,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def start(self, name: str, **options: Any) -> str:
        """Ask for a run of a deployment, as the page does; its id."""
        deployment = self.client.read_deployment_by_name(f"{name}/{name}")
        parameters = {"options": options} if options else {}
        return str(self.client.create_flow_run_from_deployment(deployment.id, parameters=parameters).id)

    def state(self, run: str) -> Any:
        return self.client.read_flow_run(run).state

    def end(self, run: str, name: str = "Completed") -> Any:
        """Wait for a flow run's end; fails unless its state has this name."""
        state = until(lambda: (found := self.state(run)) and found.is_final() and found, f"flow run {run} ends")
        assert state.name == name, f"{state.name}: {state.message}\n{self.logs(run)}"
        return state

    def do(self, name: str, **options: Any) -> str:
        """Run a deployment to its good end."""
        run = self.start(name, **options)
        self.end(run)
        return run

    def runs_of(self, name: str) -> list[Any]:
        """Flow runs of a flow, oldest first."""
        from prefect.client.schemas.filters import FlowFilter, FlowFilterName

        found = self.client.read_flow_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=[name])), limit=200)
        return sorted(found, key=lambda run: run.created)

    def logs(self, run: str) -> str:
        from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

        found = self.client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run])), limit=200)
        return "\n".join(one.message for one in found)

    def artifacts(self, run: str) -> dict[str, Any]:
        """Key -> newest artifact of a flow run."""
        from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

        found = self.client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run])), limit=200
        )
        return {one.key: one for one in sorted(found, key=lambda one: one.created)}

    @property
    def store(self) -> ModelStore:
        return ModelStore(Workspace(self.folder, self.folder))

    def champion(self) -> str | None:
        seated = self.store.champion()
        return seated.version if seated else None

    def audit(self) -> list[dict[str, Any]]:
        return audit.read(Workspace(self.folder, self.folder))

    @contextmanager
    def worker(self, **environment: str) -> Iterator[subprocess.Popen[str]]:
        """A worker of the pool for the block."""
        log = (self.folder.parent / f"worker-{len(self.processes)}.log").open("w")
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "prefect",
                "worker",
                "start",
                "--pool",
                "rectory",
                "--type",
                "process",
                "--limit",
                "4",
            ],
            cwd=self.folder,
            env={**self.environment, **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.processes.append(process)
        try:
            yield process
        finally:
            process.terminate()
            try:
                # Where a run ended in this very moment, Prefect's worker waits for it for ever (seen with 3.8.8).
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            log.close()


def healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:  # noqa: S310 - our own loopback url
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@contextmanager
def station_at(folder: Path) -> Iterator[Station]:
    """Server and deployments in `folder`; schedules make no runs, so that a test knows who started what."""
    from prefect.client.orchestration import SyncPrefectClient

    inbox = Inbox()
    port = free_port(0)
    url = f"http://127.0.0.1:{port}/api"
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_", "RECTORY_"))
    }
    environment = {
        **inherited,
        **QUIET,
        **inbox.environment,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "DVC_NO_ANALYTICS": "1",
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": url,
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder / 'prefect.db'}",
        "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PREFECT_WORKER_PREFETCH_SECONDS": "0",
        "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "2",
        "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "0.5",
    }
    project = small_shop(folder / "project")
    with (folder / "server.log").open("w") as log, SyncPrefectClient(url) as client:
        station = Station(project, url, environment, inbox, client)
        server = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            until(lambda: healthy(url), "the Prefect server answers")
            station.rectory("deploy")
            yield station
        finally:
            server.terminate()
            try:
                server.wait(60)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
            inbox.close()


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """One installation with a worker for the tests of a file, which tell one story in order."""
    folder = tmp_path_factory.mktemp("station")
    with station_at(folder) as made, made.worker():
        yield made
    shutil.rmtree(folder / "prefect", ignore_errors=True)

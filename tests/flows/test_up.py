"""`rectory up` as a user types it, once, with SQLite: what is up, where it listens, what it survives, how it ends."""

from __future__ import annotations

import json
import signal
import threading
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from rectory.registry.connection import Connection
from rectory.workspace import Workspace
from tests.installed import Up, answers
from tests.shop import make_project
from tests.waiting import until

pytestmark = pytest.mark.server

PASSWORD = "rectory:prefect-planted-secret"
OF_MLFLOW = "mlflow-planted-secret"
SECRETS = {
    "PREFECT_SERVER_API_AUTH_STRING": PASSWORD,
    "MLFLOW_AUTH_ADMIN_PASSWORD": OF_MLFLOW,
    "MLFLOW_FLASK_SERVER_SECRET_KEY": "session-planted-secret",
    "AWS_SECRET_ACCESS_KEY": "s3-planted-secret",
}
TELEMETRY_OFF = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DVC_NO_ANALYTICS": "1",
}


class Sockets(threading.Thread):
    """Notes the addresses of every socket of an installation's processes, again and again, until told to stop."""

    def __init__(self, installation: Up) -> None:
        super().__init__(daemon=True)
        self.installation, self.done = installation, threading.Event()
        self.seen: set[tuple[str, str, str]] = set()
        self.looks = 0

    def run(self) -> None:
        while not self.done.wait(0.1):
            self.looks += 1
            for process in self.installation.family():
                try:
                    for one in process.net_connections("inet"):
                        end = one.raddr or one.laddr
                        self.seen.add(("to" if one.raddr else "at", end.ip if end else "", str(one.status)))
                except psutil.Error:
                    continue


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    made = Up(make_project(tmp_path_factory.mktemp("up") / "project", code=True), SECRETS)
    made.sockets = Sockets(made)  # type: ignore[attr-defined]
    made.sockets.start()  # type: ignore[attr-defined]
    try:
        made.until_up()
        yield made
    finally:
        if made.process.poll() is None:
            made.stop()


def basic(user_and_password: str) -> dict[str, str]:
    """The header that says who asks."""
    return {"Authorization": f"Basic {b64encode(user_and_password.encode()).decode()}"}


def prefect(installation: Up, path: str, body: Any = None) -> Any:
    """A call of Prefect's API."""
    request = urllib.request.Request(  # noqa: S310 - our own http address
        f"{installation.address('prefect')}/api/{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **basic(PASSWORD)},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return json.load(answer)


def test_one_table_shows_all_that_is_up_and_where(installation: Up) -> None:
    table = installation.text
    for service, health in (("prefect", "/api/health"), ("mlflow", "/health"), ("api", "/api/health/live")):
        assert installation.address(service) in table
        assert answers(f"{installation.address(service)}{health}")
    assert "deployments" in table
    assert "worker" in table
    assert answers(f"{installation.address('worker')}/health")


def test_nothing_listens_beyond_loopback_and_nothing_leaves(installation: Up) -> None:
    sockets: Sockets = installation.sockets  # type: ignore[attr-defined]
    sockets.done.set()
    sockets.join()
    assert sockets.looks > 20
    assert {address for _, address, _ in sockets.seen if address not in ("127.0.0.1", "::1", "")} == set()
    assert any(how == "at" and status == psutil.CONN_LISTEN for how, _, status in sockets.seen)
    for service in installation.facts()["services"]:
        environ = psutil.Process(installation.pid(service)).environ()
        assert {name: environ.get(name) for name in TELEMETRY_OFF} == TELEMETRY_OFF, service
    config = (installation.folder / ".dvc" / "config").read_text()
    assert "analytics = false" in config
    assert "check_update = false" in config


def test_secrets_are_in_no_log_argument_or_file_and_only_where_they_are_needed(installation: Up) -> None:
    assert answers(f"{installation.address('prefect')}/api/flows/filter", 401) or answers(
        f"{installation.address('prefect')}/api/admin/version", 401
    )
    planted = [value.rpartition(":")[2] for value in SECRETS.values()]
    for process in installation.family():
        assert not any(secret in " ".join(process.cmdline()) for secret in planted)
    told = [installation.said, *(installation.folder / ".rectory").rglob("*.log"), *installation.folder.rglob("*.json")]
    for path in told:
        assert not any(secret in path.read_text(errors="replace") for secret in planted), path
    assert "PREFECT_SERVER_API_AUTH_STRING" not in psutil.Process(installation.pid("worker")).environ()
    assert "PREFECT_SERVER_API_AUTH_STRING" not in psutil.Process(installation.pid("mlflow")).environ()
    assert "MLFLOW_AUTH_ADMIN_PASSWORD" not in psutil.Process(installation.pid("prefect")).environ()


def test_mlflow_lets_in_who_knows_the_password_and_the_installations_own_are_among_them(installation: Up) -> None:
    address = f"{installation.address('mlflow')}/api/2.0/mlflow/registered-models/search"

    def status(**headers: str) -> int:
        request = urllib.request.Request(address, headers=headers)  # noqa: S310 - our own http address
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return int(error.code)

    assert status() == 401
    assert status(**basic("admin:another")) == 401
    assert status(**basic(f"admin:{OF_MLFLOW}")) == 200
    for command in (("status",), ("recommend", "00001")):
        refused = installation.rectory(*command, code=1).stderr
        assert "MLFLOW_TRACKING_PASSWORD" in refused and "Traceback" not in refused
    who = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": OF_MLFLOW}
    told = json.loads(installation.rectory("status", "--json", **who).stdout)
    assert told["champion"] is None, "it was let in, and there is none yet"


def test_other_commands_find_its_servers_and_a_second_one_is_refused(
    installation: Up, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    workspace = Workspace(installation.folder, installation.folder)
    assert Connection(workspace).uri == installation.address("mlflow")
    told = installation.rectory("up", code=1).stderr
    assert f"up already by process {installation.process.pid}" in told
    assert "Traceback" not in told


def test_a_schedule_makes_runs_on_the_real_server(installation: Up) -> None:
    """With SQLAlchemy 2.1 the server comes up, answers, and its schedules make nothing."""
    hourly = prefect(installation, "deployments/name/ingest/ingest")["id"]
    wanted = {"deployments": {"id": {"any_": [hourly]}}}
    runs = until(lambda: prefect(installation, "flow_runs/filter", wanted), "the schedule makes a run")
    assert all(run["auto_scheduled"] for run in runs)
    assert len({run["expected_start_time"] for run in runs}) == len(runs)


@pytest.mark.parametrize("service", ["prefect", "mlflow", "worker", "api"])
def test_what_is_killed_comes_back_with_its_state(installation: Up, service: str) -> None:
    old = installation.pid(service)
    installation.kill(service)
    installation.until_said(f"{service} healthy again")
    assert installation.pid(service) != old
    if service == "prefect":
        assert prefect(installation, "deployments/filter", {"deployments": {"name": {"any_": ["ingest"]}}})


@pytest.mark.parametrize("number", [signal.SIGKILL])
def test_even_kill_9_leaves_no_orphan_and_is_not_taken_for_up(installation: Up, number: int) -> None:
    assert installation.stop(number) == -number
    workspace = Workspace(installation.folder, installation.folder)
    assert workspace.installation.is_file()
    assert Connection(workspace).uri.startswith("sqlite:///")


def test_ctrl_c_while_it_starts_stops_what_has_started(installation: Up) -> None:
    installation.start()
    until(lambda: len(installation.family()) > 2, "the first services are born")
    installation.token = next(
        filter(None, (one.environ().get("RECTORY_UP") for one in installation.family()[1:] if one.is_running())), ""
    )
    assert installation.stop(signal.SIGINT) == 0
    assert installation.text.splitlines()[-1].endswith("rectory stopped")
    assert "Traceback" not in installation.text

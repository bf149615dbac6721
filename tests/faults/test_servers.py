"""Servers and workers killed while flows are at work, on one real installation: the champion serves, the runs go on.

A story in the order of the file. Slow: each row is a real run of the whole chain through the worker.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import psutil
import pytest

from flows.installation import marked
from rectory.registry.store import ModelStore
from rectory.workspace import Workspace
from tests.installed import Up, up, without
from tests.shop import make_project
from tests.waiting import until

pytestmark = [pytest.mark.server, pytest.mark.slow]

PATIENCE = 900.0
OVER = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


class Installation:
    """A shop whose flows run on a worker."""

    def __init__(self, made: Up) -> None:
        self.up = made
        self.workspace = Workspace(made.folder, made.folder)
        self.seeds = iter(range(100, 200))

    def prefect(self, path: str, body: Any = None) -> Any:
        """A call of Prefect's API, waited for while the server is away."""

        def call() -> list[Any] | None:
            data = None if body is None else json.dumps(body).encode()
            url = f"{self.up.address('prefect')}/api/{path}"
            request = urllib.request.Request(  # noqa: S310 - our own http address
                url, data=data, headers={"Content-Type": "application/json"}
            )
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                    return [json.load(answer)]
            except OSError:
                return None

        return until(call, path)[0]

    def start_run(self, state: dict[str, Any] | None = None) -> str:
        """Start the whole chain on the worker, with a seed that no run had; the flow run's id.

        Args:
            state: to begin with; None: it is due now.
        """
        deployment = self.prefect("deployments/name/run/run")["id"]
        parameters = {"overrides": [f"train.seed={next(self.seeds)}"]}
        made = self.prefect(
            f"deployments/{deployment}/create_flow_run",
            {"parameters": parameters} | ({} if state is None else {"state": state}),
        )
        return str(made["id"])

    def state(self, run: str) -> str:
        return str(self.prefect(f"flow_runs/{run}")["state_type"])

    def until_over(self, run: str) -> str:
        return str(until(lambda: state if (state := self.state(run)) in OVER else None, "the run is over", PATIENCE))

    def processes(self, run: str) -> list[psutil.Process]:
        """Of a flow run and of the steps that it has started."""
        return [one for one in marked.find(self.up.token, "worker") if flow_run_of(one) == run]

    def until_it_trains(self, run: str) -> None:
        def trains() -> bool:
            assert (state := self.state(run)) not in OVER, f"{state}\n{self.up.logs()}"
            return any("tasks.train" in command(one) for one in self.processes(run))

        until(trains, "a candidate trains", PATIENCE)

    def champion_serves(self) -> str:
        """There is one, and it answers; its version."""
        store = ModelStore(self.workspace, patience_seconds=120)
        champion = store.champion()
        assert champion is not None
        assert len(store.bundle(champion).recommend(["00001"], k=5)) == 5
        return champion.version

    def completes(self, run: str) -> None:
        assert self.until_over(run) == "COMPLETED", f"{self.prefect(f'flow_runs/{run}')['state']}\n{self.up.logs()}"
        self.champion_serves()
        versions = ModelStore(self.workspace).versions()
        assert len({one.lineage_key for one in versions}) == len(versions), "a model was registered twice"


def flow_run_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("PREFECT__FLOW_RUN_ID")
    except psutil.Error:
        return None


def command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = without(
        make_project(tmp_path_factory.mktemp("servers") / "project", code=True), "blend", "popularity_recent"
    )
    with up(folder, {"RECTORY_LOST_RUN_SECONDS": "90"}) as made:
        installation = Installation(made)
        installation.completes(installation.start_run())
        yield installation


def test_kill_9_of_prefect_while_a_flow_runs(shop: Installation) -> None:
    run = shop.start_run()
    shop.until_it_trains(run)
    shop.up.kill("prefect")
    shop.up.until_said("prefect healthy again")
    shop.completes(run)


def test_mlflow_away_for_a_minute_during_a_run(shop: Installation) -> None:
    run = shop.start_run()
    shop.until_it_trains(run)
    kills = killed_for(60, lambda: shop.up.supervised("mlflow"))
    assert kills >= 2
    shop.completes(run)


def test_kill_9_of_the_worker_while_its_flow_runs(shop: Installation) -> None:
    """The flow is seen through without it; a new worker does what comes next."""
    run = shop.start_run()
    shop.until_it_trains(run)
    before = shop.up.text.count("worker healthy again")
    shop.up.kill("worker")
    shop.up.until_said("worker healthy again", before + 1)
    shop.completes(run)
    shop.completes(shop.start_run())


def test_kill_9_of_the_worker_and_its_flow(shop: Installation) -> None:
    """As when a machine is gone: the run is marked as crashed, its place is freed, the next one completes."""
    champion = shop.champion_serves()
    run = shop.start_run()
    shop.until_it_trains(run)
    lost = shop.processes(run)
    shop.up.kill("worker")
    for process in lost:
        if process.is_running():
            process.kill()
    assert shop.until_over(run) == "CRASHED"
    assert "nothing was heard of it" in shop.prefect(f"flow_runs/{run}")["state"]["message"]
    assert shop.champion_serves() == champion
    shop.completes(shop.start_run())


def test_a_run_that_a_worker_took_up_and_never_started_is_given_back(shop: Installation) -> None:
    """A worker that is killed right then leaves it pending, which no other worker looks at."""
    run = shop.start_run({"type": "SCHEDULED", "state_details": {"scheduled_time": "2100-01-01T00:00:00Z"}})
    shop.prefect(f"flow_runs/{run}/set_state", {"state": {"type": "PENDING"}})
    shop.completes(run)
    states = shop.prefect(f"flow_run_states/?flow_run_id={run}")
    assert [state["message"] for state in states if state["name"] == "Rescheduled"] == [
        "a worker took it up and had not started it after 0:01:30"
    ]


def test_a_params_yaml_that_no_longer_parses(shop: Installation) -> None:
    champion = shop.champion_serves()
    file = shop.workspace.params_file
    good = file.read_text(encoding="utf-8")
    before = shop.up.text.count("deployments ended with 2")
    file.write_text(f"{good}\nsplit: [this is: no YAML\n", encoding="utf-8")
    shop.up.until_said("deployments ended with 2", before + 1)
    assert "The schedules are those of before and the champion serves on" in shop.up.text
    assert shop.champion_serves() == champion
    run = shop.start_run()
    assert shop.until_over(run) == "FAILED"
    assert "params.yaml" in shop.prefect(f"flow_runs/{run}")["state"]["message"]
    file.write_text(good, encoding="utf-8")
    until(lambda: shop.up.text.count("params.yaml changed") >= 2, "it is seen")
    shop.completes(shop.start_run())


def test_a_stop_tells_the_run_that_is_at_work_and_the_next_start_goes_on(shop: Installation) -> None:
    champion = shop.champion_serves()
    run = shop.start_run()
    shop.until_it_trains(run)
    assert shop.up.stop(signal.SIGTERM) == 0
    shop.up.start()
    shop.up.until_up()
    assert shop.until_over(run) == "CRASHED"
    assert shop.champion_serves() == champion
    shop.completes(shop.start_run())


def killed_for(seconds: float, pid: Callable[[], int | None]) -> int:
    """kill -9 whatever has the pid, again and again; how often."""
    kills, end = 0, time.monotonic() + seconds
    wait = threading.Event()
    while time.monotonic() < end:
        if (one := pid()) is not None:
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
                kills += 1
        wait.wait(0.5)
    return kills

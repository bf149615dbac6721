"""A shop whose flows run on the worker of a real installation, for tests of what happens when parts of it die."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import psutil

from flows.installation import marked
from rectory.registry.store import ModelStore
from rectory.workspace import Workspace
from tests.installed import Up
from tests.waiting import until

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

    def start(self, name: str, parameters: dict[str, Any], state: dict[str, Any] | None = None) -> str:
        """Start a deployment's flow on the worker; the flow run's id.

        Args:
            state: to begin with; None: it is due now.
        """
        deployment = self.prefect(f"deployments/name/{name}/{name}")["id"]
        made = self.prefect(
            f"deployments/{deployment}/create_flow_run",
            {"parameters": parameters} | ({} if state is None else {"state": state}),
        )
        return str(made["id"])

    def start_run(self, state: dict[str, Any] | None = None) -> str:
        """Start the whole chain with a seed that no run had."""
        return self.start("run", {"overrides": [self.new_seed()]}, state)

    def new_seed(self) -> str:
        return f"train.seed={next(self.seeds)}"

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

    def until_at_work(self, run: str) -> list[psutil.Process]:
        """The flow has begun and is not over; its processes."""

        def at_work() -> bool:
            state = self.state(run)
            assert state not in OVER, f"{state}\n{self.up.logs()}"
            return state == "RUNNING"

        until(at_work, "the flow runs", PATIENCE)
        found = self.processes(run)
        assert found, f"run {run} has no process"
        return found

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

"""The installation under test, as an operator uses it: start runs of deployments, wait for their end."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psutil

from flows.installation import marked
from rectory.errors import RectoryError
from rectory.registry.store import ModelStore
from rectory.workspace import Workspace
from tests.installed import Up

OVER = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
PATIENCE = 1200.0
TRIES = 5


def until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """The condition's value as soon as it is true, looked at once a second: more would be a load of its own.

    Raises:
        TimeoutError: it was not true within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s in vain: {what}")
        time.sleep(1.0)
    return value


@dataclass
class Station:
    """`rectory up` at work, and what was started on it."""

    up: Up
    say: Callable[[str], None]
    started: int = 0
    retries: int = 0
    broken: list[str] = field(default_factory=list)
    """What did not hold, in words."""

    def __post_init__(self) -> None:
        self.workspace = Workspace(self.up.folder, self.up.folder)
        self.store = ModelStore(self.workspace, patience_seconds=120)

    def prefect(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """A call of Prefect's API, waited for while the server is away."""

        def call() -> list[Any] | None:
            data = None if body is None else json.dumps(body).encode()
            url = f"{self.up.address('prefect')}/api/{path}"
            request = urllib.request.Request(  # noqa: S310 - our own http address
                url, data=data, headers={"Content-Type": "application/json"}, method=method
            )
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                    text = answer.read()
                    return [json.loads(text) if text else None]
            except urllib.error.HTTPError as error:
                if error.code < 500:
                    raise RectoryError(f"{path}: {error.code} {error.read()[:500]!r}") from error
                return None
            except (OSError, ValueError):
                return None

        return until(call, path)[0]

    def start(self, name: str, options: dict[str, Any]) -> str:
        """Ask for a run of a deployment, as its schedule or a person does; the flow run's id."""
        deployment = self.prefect(f"deployments/name/{name}/{name}")["id"]
        made = self.prefect(f"deployments/{deployment}/create_flow_run", {"parameters": {"options": options}})
        self.started += 1
        return str(made["id"])

    def state(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = self.prefect(f"flow_runs/{run}")["state"]
        return found

    def until_at_work(self, run: str) -> None:
        """It runs, or is over already."""
        until(lambda: self.state(run)["type"] in ("RUNNING", *OVER), f"flow run {run} is at work")

    def end(self, run: str) -> dict[str, Any]:
        """Final state of a flow run; one that does not end is noted as broken, and freed."""
        try:
            found: dict[str, Any] = until(
                lambda: state if (state := self.state(run))["type"] in OVER else None, f"flow run {run} ends"
            )
        except TimeoutError:
            state = self.state(run)
            self.broken.append(f"flow run {run} was {state['name']} after {PATIENCE:.0f} s")
            self._end_by_hand(run)
            found = self.state(run)
        return found

    def until_done(self, name: str, options: dict[str, Any], runs: list[str]) -> list[str]:
        """Wait for `runs`; while none has completed, try again as the next schedule would. What became of each."""
        ends = [self._told(name, self.end(run)) for run in runs]
        for _ in range(TRIES):
            if "Completed" in ends:
                return ends
            self.retries += 1
            ends.append(self._told(name, self.end(self.start(name, options))))
        if "Completed" not in ends:
            raise RectoryError(f"{name} did not complete in {len(ends)} tries: {ends}")
        return ends

    def _told(self, name: str, state: dict[str, Any]) -> str:
        if state["name"] != "Completed":
            self.say(f"  {name}: {state['name']}: {str(state['message'])[:160]}")
        return str(state["name"])

    def until_quiet(self) -> None:
        """Nothing runs and nothing waits to be run: what events have started is over too."""
        wanted = {"state": {"type": {"any_": ["SCHEDULED", "PENDING", "RUNNING", "CANCELLING"]}}}

        def open_runs() -> list[Any]:
            found: list[Any] = self.prefect("flow_runs/filter", {"flow_runs": wanted, "limit": 100})
            return found

        since = time.monotonic()

        def quiet() -> bool:
            nonlocal since
            if open_runs():
                since = time.monotonic()
            # An event is acted on within a second or two.
            return time.monotonic() - since > 3

        try:
            until(quiet, "nothing runs")
        except TimeoutError:
            for run in open_runs():
                self.broken.append(
                    f"flow run {run['name']} ({run['id']}) was {run['state']['name']} at the end of a day"
                )
                self._end_by_hand(str(run["id"]))

    def _end_by_hand(self, run: str) -> None:
        self.prefect(f"flow_runs/{run}/set_state", {"state": {"type": "CRASHED", "name": "Crashed"}, "force": True})

    def runs_by_state(self) -> dict[str, int]:
        """Name of final state -> flow runs, those that events have started among them."""
        counts: dict[str, int] = {}
        offset = 0
        while page := self.prefect("flow_runs/filter", {"limit": 200, "offset": offset, "sort": "ID_DESC"}):
            for run in page:
                name = str(run["state"]["name"])
                counts[name] = counts.get(name, 0) + 1
            offset += len(page)
        return dict(sorted(counts.items()))

    def processes(self, run: str) -> list[psutil.Process]:
        """Of a flow run and of the steps that it has started."""
        return [one for one in marked.find(self.up.token, "worker") if _flow_run_of(one) == run]

    def champion(self) -> str | None:
        seated = self.store.champion()
        return seated.version if seated else None


def _flow_run_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("PREFECT__FLOW_RUN_ID")
    except psutil.Error:
        return None

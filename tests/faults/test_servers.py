"""Servers and workers killed while flows are at work, on one real installation: the champion serves, the runs go on.

A story in the order of the file. Slow: each row is a real run of the whole chain through the worker.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from tests.installed import up, without
from tests.servers import Installation
from tests.shop import make_project
from tests.waiting import until

pytestmark = [pytest.mark.server, pytest.mark.slow]


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

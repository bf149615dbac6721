"""kill -9 of the worker during each flow that is deployed: it is seen through, or told as lost.

Slow: each row waits for the server to notice that a run is gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flows.deployments import DEPLOYMENTS
from rectory.files import read_json
from rectory.registry.store import ModelStore
from rectory.workspace import Workspace
from tests.installed import up, without
from tests.servers import Installation
from tests.shop import make_project

pytestmark = [pytest.mark.server, pytest.mark.slow]

FLOWS = [one.name for one in DEPLOYMENTS]
LOST_RUN_SECONDS = 60


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = without(
        make_project(tmp_path_factory.mktemp("worker") / "project", code=True), "blend", "popularity_recent"
    )
    with up(folder, {"RECTORY_LOST_RUN_SECONDS": str(LOST_RUN_SECONDS)}) as made:
        installation = Installation(made)
        for _ in range(2):  # Two versions, so that there is one to roll back to.
            installation.completes(installation.start_run())
        yield installation


def asked_for(name: str, shop: Installation) -> dict[str, Any]:
    """Parameters with which the flow has something to do, each time anew."""
    versions = [int(one.version) for one in ModelStore(shop.workspace).versions()]
    champion = int(shop.champion_serves())
    options: dict[str, Any] = {
        "train": {"overrides": [shop.new_seed()]},
        "promote": {"run_id": newest_trained(shop.workspace)},
        "backfill": {"start": "2025-03-20", "end": "2025-03-21", "again": True},
        "rollback": {
            "to": str(max(one for one in versions if one != champion)),
            "reason": "a test",
            "by": "tests",
            "block": False,
        },
        "notify": {"event": "rectory.data.refused", "subject": "a test"},
    }
    if name == "run":
        return {"overrides": [shop.new_seed()]}
    if name == "tune":
        return {"candidate": "lightfm_hybrid", "trials": 2, "overrides": [shop.new_seed()]}
    return {"options": options.get(name, {})}


def newest_trained(workspace: Workspace) -> str:
    return max(file.parent.parent.name for file in workspace.runs.glob("*/registry/registered.json"))


def rows_add_up(workspace: Workspace) -> None:
    for file in workspace.runs.glob("*/data/validation.json"):
        rows = read_json(file)["tables"]["interactions"]
        assert rows["rows_in"] == rows["rows_kept"] + rows["rows_quarantined"] + rows["rows_filtered"], file


@pytest.mark.parametrize("name", FLOWS)
def test_kill_9_of_the_worker_during_a_flow(name: str, shop: Installation) -> None:
    """The flow's own process is spared: it ends its work without the worker, and a new worker takes the next."""
    run = shop.start(name, asked_for(name, shop))
    shop.until_at_work(run)
    before = shop.up.text.count("worker healthy again")
    shop.up.kill("worker")
    shop.completes(run)
    shop.up.until_said("worker healthy again", before + 1)
    shop.completes(shop.start(name, asked_for(name, shop)))
    rows_add_up(shop.workspace)


@pytest.mark.parametrize("name", FLOWS)
def test_kill_9_of_the_worker_and_the_flow(name: str, shop: Installation) -> None:
    """As when a machine is gone in the middle: the run is told as crashed, its place is free and the next completes."""
    run = shop.start(name, asked_for(name, shop))
    lost = shop.until_at_work(run)
    shop.up.kill("worker")
    for process in lost:
        if process.is_running():
            process.kill()
    assert shop.until_over(run) == "CRASHED"
    shop.champion_serves()
    shop.completes(shop.start(name, asked_for(name, shop)))
    rows_add_up(shop.workspace)

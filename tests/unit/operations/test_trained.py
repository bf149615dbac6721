"""Which run is to be judged, by the files that runs leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows.trained import to_judge, trained_runs, waiting_runs
from rectory.errors import UsageError
from rectory.files import write_json
from rectory.workspace import Workspace


def run(project: Path, name: str, *, dataset: str = "shop", **left: Any) -> None:
    """A run's folder. decision: as promote writes it. asked: flow run. registered: False for one that only ingested."""
    workspace = Workspace(project / "runs" / name, project)
    write_json(workspace.run_facts, {"run_id": name, "dataset": dataset})
    if left.get("registered", True):
        write_json(workspace.registered, {"candidates": {}})
    if "decision" in left:
        write_json(workspace.decision, left["decision"])
    if "asked" in left:
        write_json(workspace.asked, {"flow_run": left["asked"]})


WAITING = {"promoted": False, "waiting": {"version": "7", "expires_at": "2099-01-01T00:00:00+00:00"}}
REFUSED = {"promoted": False}


def judged(project: Path, run_id: str | None = None, flow_run: str | None = None) -> str | None:
    found = to_judge(project, "shop", run_id, flow_run)
    return found.run_id if found else None


def test_the_newest_run_of_the_data_set_that_has_registered_is_judged(tmp_path: Path) -> None:
    assert judged(tmp_path) is None
    run(tmp_path, "20250101T000000-aaaa")
    run(tmp_path, "20250102T000000-aaaa")
    run(tmp_path, "20250103T000000-aaaa", dataset="films")
    run(tmp_path, "20250104T000000-aaaa", registered=False)
    (tmp_path / "runs" / "backtest-shop").mkdir()
    assert judged(tmp_path) == "20250102T000000-aaaa"


def test_once_the_newest_is_decided_older_ones_are_history(tmp_path: Path) -> None:
    run(tmp_path, "20250101T000000-aaaa")
    run(tmp_path, "20250102T000000-aaaa", decision=REFUSED)
    assert judged(tmp_path) is None
    assert judged(tmp_path, "20250101T000000-aaaa") == "20250101T000000-aaaa", "but it can be named"


def test_a_flow_run_goes_on_with_what_it_had_asked_about(tmp_path: Path) -> None:
    run(tmp_path, "20250101T000000-aaaa", decision=REFUSED, asked="flow-1")
    run(tmp_path, "20250102T000000-aaaa", decision=WAITING, asked="flow-2")
    assert judged(tmp_path, None, "flow-1") == "20250101T000000-aaaa"
    assert judged(tmp_path, None, "flow-3") == "20250102T000000-aaaa"
    assert [one.waiting for one in waiting_runs(tmp_path, "shop")] == ["7"]
    assert next(one.run_id for one in trained_runs(tmp_path, "shop")) == "20250102T000000-aaaa"


def test_a_run_that_has_nothing_registered_or_leads_out_of_the_project_is_told(tmp_path: Path) -> None:
    run(tmp_path, "20250101T000000-aaaa", registered=False)
    for name in ("20250101T000000-aaaa", "nowhere", "../../x"):
        with pytest.raises(UsageError):
            judged(tmp_path, name)

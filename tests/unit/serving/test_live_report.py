"""Live metrics for those who do not serve: read from a real event log, without a web framework."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from flows.artifacts import live_text
from rectory.files import read_json, write_parquet
from rectory.params import Params, parse_params
from rectory.serving.event_log import EventLog
from rectory.serving.store import Store
from rectory.serving.types import Answer, Event, Request, Shown
from rectory.workspace import Workspace
from tasks import observe

DAY = 86_400.0


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / "runs" / "one", tmp_path)
    log = pd.DataFrame({"item_id": [f"i{at}" for at in range(10)]})
    write_parquet(log, made.tables / "interactions.parquet")
    return made


@pytest.fixture
def params() -> Params:
    return parse_params({"dataset": "shop", "train": {"candidates": {"popularity": {"kind": "popularity"}}}}, "test")


def answered(workspace: Workspace, version: str, days_ago: float, items: list[str], takers: int) -> None:
    """Twenty users were answered; the first `takers` clicked what stood first, one of them bought it."""
    log, moment, events = EventLog(Store.of(workspace)), time.time() - DAY * days_ago, []
    log.open()
    for user in range(20):
        name = f"{version}-{days_ago}-{user}"
        shown = tuple(Shown(item, 1.0, "personal") for item in items)
        log.record(Request(f"u{user}"), Answer(name, version, shown, "personal", 1.0), moment, {})
        kinds = (["click"] if user < takers else []) + (["purchase"] if user == 0 else [])
        events += [Event(f"{name}-{kind}", f"u{user}", items[0], kind, moment, moment + 9, 1.0, name) for kind in kinds]
    log.append(events).result()
    log.close()


def test_versions_and_windows_beside_each_other(workspace: Workspace, params: Params) -> None:
    answered(workspace, "1", 10.0, ["i0", "i1"], takers=10)
    answered(workspace, "1", 5.0, ["i0", "i1"], takers=10)
    answered(workspace, "2", 2.0, ["i2", "i3", "gone"], takers=5)
    assert observe.run(params, workspace).observed
    found = read_json(workspace.observed)
    facts = {(one["window"], one["version"]): one for one in found["windows"]}
    assert set(facts) == {("newest", "all"), ("newest", "1"), ("newest", "2"), ("before", "all"), ("before", "1")}
    assert facts["newest", "1"]["ctr"]["value"] == 0.5 and facts["newest", "2"]["ctr"]["value"] == 0.25
    assert facts["newest", "2"]["conversion"]["value"] == 0.05
    assert (facts["newest", "2"]["coverage"], facts["newest", "2"]["items"]) == (0.2, 3)
    assert (facts["newest", "all"]["answers"], facts["newest", "all"]["coverage"]) == (40, 0.4)
    assert found["exposure"]["distance"] > 3 * found["exposure"]["by_chance"] > 0
    text = live_text(found)
    assert "| newest | 2 | 20 | 20 | 25.00% [" in text and "has moved by" in text


def test_nothing_has_moved_where_the_same_is_shown(workspace: Workspace, params: Params) -> None:
    answered(workspace, "1", 10.0, ["i0", "i1"], takers=3)
    answered(workspace, "1", 5.0, ["i0", "i1"], takers=3)
    observe.run(params, workspace)
    assert read_json(workspace.observed)["exposure"]["distance"] == 0.0


def test_an_empty_log_has_no_lines_and_no_log_no_report(workspace: Workspace, params: Params) -> None:
    assert not observe.run(params, workspace).observed and not workspace.observed.exists()
    log = EventLog(Store.of(workspace))
    log.open()
    log.close()
    assert observe.run(params, workspace).observed
    found = read_json(workspace.observed)
    assert found["windows"] == [] and found["exposure"]["distance"] is None and "Windows of 7 days." in live_text(found)


def test_no_web_framework_is_needed() -> None:
    blocked = "import sys; sys.modules.update(dict.fromkeys(('fastapi', 'starlette', 'uvicorn')))\n"
    code = f"{blocked}import rectory.serving.live_metrics, tasks.guard, tasks.observe"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)

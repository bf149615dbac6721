"""The step as dvc and the flow call it."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from rectory.errors import DataError
from rectory.files import write_json, write_parquet
from rectory.monitoring.check import check_drift
from rectory.monitoring.history import read_history
from rectory.params import Params, parse_params
from rectory.workspace import Workspace
from tasks.drift import run
from tests.unit.monitoring.quiet_log import newest_start, quiet_frame

CARD = """
name: shop
source: {kind: files, interactions: {path: log.csv}, items: {path: items.csv}}
interactions: {user_id: u, item_id: i, timestamp: {column: t}, context: {price: p}}
items:
  id: i
  features:
    price: {column: band}
    words: {column: w, kind: text}
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A project whose newest week has other events than the weeks before."""
    workspace = Workspace(tmp_path / "run", tmp_path)
    workspace.card("shop").parent.mkdir()
    workspace.card("shop").write_text(CARD)
    frame, categories = quiet_frame(8, planted="events", rows=1500)
    cut = newest_start()
    parts = {"train": frame["timestamp"] < cut - pd.Timedelta(days=7), "test": frame["timestamp"] >= cut}
    parts["valid"] = ~parts["train"] & ~parts["test"]
    for name, rows in parts.items():
        write_parquet(frame[rows], workspace.split / f"{name}.parquet")
    write_json(workspace.split / "split.json", {"test_start": cut.isoformat()})
    # A feature named like a watched column, and items without a value.
    items = pd.DataFrame({"item_id": categories["category"].index, "price": categories["category"].to_numpy()})
    items.loc[::7, "price"] = None
    write_parquet(items.assign(words="x"), workspace.tables / "items.parquet")
    return workspace


@pytest.fixture
def params() -> Params:
    return parse_params({"dataset": "shop", "train": {"candidates": {"popularity": {"kind": "popularity"}}}}, "test")


def test_a_new_event_mix_reaches_json_page_and_history(workspace: Workspace, params: Params) -> None:
    drift = run(params, workspace)
    written = json.loads((workspace.drift / "drift.json").read_text())
    assert drift.status == written["status"] == "drift"
    assert "event" in drift.moved
    assert written["calibrated"]
    assert {"column", "distance", "method", "threshold", "status", "reference", "current"} <= set(written["columns"][0])
    assert "item_price" in {one["column"] for one in written["columns"]}
    assert any("event" in reason for reason in written["reasons"])
    assert (workspace.drift / "drift.html").is_file()
    run(params, workspace)
    assert [line["status"] for line in read_history(workspace.drift_history, "shop")] == ["drift", "drift"]
    assert json.loads((workspace.drift / "drift.json").read_text()) == written


def test_a_missing_split_is_refused_with_its_cure(workspace: Workspace, params: Params) -> None:
    (workspace.split / "valid.parquet").unlink()
    with pytest.raises(DataError, match="run the step"):
        check_drift(params, workspace)


def test_the_champion_that_served_sets_the_reference(workspace: Workspace, params: Params) -> None:
    until = newest_start() - pd.Timedelta(days=14)
    seat = {"name": "old", "version": "3", "trained_until": until.isoformat()}
    write_json(workspace.decision, {"champion_before": seat, "champion": {"name": "new", "version": "4"}})
    written = check_drift(params, workspace)
    assert written["champion"] == seat
    # Whole windows only, and none that reaches beyond what the champion has seen.
    assert until - pd.Timedelta(days=7) < pd.Timestamp(written["reference"]["end"]) <= until

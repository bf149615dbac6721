"""The steps validate, snapshot and split: what lies in the workspace afterwards."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import tasks.snapshot
import tasks.split
import tasks.validate
from rectory.errors import DataError
from rectory.files import tree_digests
from rectory.params import Params
from rectory.params.load import parse_params
from rectory.workspace import Workspace
from tests.unit.data_validation.world import NOW, SMALL, write_raw

CARD = """
name: small
historic: true
source: {kind: files, interactions: {path: x.csv}}
interactions: {user_id: who, item_id: what, timestamp: {column: when}}
"""


def params(**changes: Any) -> Params:
    candidates = {"popularity": {"kind": "popularity"}}
    return parse_params({"dataset": "small", "validate": SMALL | changes, "train": {"candidates": candidates}}, "test")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "small.yaml").write_text(CARD)
    return Workspace(tmp_path / "run", tmp_path)


def good_log(rows: int = 50) -> dict[str, list[str]]:
    return {
        "who": [f"u{n % 5}" for n in range(rows)],
        "what": [f"i{n % 7}" for n in range(rows)],
        "when": [(NOW - timedelta(days=rows - n)).isoformat() for n in range(rows)],
    }


def test_from_raw_to_windows(workspace: Workspace) -> None:
    write_raw(workspace.raw, good_log())
    assert tasks.validate.run(params(), workspace).rows_kept == 50
    snapshot = tasks.snapshot.run(params(), workspace)
    facts = json.loads(workspace.snapshot.read_text())
    assert (facts["dataset"], facts["hash"], facts["rows"]) == ("small", snapshot.hash, {"interactions": 50})
    assert tasks.split.run(params(), workspace).rows == {"train": 40, "valid": 5, "test": 5}
    # The next validation knows the snapshot.
    tasks.validate.run(params(), workspace)
    volume = next(one for one in json.loads(workspace.validation.read_text())["checks"] if one["name"] == "volume")
    assert volume["value"] == 0.0


def test_refused_data_leaves_the_quarantine_to_look_into_and_the_tables_as_they_were(workspace: Workspace) -> None:
    write_raw(workspace.raw, good_log())
    tasks.validate.run(params(), workspace)
    before = tree_digests(workspace.tables)
    write_raw(workspace.raw, good_log() | {"who": [None] * 50})
    with pytest.raises(DataError, match="missing user id"):
        tasks.validate.run(params(max_bad_share=0.2), workspace)
    assert len(pd.read_parquet(workspace.quarantine)) == 50
    assert json.loads(workspace.validation.read_text())["tables"]["interactions"]["rows_quarantined"] == 50
    assert tree_digests(workspace.tables) == before

"""Tuning never looks at the test window."""

from __future__ import annotations

import shutil

import pandas as pd

from rectory.files import read_json, read_parquet
from tasks import tune
from tests.unit.tuning.conftest import Bench, facts, prepare_data


def test_the_test_window_changes_nothing(tuned, bench, tmp_path):
    """Other users and items in the test window's rows, and none of them at all: the same trials."""
    _, result = tuned
    start = pd.Timestamp(read_json(bench.workspace.split / "split.json")["test_start"])
    path = bench.project / "exports" / "sales.csv"
    log = pd.read_csv(path, dtype=str)
    late = pd.to_datetime(log["at"], format="ISO8601", errors="coerce", utc=True) >= start
    assert late.sum() > 400
    log.loc[late, "customer"] = log.loc[late, "customer"].to_numpy()[::-1]
    log.loc[late, "sku"] = "0001"
    log.to_csv(path, index=False)
    other = Bench(prepare_data(bench.project))
    changed = read_parquet(other.workspace.split / "test.parquet")
    assert set(changed["item_id"]) == {"0001"}
    assert facts(other.tune("lightfm_hybrid", 5)) == facts(result)[:5]
    shutil.rmtree(other.workspace.split)
    shutil.rmtree(other.workspace.tables)
    shutil.rmtree(bench.project / ".rectory")
    params = other.params()
    prepared = tune.prepare(params, other.workspace, "lightfm_hybrid", trials=3)
    assert prepared.before == 0
    other.work()
    assert facts(other.result()) == facts(result)[:3]

"""The step from files to files, with a real bundle."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from rectory.files import read_json, tree_digests, write_json, write_parquet
from rectory.models.bundle import Bundle
from rectory.models.catalogue import build
from rectory.params import Params, parse_params
from rectory.workspace import Workspace
from tasks import evaluate
from tests.unit.evaluation.small_world import make_card, make_test, make_train


@pytest.fixture
def params() -> Params:
    return parse_params(
        {
            "dataset": "small",
            "train": {"candidates": {"popular": {"kind": "popularity", "baseline": True}}},
            "evaluate": {"k": [2], "bootstrap_samples": 100, "min_slice_users": 2},
            "gate": {"metric": "ndcg@2"},
        },
        "test",
    )


def prepared(root: Path, params: Params) -> Workspace:
    workspace = Workspace(root, root)
    card, train = make_card(targets=["buy"]), make_train()
    write_json(workspace.card("small"), card.model_dump(mode="json"))
    write_parquet(make_test(), workspace.split / "test.parquet")
    write_json(workspace.split / "split.json", {"test_start": "2020-01-01T00:00:00+00:00"})
    table = pd.DataFrame({"user_id": ["anna", "bob"], "age": [1.0, 2.0], "city": ["Rome", "Oslo"]})
    write_parquet(table.assign(likes=[["x"], ["y"]], about="text"), workspace.tables / "users.parquet")
    train.save(workspace.features)
    model = build(params.train.candidates["popular"], 1, 100).fit(train)
    bundle = Bundle(
        candidate="popular", kind="popularity", model=model, users=train.users, items=train.items, seen=train.counts(),
        repeats=True, titles=None, dataset="small", trained_until="2020-01-01",
    )  # fmt: skip
    bundle.save(workspace.model("popular"))
    return workspace


def test_writes_metrics_per_user_values_and_plot_with_equal_bytes_each_time(tmp_path: Path, params: Params) -> None:
    workspace = prepared(tmp_path, params)
    result = evaluate.run(params, workspace, "popular")
    metrics = read_json(workspace.metrics("popular"))
    assert (metrics["candidate"], metrics["kind"], metrics["baseline"]) == ("popular", "popularity", True)
    assert metrics["users"] == 4
    assert set(metrics["metrics"]["ndcg@2"]) == {"value", "low", "high", "users"}
    assert metrics["metrics"]["ndcg@2"]["value"] == result.value
    assert metrics["slices"]["users=cold"]["ndcg@2"]["users"] == 2
    frame = pd.read_parquet(workspace.per_user("popular"))
    assert frame["user_id"].tolist() == ["anna", "bob", "dora", "eve"]
    assert frame["ndcg@2"].mean() == pytest.approx(result.value)
    assert frame["slice:users=cold"].dtype == bool
    plot = pd.read_csv(workspace.metric_plot("popular"))
    assert "ndcg@2" in set(plot["metric"])
    before = tree_digests(tmp_path)
    evaluate.run(params, workspace, "popular")
    assert tree_digests(tmp_path) == before

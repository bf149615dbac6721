"""Awkward logs through the whole chain: a working champion or a refusal in words, never a traceback."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

import tasks.drift
import tasks.evaluate
import tasks.features
import tasks.fetch
import tasks.promote
import tasks.register
import tasks.report
import tasks.reuse
import tasks.score
import tasks.snapshot
import tasks.split
import tasks.train
import tasks.validate
from rectory.errors import DataError
from rectory.files import read_json
from rectory.models.bundle import Bundle
from rectory.params import Params
from rectory.workspace import Workspace
from tests.faults import logs

LOGS = logs.awkward()


def run_chain(params: Params, workspace: Workspace) -> None:
    """fetch to evaluate, as a flow runs them."""
    tasks.fetch.run(params, workspace)
    tasks.validate.run(params, workspace)
    tasks.split.run(params, workspace)
    tasks.features.run(params, workspace)
    for candidate in params.train.candidates:
        tasks.train.run(params, workspace, candidate)
    for candidate in params.train.candidates:
        tasks.evaluate.run(params, workspace, candidate)


@pytest.mark.parametrize("name", [name for name, log in LOGS.items() if log.refused is not None])
def test_a_log_that_cannot_be_used_is_refused_in_words(name: str, tmp_path: Path) -> None:
    params, workspace = logs.project(tmp_path, LOGS[name])
    with pytest.raises(DataError) as refusal:
        run_chain(params, workspace)
    assert re.search(str(LOGS[name].refused), str(refusal.value)), str(refusal.value)
    assert not re.search(r"Traceback|Error:|\bnan\b", str(refusal.value))


@pytest.mark.parametrize("name", [name for name, log in LOGS.items() if log.refused is None])
def test_an_awkward_log_gives_models_that_answer_everyone(name: str, tmp_path: Path) -> None:
    params, workspace = logs.project(tmp_path, LOGS[name])
    run_chain(params, workspace)
    known = pd.read_parquet(workspace.tables / "interactions.parquet")["user_id"].iloc[0]
    for candidate in params.train.candidates:
        metrics = read_json(workspace.metrics(candidate))["metrics"]
        for metric, found in metrics.items():
            if found is not None and found.get("value") is not None and found.get("low") is not None:
                assert found["low"] <= found["value"] <= found["high"], metric
        bundle = Bundle.load(workspace.model(candidate))
        lists = bundle.recommend([known, "nobody", "../../x"], k=1000)
        assert lists["score"].notna().all()
        assert not lists.duplicated(["user_id", "item_id"]).any()
        assert lists.groupby("user_id").size().max() <= len(bundle.items.ids)
        assert set(lists["user_id"]) >= {"nobody", "../../x"}, "strangers get the best for anyone"


WHOLE = [
    "one user, limits lowered",
    "one item, limits lowered",
    "three rows",
    "most of the catalogue was never sold",
]


@pytest.mark.parametrize("name", WHOLE)
def test_an_awkward_log_ends_with_a_champion_scores_and_a_report(name: str, tmp_path: Path) -> None:
    """Judged by nothing but a handful of rows, too, somebody is seated: something must serve."""
    params, workspace = logs.project(tmp_path, LOGS[name])
    tasks.fetch.run(params, workspace)
    tasks.validate.run(params, workspace)
    tasks.snapshot.run(params, workspace)
    tasks.split.run(params, workspace)
    tasks.features.run(params, workspace)
    assert tasks.reuse.run(params, workspace).candidates == ()
    for candidate in params.train.candidates:
        tasks.train.run(params, workspace, candidate)
        tasks.evaluate.run(params, workspace, candidate)
    tasks.register.run(params, workspace)
    assert tasks.promote.run(params, workspace).promoted
    scored = tasks.score.run(params, workspace)
    assert scored.users == LOGS[name].rows["who"].nunique()
    assert tasks.drift.run(params, workspace).status in {"ok", "warn", "drift"}
    page = Path(tasks.report.run(params, workspace).page)
    assert page.stat().st_size > 10_000

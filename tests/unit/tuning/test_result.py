"""What a study came to: the verdict, its page, its runs in MLflow, and what may be written."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from flows.tune import may_tune, why_not
from rectory.errors import StoreError, UsageError
from rectory.files import read_json
from rectory.registry.connection import Connection
from rectory.registry.trials import record_study
from rectory.reporting.tuning import render_tuning_page, snippet, write_tuning_page
from rectory.tuning.result import summarise
from rectory.tuning.storage import open_study
from rectory.workspace import Workspace


def test_the_verdict_has_both_figures(tuned):
    _, result = tuned
    assert result.gain is not None
    assert result.gain.absolute.value == pytest.approx(result.best.score - result.defaults.score)
    assert result.credible < result.gain.absolute.value
    assert result.better is (result.credible > 0)
    for figure in (result.best.score, result.defaults.score):
        assert f"{figure:.4f}" in result.verdict
    assert f"best of {result.whole} trials" in result.verdict
    assert json.loads(json.dumps(result.to_dict()))["best"]["number"] == result.best.number


def test_importance_is_shared_out_among_the_keys(tuned):
    _, result = tuned
    assert set(result.importance) <= set(result.best.values)
    assert sum(result.importance.values()) == pytest.approx(1.0)
    assert list(result.importance.values()) == sorted(result.importance.values(), reverse=True)


def test_defaults_that_did_best_change_nothing(bench):
    result = bench.tune("personal_frequency", 1)
    assert result.best == result.defaults
    assert (result.changed, result.gain, result.better) == ({}, None, False)
    assert "nothing tried was better" in result.verdict
    assert snippet(result) == ""
    assert "defaults did best" in render_tuning_page(result)
    assert why_not(result, bench.workspace, force=False) is None


def test_lost_scores_are_told_with_their_cure(bench):
    bench.prepare("personal_frequency", 2)
    bench.work()
    for path in bench.plan.scores.iterdir():
        path.unlink()
    with pytest.raises(StoreError, match=r"delete .* and tune again"):
        summarise(open_study(bench.plan, 42), bench.plan, 100, 1)


def test_the_page_stands_alone_and_names_every_trial(tuned, tmp_path: Path):
    _, result = tuned
    page = write_tuning_page(tmp_path / "page", result)
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//|<script|@import|url\((?!#)""", text)
    assert text.count("<svg") == 2 + len(result.importance)
    assert text.count("<tr") >= len(result.trials)
    assert result.study in text
    assert len(re.findall(r'\bid="([^"]+)"', text)) == len(set(re.findall(r'\bid="([^"]+)"', text)))
    assert read_json(tmp_path / "page" / "study.json")["study"] == result.study


def test_texts_of_others_are_escaped(tuned):
    _, result = tuned
    bad = "<b>&'\""
    trials = [*result.trials[:-1], replace(result.trials[-1], reason=bad, state="failed", score=None)]
    text = render_tuning_page(replace(result, dataset=bad, candidate="x<i>", trials=trials))
    assert "<b>" not in text
    assert "x<i>" not in text


def test_equal_studies_give_equal_pages(tuned):
    _, result = tuned
    assert render_tuning_page(result) == render_tuning_page(result)


def test_a_study_is_one_parent_run_with_a_run_for_each_trial(tuned, tmp_path: Path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    result = replace(tuned[1], trials=tuned[1].trials[:5])
    workspace = Workspace(tmp_path, tmp_path)
    early = replace(result, trials=result.trials[:3])
    parent = record_study(workspace, early)
    assert record_study(workspace, result) == parent
    client = Connection(workspace).client()
    experiment = client.get_experiment_by_name("rectory/shop/tuning")
    runs = client.search_runs([experiment.experiment_id])
    trials = {run.data.tags["trial"]: run for run in runs if "trial" in run.data.tags}
    assert len(runs) == 1 + len(result.trials) == 1 + len(trials)
    for one in result.trials:
        run = trials[str(one.number)]
        assert run.data.tags["mlflow.parentRunId"] == parent
        assert run.data.metrics["validation_ndcg_at_10"] == pytest.approx(one.score)
        assert run.data.params["components"] == str(one.values["components"])
        assert run.info.status == {"complete": "FINISHED", "pruned": "KILLED"}[one.state]
    curve = client.get_metric_history(trials["0"].info.run_id, "validation_ndcg_at_10_so_far")
    assert [point.value for point in curve] == result.defaults.curve
    study = client.get_run(parent)
    assert study.data.tags["best_trial"] == str(result.best.number)
    assert study.data.metrics["best_score"] == pytest.approx(result.best.score)
    assert study.info.status == "FINISHED"


def test_only_what_is_better_than_noise_may_be_written(tuned):
    bench, result = tuned
    now = result.defaults.values | {"components": 8}
    told = replace(result, defaults=replace(result.defaults, values=now), better=True)
    assert why_not(told, bench.workspace, force=False) is None
    assert "not better than the defaults by more than noise" in (
        why_not(replace(told, better=False), bench.workspace, force=False) or ""
    )
    assert why_not(replace(told, better=False), bench.workspace, force=True) is None
    assert "was changed while it was tuned" in (
        why_not(replace(result, better=True), bench.workspace, force=False) or ""
    )


def test_wrong_use_is_told_before_anything_starts(tuned):
    bench, _ = tuned
    params = bench.params()
    with pytest.raises(UsageError, match="there are popularity"):
        may_tune(params, "nobody", [], write=False)
    with pytest.raises(UsageError, match="cannot be tuned"):
        may_tune(params, "popularity", [], write=False)
    override = ["train.candidates.lightfm_hybrid.max_epochs=3"]
    with pytest.raises(UsageError, match="would not hold what was tuned"):
        may_tune(params, "lightfm_hybrid", override, write=True)
    may_tune(params, "lightfm_hybrid", override, write=False)

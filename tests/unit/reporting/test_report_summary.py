"""summary.json: the contract that other programs rely on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rectory.errors import DataError
from rectory.files import read_json, write_json
from rectory.reporting.inputs import read_inputs
from rectory.reporting.summary import Summary, build_summary, load_summary
from rectory.workspace import Workspace
from tests.unit.reporting.fake_run import STRENGTH, make_run, params


@pytest.fixture
def run(tmp_path: Path):
    return make_run(tmp_path, models=False)


def summarise(run) -> Summary:
    return build_summary(read_inputs(*run))


def test_has_every_key_of_the_contract_with_its_type(run) -> None:
    found = json.loads(json.dumps(summarise(run).model_dump(mode="json"), allow_nan=False))
    assert found["dataset"] == "corner_shop"
    assert found["as_of"].startswith("2017-")
    assert len(found["lineage_key"]) == 64
    rows = found["snapshot"]
    assert rows["hash"].endswith(".dir")
    assert rows["rows_in"] == rows["rows_kept"] + rows["rows_quarantined"] + rows["rows_filtered"] == 6061
    assert list(found["candidates"]) == list(STRENGTH)
    hybrid = found["candidates"]["lightfm_hybrid"]
    assert hybrid["version"] == "6"
    assert hybrid["baseline"] is False
    assert found["candidates"]["popularity"]["baseline"] is True
    assert hybrid["metrics"]["ndcg@10"] == {"value": 0.436, "low": 0.4086, "high": 0.4634, "users": 120}
    assert hybrid["slices"]["users=cold"]["ndcg@10"]["users"] == 8
    assert hybrid["fit_seconds"] == pytest.approx(20.44)
    assert hybrid["peak_memory_mb"] > 400
    assert found["decision"]["promoted"] is True
    assert found["decision"]["champion"] == {"name": "lightfm_hybrid", "version": "6"}
    assert all(isinstance(reason, str) for reason in found["decision"]["reasons"])
    assert hybrid["gaps"]["age"] == {
        "metric": "ndcg@10", "best": "q1", "worst": "q4",
        "gap": {"value": 0.02, "low": 0.0, "high": 0.08, "users": 120},
    }  # fmt: skip
    assert hybrid["chosen"] == {"half_life_days": 7.0, "epochs": 9}
    assert hybrid["notes"] == ["content is off: the card declares no <text>"]
    assert [(test["name"], test["passed"]) for test in hybrid["behaviour"]] == [
        ("shuffled_ids", True), ("gone_items", True),
    ]  # fmt: skip
    assert found["pareto"] == ["lightfm_hybrid"]
    assert found["slice_meanings"] == {"users=warm": "more than 5 interactions before the window"}
    assert found["drift"]["status"] == "warn"
    assert {"column", "distance", "threshold", "status"} <= set(found["drift"]["columns"][0])
    assert found["timings"]["train-popularity"] == pytest.approx(9.52)
    assert found["total_seconds"] == 81.4
    assert found["reused"] is False


def test_survives_writing_and_reading(run) -> None:
    summary, workspace = summarise(run), run[1]
    write_json(workspace.reports / "latest" / "summary.json", summary.model_dump(mode="json"))
    assert load_summary(workspace) == summary


def test_a_newer_file_with_more_keys_can_still_be_read(run) -> None:
    tree = summarise(run).model_dump(mode="json") | {"carbon_grams": 3}
    assert Summary.model_validate(tree).dataset == "corner_shop"


def test_an_empty_workspace_gives_an_empty_summary(tmp_path: Path) -> None:
    found = build_summary(read_inputs(params(), Workspace(tmp_path / "run", tmp_path)))
    assert found.candidates == {}
    assert found.decision.champion is None
    assert found.drift.status == "unknown"
    assert found.total_seconds is None
    assert found.run_id == "local"


def test_a_candidate_that_params_no_longer_name_is_left_out(run) -> None:
    asked, workspace = run
    write_json(workspace.metrics("retired"), read_json(workspace.metrics("popularity")))
    assert "retired" not in build_summary(read_inputs(asked, workspace)).candidates


def test_numbers_that_json_cannot_hold_become_null(run) -> None:
    facts = read_json(run[1].metrics("popularity"))
    facts["metrics"]["ndcg@10"] |= {"value": float("nan"), "high": float("inf")}
    write_json(run[1].metrics("popularity"), facts)
    one = summarise(run).candidates["popularity"].metrics["ndcg@10"]
    assert (one.value, one.high) == (None, None)


def test_a_choice_that_json_cannot_hold_becomes_null(run) -> None:
    facts = read_json(run[1].fit_report("popularity"))
    facts["chosen"] = {"weights": [float("inf"), 1.0], "best": {"score": float("nan")}}
    write_json(run[1].fit_report("popularity"), facts)
    assert summarise(run).candidates["popularity"].chosen == {"weights": [None, 1.0], "best": {"score": None}}


def test_without_a_total_the_start_of_the_run_counts(run) -> None:
    write_json(run[1].run_facts, {"run_id": "r1", "started_at": "2020-01-01T00:00:00+00:00", "reused": False})
    assert summarise(run).total_seconds > 1e8


def test_without_a_flow_the_steps_add_up(run) -> None:
    run[1].run_facts.unlink()
    summary = summarise(run)
    assert summary.total_seconds == pytest.approx(sum(summary.timings.values()))


def test_no_summary_yet_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="rectory run"):
        load_summary(Workspace(tmp_path, tmp_path))


def test_the_docs_show_every_key(run) -> None:
    docs = (Path(__file__).parents[3] / "docs" / "report.md").read_text()
    example = json.loads(docs.split("```json")[1].split("```")[0])
    Summary.model_validate(example)

    def keys(tree) -> set[str]:
        if isinstance(tree, list):
            return set().union(*map(keys, tree)) if tree else set()
        if not isinstance(tree, dict):
            return set()
        return set(tree).union(*map(keys, tree.values()))

    found = summarise(run)
    data = set(found.timings) | set(found.candidates) | {"timings"}
    names = {
        name
        for one in found.candidates.values()
        for name in (*one.metrics, *one.slices, *one.gaps, *one.chosen, *found.slice_meanings)
    }
    assert keys(found.model_dump(mode="json")) - data - names <= keys(example) | {"challenger"}

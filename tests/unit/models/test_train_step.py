"""Step train: a bundle, a fit report and a learning curve; names are checked first."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from rectory.errors import UsageError
from rectory.files import tree_digests, write_parquet
from rectory.models.bundle import Bundle
from rectory.models.catalogue import kinds, model_class, module_of
from rectory.params import parse_params
from rectory.workspace import Workspace
from tasks import train as step
from tests.conformance.synthetic import two_tastes

PARAMS = parse_params(
    {
        "dataset": "made_up",
        "train": {
            "candidates": {
                "top": {"kind": "popularity", "windows_days": [30, None]},
                "small": {"kind": "lightfm_hybrid", "components": 4, "max_epochs": 2, "half_lives_days": [30]},
            }
        },
    },
    "a test",
)


@pytest.fixture
def workspace(tmp_path):
    place = Workspace(tmp_path)
    two_tastes().save(place.features)
    place.tables.mkdir(parents=True)
    write_parquet(pd.DataFrame({"item_id": ["i0001", "i0002"], "title": ["One", None]}), place.tables / "items.parquet")
    return place


@pytest.mark.parametrize("candidate", ["top", "small"])
def test_writes_bundle_report_and_curve_and_again_the_same_bytes(workspace, candidate):
    trained = step.run(PARAMS, workspace, candidate)
    first = tree_digests(workspace.root)
    report = json.loads(workspace.fit_report(candidate).read_text())
    assert report["metric"] == "ndcg@10"
    assert report["score"] == trained.validation_score
    assert len(pd.read_csv(workspace.learning_curve(candidate))) == len(report["curve"])
    step.run(PARAMS, workspace, candidate)
    assert tree_digests(workspace.root) == first


def test_bundle_answers_by_id_with_titles(workspace):
    step.run(PARAMS, workspace, "top")
    bundle = Bundle.load(workspace.model("top"))
    assert (bundle.candidate, bundle.kind, bundle.dataset, bundle.repeats) == ("top", "popularity", "made_up", False)
    assert bundle.titles == {"i0001": "One"}
    assert bundle.title("i0002") == "i0002"
    assert bundle.trained_until == "1970-07-20T00:00:00+00:00"
    lists = bundle.recommend(["u0001", "nobody"], 3)
    assert lists.columns.tolist() == ["user_id", "rank", "item_id", "score"]
    assert lists["rank"].tolist() == [1, 2, 3] * 2
    seen = set(bundle.items.decode(bundle.seen[[1]].indices))
    assert not seen & set(lists[lists["user_id"] == "u0001"]["item_id"])
    again = bundle.recommend(["u0001"], 40, exclude_seen=False)
    assert seen <= set(again["item_id"])
    assert bundle.recommend(["u0001"], 5, exclude_seen=False, items=["i0003", "unheard of"])["item_id"].tolist() == [
        "i0003"
    ]
    assert bundle.recommend([], 5).empty


def test_bundle_refuses_what_it_cannot_answer(workspace):
    step.run(PARAMS, workspace, "top")
    bundle = Bundle.load(workspace.model("top"))
    for wrong in (lambda: bundle.similar(["i9999"], 3), lambda: bundle.why("u0001", "../../x")):
        with pytest.raises(UsageError, match="not among the 40 items"):
            wrong()
    with pytest.raises(UsageError, match="at least one"):
        bundle.recommend(["u0001"], 0)
    assert bundle.similar(["i0001"], 3)["similar_item_id"].tolist() != []
    assert bundle.why("../../x", "i0001")[0].contribution >= 0


def test_unknown_candidate_is_named_with_those_there_are(workspace):
    with pytest.raises(UsageError, match=r"no candidate 'x'.*top, small"):
        step.run(PARAMS, workspace, "x")


def test_unknown_kind_is_named_with_those_there_are():
    with pytest.raises(UsageError, match="popularity"):
        model_class("x")


def test_catalogue_finds_each_kind_in_its_own_module():
    for kind in kinds():
        assert model_class(kind).__module__ == module_of(kind) == f"rectory.models.{kind}"

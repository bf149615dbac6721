"""Gaps between the groups of declared user attributes, from per-user frames."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from rectory.evaluation.compare import compare, gain_over
from rectory.evaluation.gaps import attribute_gaps, gap_increases
from rectory.evaluation.holdout import evaluate
from rectory.params.sections import EvaluateParams
from tests.unit.evaluation.small_world import make_bundle
from tests.unit.evaluation.test_holdout import PARAMS, window

SAMPLED = EvaluateParams(bootstrap_samples=200)


def frame(boost: float = 0.3) -> pd.DataFrame:
    """60 users; the young are served better by `boost`, cities are alike."""
    draw = np.random.default_rng(1)
    young = np.arange(60) < 30
    return pd.DataFrame(
        {
            "user_id": [f"u{number:02d}" for number in range(60)],
            "ndcg@10": draw.uniform(0.2, 0.4, 60) + boost * young,
            "slice:users=warm": True,
            "slice:user.age=q1": young,
            "slice:user.age=q4": ~young,
            "slice:user.city=a=b": np.arange(60) % 2 == 0,
            "slice:user.city=Oslo": np.arange(60) % 2 == 1,
            "slice:user.alone=only": True,
        }
    )


def test_each_attribute_has_its_largest_gap() -> None:
    found = attribute_gaps(frame(), "ndcg@10", SAMPLED)
    assert list(found) == ["age", "city"], "one group alone has no gap, and warm users are no attribute"
    assert (found["age"].best, found["age"].worst) == ("q1", "q4")
    assert found["age"].gap.low > 0.2
    assert found["city"].gap.low == 0
    assert {found["city"].best, found["city"].worst} == {"a=b", "Oslo"}


def test_users_without_a_value_are_left_out() -> None:
    some = frame()
    some.loc[:10, "ndcg@10"] = np.nan
    assert attribute_gaps(some, "ndcg@10", SAMPLED)["age"].gap.users == 49
    assert attribute_gaps(frame(), "mrr@10", SAMPLED) == {}


def test_a_challenger_that_serves_some_better_widens_the_gap() -> None:
    found = gap_increases(frame(0.3), frame(0.0), "ndcg@10", SAMPLED)
    assert found["age"].low > 0.3
    assert found["city"].low <= 0 <= found["city"].high
    compared = compare(frame(0.3), frame(0.0), "ndcg@10", SAMPLED)
    assert compared.gap_increases == found
    assert set(compared.to_dict()["gap_increases"]) == {"age", "city"}


def test_an_evaluation_reports_the_gaps_of_declared_attributes() -> None:
    table = pd.DataFrame({"user_id": ["anna", "bob", "dora", "eve"], "city": ["Rome", "Rome", "Oslo", "Oslo"]})
    asked = window(users=table, targets=["buy"])
    lists = {None: ["c"], "anna": ["a", "d"], "bob": ["c"]}
    found = evaluate(make_bundle(lists, ["anna", "bob"], list("abcd")), asked, PARAMS, "recall@2")
    gap = found.to_dict()["gaps"]["city"]
    assert (gap["metric"], gap["best"], gap["worst"]) == ("recall@2", "Rome", "Oslo")
    assert gap["gap"]["value"] == pytest.approx(1)
    json.dumps(found.to_dict(), allow_nan=False)
    assert evaluate(make_bundle(lists, ["anna"], list("abcd")), asked, PARAMS).gaps["city"].metric == "ndcg@2"


def test_more_confidence_is_asked_of_the_whole_alone_and_the_whole_alone_is_the_same_gain() -> None:
    usual, sure = (compare(frame(0.3), frame(0.1), "ndcg@10", SAMPLED, level) for level in (0.95, 0.975))
    assert sure.overall.absolute.low < usual.overall.absolute.low
    assert sure.overall.absolute.high > usual.overall.absolute.high
    assert sure.slices == usual.slices and sure.gap_increases == usual.gap_increases
    assert gain_over(frame(0.3), frame(0.1), "ndcg@10", SAMPLED, 0.975) == sure.overall

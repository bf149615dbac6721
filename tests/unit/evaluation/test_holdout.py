"""Windows, relevance, slices and lists, worked out by hand on four test users."""

from __future__ import annotations

import json
from math import log2
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rectory.errors import DataError, UsageError
from rectory.evaluation import holdout as holdout_module
from rectory.evaluation.compare import compare
from rectory.evaluation.holdout import Holdout, evaluate, milliseconds_per_user
from rectory.evaluation.relevance import Window, build_window, head_items, tail_items
from rectory.evaluation.slices import lukewarm_limit, user_slices
from rectory.params.sections import EvaluateParams
from tests.unit.evaluation.small_world import make_bundle, make_card, make_test, make_train

PARAMS = EvaluateParams(k=(2, 3), bootstrap_samples=100, min_slice_users=1)
ABC = {None: ["a", "b", "c"]}


def window(repeats: str = "allow", rows: Any = None, users: pd.DataFrame | None = None, **card: Any) -> Window:
    test = make_test() if rows is None else make_test(rows)
    train = make_train(repeats == "allow")
    return build_window(test, train, make_card(repeats, **card), head_share=0.5, user_table=users)


def relevant(of: Window) -> dict[str, set[str]]:
    rows = ((user, of.relevant[[row]].indices) for row, user in enumerate(of.users))
    return {str(user): set(of.items.decode(items)) for user, items in rows}


def candidate() -> Any:
    return make_bundle(ABC, ["anna", "bob", "carl", "dora"], ["a", "b", "c", "d"])


def value(of: Holdout, metric: str, part: str | None = None) -> float:
    return (of.metrics if part is None else of.slices[part])[metric].value


def test_each_target_item_is_relevant_once_and_items_without_history_too() -> None:
    assert relevant(window(targets=["buy"])) == {
        "anna": {"a", "d"}, "bob": {"c"}, "dora": {"a", "new"}, "eve": {"b"},
    }  # fmt: skip


def test_without_targets_every_event_with_weight_counts() -> None:
    assert relevant(window())["bob"] == {"b", "c"}
    assert relevant(window(weights={"view": 0}))["bob"] == {"c"}


def test_where_repeats_are_excluded_consumed_items_are_not_relevant() -> None:
    found = relevant(window("exclude", targets=["buy"]))
    assert found["anna"] == {"d"}
    assert found["dora"] == {"a", "new"}


def test_users_without_a_relevant_item_are_counted_out() -> None:
    rows = [("anna", "a", "buy"), ("bob", "d", "buy"), ("carl", "d", "view")]
    assert relevant(window("exclude", rows, targets=["buy"])) == {"bob": {"d"}}


def test_nobody_to_ask_is_refused_with_the_cure() -> None:
    with pytest.raises(DataError, match=r"small: no user has a relevant item.*split\.test_days.*targets"):
        window(rows=[("anna", "a", "view")], targets=["buy"])
    with pytest.raises(DataError, match="0 rows"):
        window(rows=[])


def test_metrics_by_hand() -> None:
    # Lists are a b c. Relevant: anna {a, d} place 1; bob {c} place 3; dora {a, new} place 1; eve {b} place 2.
    found = evaluate(candidate(), window(targets=["buy"]), PARAMS)
    best_of_two = 1 + 1 / log2(3)
    assert found.users == 4
    assert value(found, "ndcg@2") == pytest.approx((2 / best_of_two + 0 + 1 / log2(3)) / 4)
    assert value(found, "ndcg@3") == pytest.approx((2 / best_of_two + 1 / log2(4) + 1 / log2(3)) / 4)
    assert value(found, "recall@3") == pytest.approx((0.5 + 1 + 0.5 + 1) / 4)
    assert value(found, "precision@2") == pytest.approx((0.5 + 0 + 0.5 + 0.5) / 4)
    assert value(found, "mrr@3") == pytest.approx((1 + 1 / 3 + 1 + 1 / 2) / 4)
    assert value(found, "hit_rate@2") == pytest.approx(3 / 4)
    # Beside being right: 4 recommendable items (d stands in the item table), 3 users with history.
    assert value(found, "coverage@2") == 2 / 4
    assert value(found, "gini@2") == pytest.approx(0.5)
    assert value(found, "novelty@3") == pytest.approx((0 + log2(3 / 2) + log2(3)) / 3)
    assert value(found, "popularity_share@3") == pytest.approx(2 / 3)  # head: 2 of the 3 items with history: a, b
    assert value(found, "diversity@2") == pytest.approx(0)
    assert value(found, "diversity@3") == pytest.approx(2 / 3)


def test_item_slices_count_only_their_own_relevant_items() -> None:
    found = evaluate(candidate(), window(targets=["buy"]), PARAMS)
    # Head: anna a, dora a, eve b. Middle: bob c. Tail, nobody had them before: anna d, dora new.
    assert found.slices["items=head"]["recall@3"].users == 3
    assert value(found, "recall@3", "items=head") == 1
    assert found.slices["items=middle"]["recall@3"].users == 1
    assert value(found, "recall@3", "items=middle") == 1
    assert found.slices["items=tail"]["recall@3"].users == 2
    assert value(found, "recall@3", "items=tail") == 0
    # Repeat: anna a only. New: anna d, bob c, dora a and new, eve b.
    assert found.slices["interactions=repeat"]["ndcg@2"].users == 1
    assert value(found, "ndcg@2", "interactions=repeat") == 1
    assert value(found, "recall@3", "interactions=new") == pytest.approx((0 + 1 + 0.5 + 1) / 4)


def test_every_relevant_item_belongs_to_exactly_one_of_head_middle_and_tail() -> None:
    asked = window()
    parts = [asked.parts[f"items={name}"] for name in ("head", "middle", "tail")]
    assert sum(part.nnz for part in parts) == asked.relevant.nnz
    assert sum(parts).nnz == asked.relevant.nnz


def test_the_tail_has_the_last_twentieth_of_the_interactions_and_no_head_item() -> None:
    popularity = np.array([60, 20, 10, 5, 3, 2, 0])
    assert tail_items(popularity, 0.2).tolist() == [False] * 4 + [True] * 3  # 3 + 2 of 100; with the 5 it were 10%
    assert tail_items(popularity, 0.9).tolist() == [False] * 6 + [True]  # the others are head
    assert tail_items(np.zeros(3, dtype=int), 0.5).all()


@pytest.mark.parametrize(
    ("interactions", "few"), [([0, 2, 2, 2, 9], 1), ([6, 6, 7], 3), ([100, 200, 300], 5), ([1, 1, 1], 1), ([0, 0], 1)]
)
def test_what_few_interactions_are_comes_from_the_log(interactions: list[int], few: int) -> None:
    assert lukewarm_limit(np.array(interactions)) == few


def test_lukewarm_users_have_few_interactions() -> None:
    users = np.array(list("abcd"), dtype=object)
    slices = user_slices(users, np.array([0, 1, 3, 4]), None, None, few=3)
    assert slices["users=cold"].tolist() == [True, False, False, False]
    assert slices["users=lukewarm"].tolist() == [False, True, True, False]
    assert slices["users=warm"].tolist() == [False, False, False, True]


def test_slices_say_what_they_hold_in_this_log() -> None:
    meanings = evaluate(candidate(), window(targets=["buy"]), PARAMS).meanings
    assert meanings["users=warm"] == "more than 1 interactions before the window"
    assert meanings["items=head"] == "2 items, 85.7% of the interactions before the window"
    assert "users=lukewarm" not in meanings, "a slice that is not reported needs no words"


def test_slices_of_users_tell_what_their_lists_are_like_and_slices_of_items_do_not() -> None:
    found = evaluate(
        make_bundle({None: ["a", "b"], "bob": ["d", "c"]}, ["anna", "bob"], list("abcd")), window(), PARAMS
    )
    assert value(found, "popularity_share@2", "users=cold") == 1
    assert value(found, "popularity_share@2", "users=warm") == 0.5
    assert value(found, "novelty@2", "users=warm") > value(found, "novelty@2", "users=cold")
    assert "novelty@2" not in found.slices["items=head"]
    assert not any("coverage" in metric or "gini" in metric for part in found.slices.values() for metric in part)


def test_without_repeats_there_is_no_slice_by_repeat() -> None:
    found = evaluate(candidate(), window("exclude", targets=["buy"]), PARAMS)
    assert not [name for name in found.slices if name.startswith("interactions=")]


def test_user_slices_by_history() -> None:
    # anna has 4 interactions, bob 2, dora and eve none; half of the median user's 2 is 1, which none of them has.
    masks = window(targets=["buy"]).masks
    assert masks["users=cold"].tolist() == [False, False, True, True]
    assert masks["users=lukewarm"].tolist() == [False] * 4
    assert masks["users=warm"].tolist() == [True, True, False, False]
    assert masks["activity=low"].tolist() == [False, True, False, False]
    assert masks["activity=high"].tolist() == [True, False, False, False]


def test_user_slices_by_declared_attribute() -> None:
    table = pd.DataFrame(
        {
            "user_id": ["anna", "bob", "dora", "zoe"],
            "age": [20.0, 40.0, np.nan, 90.0],
            "city": ["Rome", None, "Rome", "Oslo"],
            "likes": [["x", "y"], ["y"], None, ["x"]],
            "about": ["some text"] * 4,
        }
    )
    masks = window(targets=["buy"], users=table).masks
    of_users = {name: mask.tolist() for name, mask in masks.items() if name.startswith("user.")}
    assert of_users["user.city=Rome"] == [True, False, True, False]
    assert "user.city=Oslo" not in of_users  # zoe is no test user
    assert of_users["user.likes=y"] == [True, True, False, False]
    assert of_users["user.likes=x"] == [True, False, False, False]
    assert of_users["user.age=q1"] == [True, False, False, False]
    assert of_users["user.age=q4"] == [False, True, False, False]
    assert not [name for name in of_users if "about" in name]


def test_small_slices_are_left_out() -> None:
    found = evaluate(candidate(), window(targets=["buy"]), PARAMS.model_copy(update={"min_slice_users": 2}))
    assert set(found.slices) == {"items=head", "items=tail", "interactions=new", "users=cold", "users=warm"}
    assert "slice:activity=low" not in found.per_user


def test_consumed_items_of_this_window_are_left_out_of_every_bundles_lists() -> None:
    # An old bundle knows neither bob nor his history; what he had since must still not fill his list.
    old = make_bundle({None: ["c", "gone", "b", "a", "d"]}, ["anna"], ["a", "b", "c", "d", "gone"])
    asked = window("exclude", targets=["buy"])
    lists = holdout_module.ranked_lists(old, asked, 3)
    names = {
        str(user): [asked.items.ids[i] if i >= 0 else None for i in row]
        for user, row in zip(asked.users, lists, strict=True)
    }
    assert names["anna"] == [None, "d", None]  # had a, b, c; "gone" is in no table today, then the list ends
    assert names["bob"] == ["c", None, "d"]
    assert names["dora"] == ["c", None, "b"]


def test_older_bundle_with_other_ids_is_asked_the_same_questions() -> None:
    asked = window(targets=["buy"])
    new = evaluate(candidate(), asked, PARAMS)
    old = evaluate(make_bundle(ABC, ["zoe", "bob"], ["c", "b", "zzz", "a"]), asked, PARAMS)
    pd.testing.assert_frame_equal(new.per_user, old.per_user)


def test_blocks_do_not_change_the_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(f"u{number:03d}", "abcd"[number % 4], "buy") for number in range(150)]
    asked = window("exclude", rows)
    whole = evaluate(candidate(), asked, PARAMS).to_dict()
    monkeypatch.setattr(holdout_module, "_SCORES_AT_ONCE", 1)
    monkeypatch.setattr(holdout_module, "_LISTS_AT_ONCE", 7)
    assert evaluate(candidate(), asked, PARAMS).to_dict() == whole


def test_items_without_features_have_no_diversity_and_a_note() -> None:
    asked = build_window(make_test(), make_train(features=False), make_card(), head_share=0.5)
    found = evaluate(candidate(), asked, PARAMS)
    assert "diversity@2" not in found.metrics
    assert "no declared features" in found.notes["diversity@2"]


def test_a_model_that_says_nothing_is_measured_as_zero() -> None:
    found = evaluate(make_bundle({None: []}, ["anna"], ["a"]), window(), PARAMS)
    assert value(found, "ndcg@2") == 0
    assert value(found, "coverage@2") == 0
    assert "novelty@2" in found.notes
    json.dumps(found.to_dict(), allow_nan=False)


def test_report_is_deterministic_and_plain_json() -> None:
    one, two = (evaluate(candidate(), window(), PARAMS) for _ in range(2))
    assert json.dumps(one.to_dict(), allow_nan=False) == json.dumps(two.to_dict(), allow_nan=False)
    pd.testing.assert_frame_equal(one.per_user, two.per_user)
    assert list(one.plot("x").columns) == ["candidate", "metric", "value", "low", "high"]


def test_k_beyond_the_catalogue() -> None:
    found = evaluate(candidate(), window(), EvaluateParams(k=(50,), bootstrap_samples=100, min_slice_users=1))
    assert 0 < value(found, "ndcg@50") <= 1


def test_head_has_its_exact_size_and_ties_go_to_the_smaller_code() -> None:
    assert head_items(np.array([0, 3, 3, 3, 9]), 0.5).tolist() == [False, True, False, False, True]
    assert not head_items(np.zeros(3, dtype=int), 0.5).any()


def test_gains_are_paired_overall_and_for_each_slice() -> None:
    asked = window(targets=["buy"])
    better = {None: ["a", "b", "c"], "anna": ["a", "d", "c"], "bob": ["c", "a", "b"]}
    challenger = evaluate(make_bundle(better, ["anna", "bob"], ["a", "b", "c", "d"]), asked, PARAMS)
    champion = evaluate(candidate(), asked, PARAMS)
    found = compare(challenger.per_user, champion.per_user, "recall@2", PARAMS)
    assert found.overall.absolute.value == pytest.approx((0.5 + 1) / 4)
    assert found.slices["users=warm"].absolute.value == pytest.approx(0.75)
    assert found.slices["users=cold"].absolute.value == 0
    assert found.slices["items=tail"].absolute.value == pytest.approx(1 / 2)
    assert found.slices["items=tail"].absolute.users == 2
    assert found.slices["items=tail"].relative is None  # the champion finds no tail item
    assert set(found.slices) == set(champion.slices)
    json.dumps(found.to_dict(), allow_nan=False)


def test_gains_of_different_users_or_unknown_metrics_are_refused() -> None:
    frame = evaluate(candidate(), window(), PARAMS).per_user
    with pytest.raises(UsageError, match="different users"):
        compare(frame, frame.iloc[1:], "ndcg@2", PARAMS)
    with pytest.raises(UsageError, match="ndcg@7 was not measured"):
        compare(frame, frame, "ndcg@7", PARAMS)


def test_milliseconds_are_positive_and_zero_for_nobody() -> None:
    assert milliseconds_per_user(candidate(), np.array(["anna", "unknown"], dtype=object), 2) > 0
    assert milliseconds_per_user(candidate(), np.array([], dtype=object), 2) == 0

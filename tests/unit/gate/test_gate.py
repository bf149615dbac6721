"""The gate's rules, each with a case that passes and one that does not."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from rectory.metrics.bootstrap import Gain, Interval
from rectory.models.protocol import FitReport
from rectory.params.sections import GateParams
from rectory.registry.gate import (
    Baseline,
    Case,
    Champion,
    Contender,
    Decision,
    Try,
    choose_challengers,
    decide,
    refit_reasons,
    settle,
)

RULES = GateParams()


def gain(value: float, low: float, high: float, users: int = 500) -> Gain:
    """A relative gain on a champion whose metric is 0.2."""
    absolute = Interval(value / 5, low / 5, high / 5, users)
    return Gain(absolute, Interval(value, low, high, users))


BETTER = gain(0.05, 0.02, 0.08)
UNSURE = gain(0.01, -0.004, 0.023)
WORSE = gain(-0.05, -0.08, -0.02)
HYBRID = Contender("hybrid", 0.21, 500, 0.3, 0.5, 1.5, 12.0)
RECENT = Contender("recent", 0.2, 500, 0.1, 0.9, 0.1, 0.5, baseline=True)
SEATED = Champion("old", BETTER, 0.25, 0.6, {"users=cold": UNSURE}, version="3", lineage_key="k3")


def failed(decision: Decision) -> list[str]:
    return [reason.rule for reason in decision.reasons if not reason.passed]


def text(decision: Decision, rule: str) -> str:
    return next(reason.text for reason in decision.reasons if reason.rule == rule)


def test_promotes_what_beats_champion_and_baselines_within_all_limits() -> None:
    decision = decide(HYBRID, SEATED, [Baseline("recent", BETTER)], RULES)
    assert decision.promote
    assert [reason.rule for reason in decision.reasons] == [
        "baseline:recent", "gain", "slices", "coverage", "popularity", "latency", "size",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"coverage": 0.1}, "coverage"),
        ({"popularity_share": 1.0}, "popularity"),
        ({"milliseconds_per_user": 60.0}, "latency"),
        ({"model_mb": 5000.0}, "size"),
        ({"coverage": float("nan")}, "measured"),
    ],
)
def test_a_refit_must_give_lists_of_the_same_sort_whatever_it_scores(change: dict[str, float], rule: str) -> None:
    measured = replace(HYBRID, popularity_share=0.4)
    assert all(one.passed for one in refit_reasons(replace(measured, value=0.0), measured, RULES))
    found = refit_reasons(replace(measured, **change), measured, RULES)
    assert [one.rule for one in found if not one.passed] == [rule]


def test_unsure_gain_is_refused_with_its_numbers() -> None:
    decision = decide(HYBRID, replace(SEATED, gain=UNSURE), [], RULES)
    assert failed(decision) == ["gain"]
    assert text(decision, "gain") == (
        "ndcg@10 +1.0% [-0.4%, +2.3%] against champion old version 3: the interval reaches below the asked +0.0%"
    )


@pytest.mark.parametrize(("asked", "promoted"), [(0.019, True), (0.02, True), (0.021, False)])
def test_lower_bound_must_reach_the_asked_gain(asked: float, promoted: bool) -> None:
    assert decide(HYBRID, SEATED, [], GateParams(min_gain=asked)).promote is promoted


def test_a_twin_of_the_champion_shows_no_gain_unless_none_is_asked() -> None:
    twin = replace(SEATED, gain=gain(0, 0, 0))
    assert failed(decide(HYBRID, twin, [], RULES)) == ["gain"]
    assert decide(HYBRID, twin, [], GateParams(min_gain=-0.01)).promote


def test_too_few_users_give_no_evidence() -> None:
    few = replace(SEATED, gain=gain(0.5, 0.5, 0.5, users=1))
    decision = decide(HYBRID, few, [Baseline("recent", gain(0.5, 0.5, 0.5, users=1))], RULES)
    assert failed(decision) == ["baseline:recent", "gain"]
    assert "only 1 test users, 20 are asked" in text(decision, "gain")


def test_champion_at_zero_is_compared_in_absolute_terms() -> None:
    above = replace(SEATED, gain=Gain(Interval(0.1, 0.05, 0.15, 500), None))
    assert decide(HYBRID, above, [], RULES).promote
    level = replace(SEATED, gain=Gain(Interval(0.0, 0.0, 0.0, 500), None))
    decision = decide(HYBRID, level, [], RULES)
    assert failed(decision) == ["gain"]
    assert "the absolute gain counts" in text(decision, "gain")


def test_every_baseline_must_be_beaten_with_confidence() -> None:
    baselines = [Baseline("popularity", BETTER), Baseline("recent", UNSURE)]
    decision = decide(HYBRID, None, baselines, RULES)
    assert failed(decision) == ["baseline:recent"]
    assert decide(HYBRID, None, baselines, GateParams(beat_baselines=False)).promote


def test_a_baseline_as_challenger_only_must_not_be_beaten_by_another() -> None:
    assert decide(RECENT, None, [Baseline("popularity", UNSURE)], RULES).promote
    assert failed(decide(RECENT, None, [Baseline("popularity", WORSE)], RULES)) == ["baseline:popularity"]


@pytest.mark.parametrize(("loss", "rules"), [(gain(-0.2, -0.3, -0.11), []), (gain(-0.2, -0.3, -0.09), ["slices"])])
def test_slice_may_not_lose_with_confidence(loss: Gain, rules: list[str]) -> None:
    decision = decide(HYBRID, replace(SEATED, slices={"users=cold": loss}), [], RULES)
    assert decision.promote is bool(rules)
    if not rules:
        assert failed(decision) == ["slice:users=cold"]
        assert "ndcg@10 -20.0% [-30.0%, -11.0%] for users=cold" in text(decision, "slice:users=cold")
    assert decide(HYBRID, replace(SEATED, slices={"a": loss}), [], GateParams(max_slice_loss=None)).promote


@pytest.mark.parametrize(
    ("change", "rule", "key"),
    [
        ({"coverage": 0.1}, "coverage", "min_coverage_ratio"),
        ({"popularity_share": 1.0}, "popularity", "max_popularity_share_ratio"),
        ({"milliseconds_per_user": 51.0}, "latency", "max_milliseconds_per_user"),
        ({"model_mb": 5000.0}, "size", "max_model_mb"),
    ],
)
def test_guardrail_refuses_and_can_be_switched_off(change: dict[str, float], rule: str, key: str) -> None:
    champion = replace(SEATED, popularity_share=0.4)
    challenger = replace(HYBRID, **change)
    decision = decide(challenger, champion, [], RULES)
    assert failed(decision) == [rule]
    assert decide(challenger, champion, [], GateParams(**{key: None})).promote


def test_all_missed_rules_are_named_at_once() -> None:
    bad = replace(HYBRID, coverage=0.01, milliseconds_per_user=100.0)
    decision = decide(bad, replace(SEATED, gain=WORSE), [Baseline("recent", WORSE)], RULES)
    assert failed(decision) == ["baseline:recent", "gain", "coverage", "latency"]


def test_the_champion_itself_is_not_promoted_again() -> None:
    decision = decide(replace(HYBRID, lineage_key="k3"), SEATED, [], RULES)
    assert failed(decision) == ["already_champion"]
    assert "already champion" in text(decision, "already_champion")


def test_unknown_lineages_are_not_taken_for_equal() -> None:
    assert decide(HYBRID, replace(SEATED, lineage_key=None), [], RULES).promote


@pytest.mark.parametrize("change", [{"value": float("nan")}, {"users": 0}, {"milliseconds_per_user": float("inf")}])
def test_undefined_numbers_are_refused_with_a_reason(change: dict[str, float]) -> None:
    decision = decide(replace(HYBRID, **change), None, [], RULES)
    assert failed(decision) == ["measured"]


def test_comparison_without_finite_numbers_is_refused() -> None:
    nan = gain(float("nan"), float("nan"), float("nan"))
    decision = decide(HYBRID, replace(SEATED, gain=nan, slices={"a": nan}), [Baseline("recent", nan)], RULES)
    assert failed(decision) == ["baseline:recent", "gain", "slice:a"]
    assert failed(decide(HYBRID, replace(SEATED, coverage=float("nan")), [], RULES)) == ["coverage"]


def test_note_says_why_a_champion_does_not_count() -> None:
    decision = decide(HYBRID, None, [], RULES, note="the champion was made for movielens_100k")
    assert "the champion was made for movielens_100k" in text(decision, "no_champion")


def report(score: float, metric: str = "ndcg@10") -> FitReport:
    return FitReport(metric, score, {})


def test_challengers_are_the_best_candidate_then_the_best_baseline_by_validation() -> None:
    reports = {name: report(s) for name, s in {"a": 0.1, "b": 0.3, "floor": 0.4, "recent": 0.5, "c": 0.3}.items()}
    assert choose_challengers(reports, ["recent", "floor"]) == [Try("b"), Try("recent")]
    assert choose_challengers(dict(reversed(reports.items())), ["floor", "recent"]) == [Try("b"), Try("recent")]
    assert choose_challengers({"a": report(float("nan")), "z": report(0.0)}, []) == [Try("z")]
    assert choose_challengers({"floor": report(0.1)}, ["floor"]) == [Try("floor")]
    with pytest.raises(ValueError, match="different metrics"):
        choose_challengers({"a": report(0.1), "b": report(0.1, "recall@10")}, [])


def test_of_several_challengers_each_further_one_is_asked_for_more_unless_it_needs_no_gain() -> None:
    reports = {name: report(score) for name, score in {"a": 0.4, "b": 0.3, "c": 0.2, "floor": 0.1}.items()}
    found = choose_challengers(reports, ["floor"], tries=3)
    assert [one.name for one in found] == ["a", "b", "c", "floor"]
    assert [one.confidence for one in found] == pytest.approx([0.95, 0.975, 1 - 0.05 / 3, 0.95])
    own = choose_challengers(reports, ["floor"], "b", tries=2)
    assert own == [Try("a"), Try("b"), Try("floor")], "the champion's recipe is asked for no gain"
    assert choose_challengers(reports, ["floor"], "c", tries=9)[3] == Try("floor"), "no more than there are"


def cases(of_hybrid: Gain, of_recent: Gain, champion: Champion | None = None) -> list[Case]:
    return [
        Case(HYBRID, champion, (Baseline("recent", of_hybrid), Baseline("popularity", BETTER))),
        Case(RECENT, None if champion is None else replace(champion, gain=WORSE), (Baseline("popularity", of_recent),)),
    ]


def test_first_challenger_that_passes_is_seated() -> None:
    decision = settle(cases(BETTER, BETTER), RULES)
    assert decision.promote
    assert decision.challenger is HYBRID
    assert not decision.attempts


def test_best_baseline_is_tried_when_the_candidate_does_not_beat_it() -> None:
    decision = settle(cases(UNSURE, UNSURE), RULES)
    assert decision.promote
    assert decision.challenger is RECENT
    assert [tried.challenger.name for tried in decision.attempts] == ["hybrid"]


def test_empty_seat_is_filled_even_if_nobody_passes_and_the_reasons_say_so() -> None:
    decision = settle(cases(UNSURE, WORSE), RULES)
    assert decision.promote
    assert decision.challenger is RECENT
    assert "takes the empty seat" in text(decision, "empty_seat")
    assert "baseline:popularity" in text(decision, "empty_seat")


def test_empty_seat_is_not_given_to_what_cannot_be_measured() -> None:
    broken = [replace(case, challenger=replace(case.challenger, value=float("nan"))) for case in cases(BETTER, BETTER)]
    assert not settle(broken, RULES).promote
    half = [cases(UNSURE, UNSURE)[0], broken[1]]
    assert settle(half, RULES).challenger is HYBRID


def test_champion_stays_when_nobody_passes() -> None:
    decision = settle(cases(UNSURE, BETTER, SEATED), RULES)
    assert not decision.promote
    assert decision.challenger is HYBRID
    assert [tried.challenger.name for tried in decision.attempts] == ["recent"]


def test_decision_as_json_has_the_documented_keys_and_no_nan() -> None:
    decision = settle(cases(UNSURE, BETTER, SEATED), RULES)
    tree = json.loads(json.dumps(decision.to_dict(), allow_nan=False))
    assert set(tree) == {"promoted", "challenger", "champion_before", "reasons", "gains", "attempts"}
    assert tree["champion_before"] == {"name": "old", "version": "3"}
    assert tree["challenger"]["name"] == "hybrid"
    assert set(tree["reasons"][0]) == {"rule", "passed", "text"}
    assert tree["gains"]["champion"]["relative"]["low"] == 0.02
    assert tree["gains"]["champion"]["slices"]["users=cold"]["relative"]["low"] == -0.004
    assert set(tree["gains"]["baselines"]) == {"recent", "popularity"}
    nan = decide(replace(HYBRID, value=float("nan")), None, [], RULES)
    assert json.loads(json.dumps(nan.to_dict(), allow_nan=False))["challenger"]["value"] is None


OWN = replace(HYBRID, recipe="r1")


def seated_by(recipe: str | None, gained: Gain) -> Champion:
    return replace(SEATED, gain=gained, recipe=recipe, slices={})


def test_the_champions_own_recipe_on_newer_data_needs_no_gain() -> None:
    decision = decide(OWN, seated_by("r1", UNSURE), [], RULES)
    assert decision.promote
    assert text(decision, "refresh") == (
        "ndcg@10 +1.0% [-0.4%, +2.3%] against champion old version 3, the same recipe on older data: the interval does "
        "not lie wholly below the allowed -1.0%"
    )


@pytest.mark.parametrize(("high", "promoted"), [(-0.011, False), (-0.01, True), (0.0, True)])
def test_a_refreshed_recipe_is_refused_when_it_is_shown_to_be_worse(high: float, promoted: bool) -> None:
    decision = decide(OWN, seated_by("r1", gain(-0.05, -0.08, high)), [], RULES)
    assert decision.promote is promoted
    assert failed(decision) == ([] if promoted else ["refresh"])


@pytest.mark.parametrize("recipe", ["r2", None])
def test_another_recipe_must_show_a_gain(recipe: str | None) -> None:
    assert failed(decide(OWN, seated_by(recipe, UNSURE), [], RULES)) == ["gain"]
    assert failed(decide(HYBRID, seated_by(recipe, UNSURE), [], RULES)) == ["gain"]


def test_a_refresh_may_not_be_beaten_by_a_baseline_must_keep_slices_and_rest_on_users() -> None:
    assert failed(decide(OWN, seated_by("r1", BETTER), [Baseline("recent", WORSE)], RULES)) == ["baseline:recent"]
    lost = replace(seated_by("r1", UNSURE), slices={"users=cold": gain(-0.2, -0.3, -0.11)})
    assert failed(decide(OWN, lost, [], RULES)) == ["slice:users=cold"]
    assert failed(decide(OWN, seated_by("r1", gain(0.5, 0.5, 0.5, users=19)), [], RULES)) == ["refresh"]


def test_a_refresh_that_is_level_with_a_baseline_takes_the_seat_and_another_recipe_does_not() -> None:
    level = [Baseline("recent", UNSURE)]
    assert decide(OWN, seated_by("r1", UNSURE), level, RULES).promote
    assert failed(decide(OWN, seated_by("r2", BETTER), level, RULES)) == ["baseline:recent"]


def test_without_the_rule_a_refresh_is_a_challenger_like_any_other() -> None:
    assert failed(decide(OWN, seated_by("r1", UNSURE), [], GateParams(max_refresh_loss=None))) == ["gain"]


def test_refresh_over_a_champion_at_zero_may_not_be_wholly_below_it() -> None:
    for high, promoted in ((0.001, True), (-0.001, False)):
        level = seated_by("r1", Gain(Interval(-0.002, -0.004, high, 500), None))
        assert decide(OWN, level, [], RULES).promote is promoted


def test_the_champions_recipe_tries_between_the_best_candidate_and_the_best_baseline() -> None:
    scores = {"hybrid": 0.3, "frequency": 0.2, "recent": 0.25}
    reports = {name: FitReport("ndcg@10", score, {}) for name, score in scores.items()}
    assert choose_challengers(reports, ["recent"], "frequency") == [Try("hybrid"), Try("frequency"), Try("recent")]
    assert choose_challengers(reports, ["recent"], "hybrid") == [Try("hybrid"), Try("recent")]
    assert choose_challengers(reports, ["recent"], "recent") == [Try("hybrid"), Try("recent")]
    assert choose_challengers(reports, ["recent"], None) == [Try("hybrid"), Try("recent")]

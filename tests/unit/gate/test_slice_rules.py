"""What the gate asks of parts of the users: slices that must not lose, gaps that must not widen."""

from __future__ import annotations

from dataclasses import replace
from math import nan

import pytest

from rectory.metrics.bootstrap import Gain, Interval
from rectory.params.sections import GateParams
from rectory.registry.gate import decide
from rectory.registry.slice_rules import gap_reasons, slice_reasons
from tests.unit.gate.test_gate import BETTER, HYBRID, SEATED, UNSURE, WORSE, failed, gain, text

COLD = GateParams(slices={"users=cold": 0.02})


@pytest.mark.parametrize(
    ("low", "passed"), [(-0.019, True), (-0.02, True), (-0.021, False)], ids=["above", "at the limit", "below"]
)
def test_a_named_slice_must_rule_out_the_loss(low: float, passed: bool) -> None:
    found = slice_reasons({"users=cold": gain(0.05, low, 0.1)}, COLD)
    assert (found[0].rule, found[0].passed) == ("slice:users=cold", passed)
    assert ("reaches below" in found[0].text) is not passed
    assert "the allowed -2.0%" in found[0].text


def test_a_loss_that_is_not_shown_refuses_only_in_a_named_slice() -> None:
    unsure = {"users=cold": gain(-0.05, -0.3, 0.2), "users=warm": gain(-0.05, -0.3, 0.2)}
    found = {reason.rule: reason.passed for reason in slice_reasons(unsure, COLD)}
    assert found == {"slice:users=cold": False, "slices": True}


def test_an_equal_challenger_loses_nowhere() -> None:
    assert slice_reasons({"users=cold": gain(0, 0, 0)}, GateParams(slices={"users=cold": 0.0}))[0].passed


def test_a_named_slice_that_was_not_measured_refuses_and_names_those_that_were() -> None:
    decision = decide(HYBRID, replace(SEATED, slices={"users=warm": BETTER}), [], COLD)
    assert failed(decision) == ["slice:users=cold"]
    assert "there are: users=warm" in text(decision, "slice:users=cold")


@pytest.mark.parametrize(("high", "passed"), [(0.1, True), (0.0, True), (-0.001, False)])
def test_where_the_champion_is_at_zero_a_named_slice_has_little_to_lose(high: float, passed: bool) -> None:
    found = slice_reasons({"users=cold": Gain(Interval(-0.01, -0.1, high, 50), None)}, COLD)
    assert found[0].passed is passed


def test_a_named_slice_with_broken_numbers_refuses() -> None:
    assert not slice_reasons({"users=cold": gain(nan, nan, nan)}, COLD)[0].passed


def test_a_named_slice_is_judged_once_by_its_own_limit() -> None:
    rules = GateParams(slices={"users=cold": 0.5}, max_slice_loss=0.01)
    assert all(reason.passed for reason in slice_reasons({"users=cold": WORSE, "users=warm": UNSURE}, rules))
    assert "none of 1 other slices" in slice_reasons({"users=cold": WORSE, "users=warm": UNSURE}, rules)[1].text


def test_gaps_are_no_rule_unless_asked_for() -> None:
    assert gap_reasons({"age": Interval(0.5, 0.4, 0.6, 100)}, GateParams()) == []


@pytest.mark.parametrize(("low", "passed"), [(0.049, True), (0.05, True), (0.051, False)])
def test_a_gap_that_is_shown_to_widen_refuses(low: float, passed: bool) -> None:
    seated = replace(
        SEATED, gap_increases={"age": Interval(0.08, low, 0.1, 100), "city": Interval(-0.1, -0.2, 0.0, 90)}
    )
    decision = decide(HYBRID, seated, [], GateParams(max_gap_increase=0.05))
    assert decision.promote is passed
    if passed:
        assert "of 2 user attributes none" in text(decision, "gaps")
    else:
        assert failed(decision) == ["gap:age"]
        assert "+8.0% [+5.1%, +10.0%]: wholly above the allowed +5.0%" in text(decision, "gap:age")


def test_a_gap_with_broken_numbers_refuses() -> None:
    assert not gap_reasons({"age": Interval(nan, nan, nan, 10)}, GateParams(max_gap_increase=0.5))[0].passed


def test_the_decision_keeps_the_gap_increases() -> None:
    seated = replace(SEATED, gap_increases={"age": Interval(0.08, 0.0, 0.1, 100)})
    kept = decide(HYBRID, seated, [], GateParams()).to_dict()["gains"]["champion"]["gap_increases"]
    assert kept == {"age": {"value": 0.08, "low": 0.0, "high": 0.1, "users": 100}}

"""What the gate makes of behavioural tests."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rectory.params.sections import GateParams
from rectory.registry.behaviour_rules import Behaviour, behaviour_reasons
from rectory.registry.gate import Contender, decide

RESULTS = (
    Behaviour("codes_mean_nothing", True, "100.0% of places hold the same item"),
    Behaviour("small_change_small_effect", False, "users keep 0.02 of their first 10, 0.50 is asked"),
    Behaviour("near_misses_are_near", True, "not applicable: the card declares no item features", applicable=False),
)
HYBRID = Contender("hybrid", 0.21, 500, 0.3, 0.5, 1.5, 12.0, behaviour=RESULTS)


def refused_by(rules: GateParams, challenger: Contender = HYBRID) -> list[str]:
    decision = decide(challenger, None, [], rules)
    failed = [reason.rule for reason in decision.reasons if not reason.passed]
    assert decision.promote == (not failed)
    return failed


def text(rules: GateParams, rule: str, challenger: Contender = HYBRID) -> str:
    return next(reason.text for reason in decide(challenger, None, [], rules).reasons if reason.rule == rule)


def test_a_failed_test_refuses_with_its_numbers_and_the_summary_names_what_was_not_asked() -> None:
    assert refused_by(GateParams()) == ["behaviour:small_change_small_effect"]
    assert text(GateParams(), "behaviour:small_change_small_effect") == (
        "hybrid fails small_change_small_effect: users keep 0.02 of their first 10, 0.50 is asked"
    )
    assert text(GateParams(), "behaviour") == (
        "hybrid passes 1 of 2 behavioural tests; not applicable: near_misses_are_near"
    )


@pytest.mark.parametrize(
    ("rules", "challenger", "why"),
    [
        (GateParams(behaviour="warn"), HYBRID, "told only: gate.behaviour is warn"),
        (GateParams(behaviour_waive=("small_change_small_effect",)), HYBRID, "waived by gate.behaviour_waive"),
        (GateParams(), replace(HYBRID, baseline=True), "told only: a baseline"),
    ],
)
def test_what_is_spared_is_still_told(rules: GateParams, challenger: Contender, why: str) -> None:
    assert refused_by(rules, challenger) == []
    assert text(rules, "behaviour:small_change_small_effect", challenger).endswith(f"({why})")


def test_waiving_one_test_spares_no_other() -> None:
    assert refused_by(GateParams(behaviour_waive=("codes_mean_nothing",))) == ["behaviour:small_change_small_effect"]


def test_off_and_runs_of_old_versions_say_nothing() -> None:
    asked = {"challenger": "hybrid", "baseline": False}
    assert behaviour_reasons(RESULTS, GateParams(behaviour="off"), **asked) == []  # type: ignore[arg-type]
    assert behaviour_reasons(None, GateParams(), **asked) == []  # type: ignore[arg-type]
    assert refused_by(GateParams(), replace(HYBRID, behaviour=None)) == []


def test_the_decision_keeps_every_result() -> None:
    kept = decide(HYBRID, None, [], GateParams()).to_dict()["challenger"]["behaviour"]
    assert [one["name"] for one in kept] == [one.name for one in RESULTS]
    assert kept[1] == {"name": RESULTS[1].name, "passed": False, "text": RESULTS[1].text, "applicable": True}
    assert "behaviour" not in decide(replace(HYBRID, behaviour=None), None, [], GateParams()).to_dict()["challenger"]

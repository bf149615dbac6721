"""What may not sit: a blocked version, and one whose files are damaged."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rectory.params.sections import GateParams
from rectory.registry.gate import Baseline, Case, Decision, decide, settle
from tests.unit.gate.test_gate import BETTER, HYBRID, RECENT, SEATED

RULES = GateParams()
BLOCKED = replace(HYBRID, blocked="rolled back by ann: sells worse")
DAMAGED = replace(HYBRID, damaged="2 of its files differ from what was registered")


def failed(decision: Decision) -> list[str]:
    return [reason.rule for reason in decision.reasons if not reason.passed]


def test_a_blocked_version_is_refused_by_name_however_good() -> None:
    decision = decide(BLOCKED, SEATED, [Baseline("recent", BETTER)], RULES)
    assert failed(decision) == ["blocked"]
    assert "sells worse" in decision.reasons[-1].text
    assert decision.to_dict()["challenger"]["blocked"] == BLOCKED.blocked


def test_damaged_files_are_refused_before_any_number_is_looked_at() -> None:
    decision = decide(DAMAGED, SEATED, [], RULES)
    assert failed(decision) == ["artefacts"]
    assert [reason.rule for reason in decision.reasons] == ["artefacts"]


@pytest.mark.parametrize("unfit", [BLOCKED, DAMAGED])
def test_neither_takes_an_empty_seat(unfit: object) -> None:
    alone = settle([Case(unfit, None, ())], RULES)  # type: ignore[arg-type]
    assert not alone.promote
    both = settle([Case(unfit, None, ()), Case(RECENT, None, ())], RULES)  # type: ignore[arg-type]
    assert both.promote and both.challenger.name == "recent"


def test_others_say_nothing_of_either() -> None:
    assert not {"blocked", "damaged"} & decide(HYBRID, SEATED, [], RULES).to_dict()["challenger"].keys()

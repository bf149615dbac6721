"""The gate's rules about behavioural tests. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from rectory.params.sections import GateParams
from rectory.registry.reasons import Reason


@dataclass(frozen=True)
class Behaviour:
    """One behavioural test's result, as the step behave wrote it. Where it is not applicable it counts as passed."""

    name: str
    passed: bool
    text: str
    applicable: bool = True

    @classmethod
    def of(cls, result: Mapping[str, Any]) -> Self:
        return cls(str(result["name"]), bool(result["passed"]), str(result["text"]), bool(result["applicable"]))


def behaviour_reasons(
    results: Sequence[Behaviour] | None, rules: GateParams, *, challenger: str, baseline: bool
) -> list[Reason]:
    """One reason for each test that failed, and one that says what became of the others.

    A failure refuses, unless the rule is `warn`, the test is waived, or the challenger is a baseline: a plain list that
    everybody understands is the last resort, not a recipe to be examined.

    Args:
        results: None: the step behave did not run for this candidate (a run of an older version).
    """
    if rules.behaviour == "off" or results is None:
        return []
    reasons = []
    for result in results:
        if result.passed:
            continue
        spared = _spared(result.name, rules, baseline)
        text = f"{challenger} fails {result.name}: {result.text}" + (f" ({spared})" if spared else "")
        reasons.append(Reason(f"behaviour:{result.name}", spared is not None, text))
    asked = [result for result in results if result.applicable]
    others = [result.name for result in results if not result.applicable]
    text = f"{challenger} passes {sum(result.passed for result in asked)} of {len(asked)} behavioural tests"
    if others:
        text += f"; not applicable: {', '.join(others)}"
    return [*reasons, Reason("behaviour", True, text)]


def _spared(name: str, rules: GateParams, baseline: bool) -> str | None:
    """Why a failed test refuses nobody; None: it does."""
    if baseline:
        return "told only: a baseline"
    if rules.behaviour == "warn":
        return "told only: gate.behaviour is warn"
    return "waived by gate.behaviour_waive" if name in rules.behaviour_waive else None

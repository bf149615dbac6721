"""What a rule of the gate says, and gains in words."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Any

from rectory.metrics.bootstrap import CONFIDENCE, Gain, Interval


@dataclass(frozen=True)
class Reason:
    """One rule: whether it passed, and a sentence with the numbers."""

    rule: str
    passed: bool
    text: str

    def to_dict(self) -> dict[str, Any]:
        return {"rule": self.rule, "passed": self.passed, "text": self.text}


def decisive(gain: Gain) -> Interval:
    """The relative gain; the absolute one where there is no relative one."""
    return gain.absolute if gain.relative is None else gain.relative


def sound(gain: Gain) -> bool:
    """Finite numbers of at least one user."""
    numbers = [gain.absolute, *([] if gain.relative is None else [gain.relative])]
    return all(finite(one) for one in numbers) and gain.absolute.users > 0


def finite(one: Interval) -> bool:
    """All three numbers are."""
    return all(isfinite(end) for end in (one.value, one.low, one.high))


def gain_text(gain: Gain) -> str:
    """`+1.0% [-0.4%, +2.3%]`, or the absolute gain where there is no relative one; tells another level than 95%."""
    level = "" if gain.confidence == CONFIDENCE else f" (a {100 * gain.confidence:.4g}% interval)"
    if gain.relative is None:
        one = gain.absolute
        return f"{one.value:+.4f} [{one.low:+.4f}, {one.high:+.4f}]{level}"
    return percent_text(gain.relative) + level


def percent_text(one: Interval) -> str:
    """`+1.0% [-0.4%, +2.3%]`."""
    return f"{one.value:+.1%} [{one.low:+.1%}, {one.high:+.1%}]"

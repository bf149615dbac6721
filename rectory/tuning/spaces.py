"""What may be tuned of each kind of candidate, and between which limits.

A key that a fit chooses by itself (half-lives, epochs) is not tuned again: every trial is a whole search on the
validation window, and the lists that it searches stay as params.yaml has them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from rectory.errors import UsageError
from rectory.params.candidates import CandidateParams

_DIGITS = 3
"""Significant digits of a proposed number: more would be noise in params.yaml."""


@dataclass(frozen=True)
class Number:
    """A number from `low` to `high`, both included; whole when both are ints. log: equal ratios are equally likely."""

    key: str
    low: float
    high: float
    log: bool = False

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def with_default(self, default: Any) -> Number:
        """Widened so that the default lies in it."""
        if default is None:
            return self
        return Number(self.key, min(self.low, default), max(self.high, default), self.log and default > 0)

    def value(self, proposed: Any, default: Any) -> Any:
        """What a proposal means: as it is where it is the default, else rounded."""
        if self.whole or proposed == default:
            return proposed
        return min(max(float(f"{proposed:.{_DIGITS}g}"), self.low), self.high)

    def proposal(self, value: Any) -> Any:
        """What stands for a value in a proposal."""
        return value

    def facts(self) -> dict[str, Any]:
        return {"low": self.low, "high": self.high, "log": self.log}


@dataclass(frozen=True)
class Choice:
    """One of `values`, which have no order."""

    key: str
    values: tuple[Any, ...]

    def with_default(self, default: Any) -> Choice:
        """Lengthened so that the default is among them."""
        known = any(_same(value, default) for value in self.values)
        return self if known else Choice(self.key, (*self.values, default))

    def value(self, proposed: Any, default: Any) -> Any:  # noqa: ARG002 - as a number's
        found = next(value for value in self.values if _same(_label(value), proposed))
        return list(found) if isinstance(found, tuple) else found

    def proposal(self, value: Any) -> Any:
        """What stands for a value in a proposal."""
        return _label(value)

    @property
    def proposals(self) -> tuple[Any, ...]:
        """What optuna can keep: a list as its JSON."""
        return tuple(_label(value) for value in self.values)

    def facts(self) -> dict[str, Any]:
        return {"values": list(self.values)}


Dimension = Number | Choice
Space = tuple[Dimension, ...]

_PENALTIES = (0.0, 1e-6, 1e-5, 1e-4)

SPACES: dict[str, Space | str] = {
    "popularity": "its fit tries every pair of windows_days and half_lives_days already: lengthen these lists in "
    "params.yaml instead",
    "personal_frequency": (Choice("popularity_window_days", (3.0, 7.0, 14.0, 28.0, 56.0, 112.0, None)),),
    # Its fit tries weightings, neighbours, decays and what fills up.
    "item_knn": (Number("min_users", 1, 20, log=True),),
    "user_knn": "its fit tries likenesses, neighbours, decays and what fills up already: lengthen these lists in "
    "params.yaml instead",
    "ease": (Number("links", 30, 3000, log=True),),
    # Its fit tries decays, powers and what fills up.
    "transitions": (
        Number("lags", 1, 12),
        Number("neighbours", 20, 500, log=True),
        Number("recent", 10, 1000, log=True),
        Choice("basket_seconds", (0.0, 60.0, 600.0, 3600.0, 86_400.0)),
        Number("largest_basket", 10, 100, log=True),
    ),
    "content": "its fit tries all that its lists name already: lengthen half_lives_days, lean_on or the popularity "
    "lists in params.yaml instead",
    # Their fits try half-lives, penalties, confidences and what fills up.
    "als": (Number("components", 16, 256, log=True),),
    "bpr": (Number("components", 16, 256, log=True), Number("learning_rate", 0.005, 0.2, log=True)),
    "lightfm_hybrid": (
        Number("components", 16, 128, log=True),
        Number("learning_rate", 0.01, 0.2, log=True),
        Choice("loss", ("warp", "bpr", "logistic")),
        Choice("item_alpha", _PENALTIES),
        Choice("user_alpha", _PENALTIES),
        Choice("use_user_features", (True, False)),
        Choice("use_item_features", (True, False)),
    ),
    # Sources are tuned as candidates of their own; its fit chooses among them and how many trees are kept.
    "blend": (
        Number("proposals", 20, 200, log=True),
        Number("windows", 1, 6),
        Number("leaves", 4, 63, log=True),
        Number("learning_rate", 0.01, 0.2, log=True),
    ),
}
"""Kind -> what is tuned, or why nothing is. A new kind adds an entry here."""


def space_of(candidate: CandidateParams) -> Space:
    """What is tuned of this candidate; limits are widened so that its own values, the defaults, lie in them.

    Raises:
        UsageError: nothing is tuned of its kind; says why.
    """
    space = SPACES.get(candidate.kind, "rectory/tuning/spaces.py has no entry for it")
    if isinstance(space, str):
        raise UsageError(f"candidates of kind {candidate.kind!r} cannot be tuned: {space}.")
    return tuple(one.with_default(getattr(candidate, one.key)) for one in space)


def defaults_of(candidate: CandidateParams, space: Space) -> dict[str, Any]:
    """The candidate's own values of the tuned keys."""
    dumped = candidate.model_dump(mode="json")
    return {one.key: dumped[one.key] for one in space}


def with_values(candidate: CandidateParams, values: dict[str, Any]) -> CandidateParams:
    """The candidate with other values of some keys, validated.

    Raises:
        pydantic.ValidationError: the values do not go together.
    """
    return type(candidate).model_validate({**candidate.model_dump(mode="json"), **values})


def _label(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | tuple | dict) else value


def _same(one: Any, other: Any) -> bool:
    """Equal, and of one kind: True is no 1."""
    return isinstance(one, bool) == isinstance(other, bool) and _label(one) == _label(other)

"""Ways to run the loop, and what each does when it walks through a row of dates.

`replay` is pure apart from what it asks a `Day`: who would challenge, what the gate would see, what drift says. A day
knows nothing of what came after it, and no day is asked about before the days before it are decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from rectory.errors import DataError, UsageError
from rectory.params.sections import GateParams
from rectory.registry.gate import Case, Decision, settle

REFIT = "+refit"
BASES = {
    "never": "the first champion stays; nothing is trained after the first date",
    "always": "the newest challenger takes the seat, whatever it is worth",
    "greater": "a challenger takes the seat when its mean is above the champion's, by however little",
    "gate": "Rectory's gate decides",
    "gate_strict": "Rectory's gate without its rule for refreshes: newer data alone must show a gain as well",
    "on_drift": "a date without a drift alarm trains nothing; on an alarm Rectory's gate decides",
}
REFIT_MEANING = "the seated recipe is fitted again on everything up to the date before it serves"
DEFAULT_POLICIES = (*BASES, "never+refit", "always+refit", "gate+refit")


@dataclass(frozen=True)
class Policy:
    """base: one of BASES. refit: what serves is the seated recipe, fitted on everything up to the date."""

    name: str
    base: str
    refit: bool

    @property
    def meaning(self) -> str:
        return f"{BASES[self.base]}; {REFIT_MEANING}" if self.refit else BASES[self.base]


def policy_of(name: str) -> Policy:
    """`gate`, `gate+refit`.

    Raises:
        UsageError: there is no such policy.
    """
    base = name.removesuffix(REFIT)
    if base not in BASES:
        raise UsageError(
            f"no policy {name!r}; there are {', '.join(BASES)}, each also with {REFIT} behind it (gate{REFIT})."
        )
    return Policy(name, base, name != base)


@dataclass(frozen=True)
class Kept:
    """A model that a backtest keeps in a date's folder, in the place of a registered version.

    version: the date that it was trained on.
    """

    candidate: str
    version: str
    lineage_key: str
    recipe: str
    trained_until: str

    @property
    def model(self) -> str:
        """Name of the model among all of a backtest's."""
        return f"{self.version}.{self.candidate}"


@dataclass(frozen=True)
class Turn:
    """What a policy did on a date.

    retrained: the fits of the date were paid for. promoted: the seat changed hands; not said of the first champion.
    before: who held the seat. newest: who challenges first on this date, whatever the policy.
    challenger: who was tried (the one that won, else the first); None: nobody.
    drift: {status, moved, calibrated} of the seated champion's inputs; None on the first date.
    """

    date: str
    retrained: bool
    promoted: bool
    before: Kept | None
    seat: Kept
    newest: Kept
    challenger: Kept | None
    drift: dict[str, Any] | None
    reasons: tuple[dict[str, Any], ...]

    @property
    def alarm(self) -> bool:
        return self.drift is not None and self.drift["status"] == "drift"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> Turn:
        def kept(one: dict[str, Any] | None) -> Kept | None:
            return None if one is None else Kept(**one)

        read = {name: kept(facts[name]) for name in ("before", "seat", "newest", "challenger")}
        return cls(**{**facts, **read, "reasons": tuple(facts["reasons"])})


class Day(Protocol):
    """What can be known on a date."""

    @property
    def date(self) -> str: ...
    @property
    def moment(self) -> str:
        """ISO."""
        ...

    def kept(self, candidate: str) -> Kept:
        """The candidate as it was fitted on this date."""
        ...

    def newest(self) -> Kept:
        """Who challenges first, whoever holds the seat."""
        ...

    def cases(self, seat: Kept | None, rules: GateParams) -> list[Case]:
        """What the gate would see, challenger by challenger; empty: the seat's holder cannot be compared with."""
        ...

    def drift(self, known_until: str) -> dict[str, Any]:
        """Of the inputs since that moment."""
        ...


def replay(policy: Policy, days: Sequence[Day], rules: GateParams) -> list[Turn]:
    """Walk through the days. All policies begin with the same first champion: the one that the gate seats.

    Raises:
        DataError: the first day can seat nobody.
    """
    turns: list[Turn] = []
    for day in days:
        if not turns:
            turns.append(_first(day, rules))
            continue
        before = turns[-1].seat
        known_until = days[len(turns) - 1].moment if policy.refit else before.trained_until
        drift = day.drift(known_until)
        turns.append(_next(policy, day, before, drift, rules))
    return turns


def _first(day: Day, rules: GateParams) -> Turn:
    decision = settle(day.cases(None, rules), rules)
    if not decision.promote:
        reasons = "; ".join(reason.text for reason in decision.reasons if not reason.passed)
        raise DataError(f"on the first date, {day.date}, nobody can be champion: {reasons}. Choose a later --from.")
    seat = day.kept(decision.challenger.name)
    return Turn(day.date, True, False, None, seat, day.newest(), seat, None, _told(decision))


def _next(policy: Policy, day: Day, before: Kept, drift: dict[str, Any], rules: GateParams) -> Turn:
    newest = day.newest()

    def turn(*reasons: dict[str, Any], retrained: bool = True, promoted: str = "", tried: str = "") -> Turn:
        seat = day.kept(promoted) if promoted else before
        challenger = day.kept(promoted or tried) if promoted or tried else None
        return Turn(day.date, retrained, bool(promoted), before, seat, newest, challenger, drift, reasons)

    if policy.base == "never":
        return turn(retrained=False)
    if policy.base == "on_drift" and drift["status"] != "drift":
        return turn(_reason("drift", False, f"drift is {drift['status']}: nothing was trained"), retrained=False)
    if policy.base == "always":
        return turn(_reason("always", True, f"{newest.candidate} is the newest challenger"), promoted=newest.candidate)
    if policy.base == "gate_strict":
        rules = rules.model_copy(update={"max_refresh_loss": None})
    cases = day.cases(before, rules)
    if not cases:
        return turn(_reason("comparable", False, f"{before.model} knows the test window"), tried=newest.candidate)
    if policy.base == "greater":
        return _greater(cases, turn)
    decision = settle(cases, rules)
    name = decision.challenger.name
    return turn(*_told(decision), promoted=name if decision.promote else "", tried=name)


def _greater(cases: list[Case], turn: Any) -> Turn:
    """The first challenger whose mean is above the champion's."""
    reasons = []
    for case in cases:
        gain = 0.0 if case.champion is None else case.champion.gain.absolute.value
        text = f"{case.challenger.name} {gain:+.4f} against the champion on the test window"
        reasons.append(_reason("greater", gain > 0, text))
        if gain > 0:
            won: Turn = turn(*reasons, promoted=case.challenger.name)
            return won
    lost: Turn = turn(*reasons, tried=cases[0].challenger.name)
    return lost


def _told(decision: Decision) -> tuple[dict[str, Any], ...]:
    """The decision's reasons, then of each other challenger what it missed."""
    tried = [
        _reason(reason.rule, False, f"{attempt.challenger.name} was refused: {reason.text}")
        for attempt in decision.attempts
        for reason in attempt.reasons
        if not reason.passed
    ]
    return (*(reason.to_dict() for reason in decision.reasons), *tried)


def _reason(rule: str, passed: bool, text: str) -> dict[str, Any]:
    return {"rule": rule, "passed": passed, "text": text}

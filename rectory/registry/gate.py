"""The promotion gate: numbers in, a decision with its reasons out. Pure: it reads and writes nothing.

docs/gate.md states the policy. `choose_challengers` says who may try, `decide` judges one challenger, `settle` goes
through the challengers in order and sees to it that a first champion results.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf, isfinite
from typing import Any

from rectory.metrics.bootstrap import CONFIDENCE, Gain, Interval
from rectory.models.protocol import FitReport
from rectory.params.sections import GateParams
from rectory.registry.behaviour_rules import Behaviour, behaviour_reasons
from rectory.registry.reasons import Reason, decisive, gain_text, sound
from rectory.registry.slice_rules import gap_reasons, slice_reasons

__all__ = [
    "Baseline",
    "Case",
    "Champion",
    "Contender",
    "Decision",
    "Reason",
    "Try",
    "choose_challengers",
    "decide",
    "refit_reasons",
    "settle",
]


@dataclass(frozen=True)
class Contender:
    """What is known of a challenger from today's test window.

    value: mean of the gate's metric. coverage: share of the catalogue in any list. popularity_share: share of places
    that hold a head item. lineage_key, recipe: None when unknown; equal recipes are one candidate with equal params.
    behaviour: results of the behavioural tests; None: they were not run.
    blocked: why the version may not be promoted by itself. damaged: what is wrong with its files.
    """

    name: str
    value: float
    users: int
    coverage: float
    popularity_share: float
    milliseconds_per_user: float
    model_mb: float
    baseline: bool = False
    lineage_key: str | None = None
    recipe: str | None = None
    behaviour: tuple[Behaviour, ...] | None = None
    blocked: str | None = None
    damaged: str | None = None


@dataclass(frozen=True)
class Champion:
    """The seated champion, measured on the same window; gain and slices are the challenger's over it.

    gap_increases: user attribute -> how much wider the challenger's largest gap is, in shares of each model's mean.
    """

    name: str
    gain: Gain
    coverage: float
    popularity_share: float
    slices: Mapping[str, Gain] = field(default_factory=dict)
    gap_increases: Mapping[str, Interval] = field(default_factory=dict)
    version: str | None = None
    lineage_key: str | None = None
    recipe: str | None = None


@dataclass(frozen=True)
class Baseline:
    """A baseline on the same window; gain is the challenger's over it."""

    name: str
    gain: Gain


@dataclass(frozen=True)
class Decision:
    """Promote or not, and why. `attempts`: decisions on the other challengers that were tried."""

    promote: bool
    challenger: Contender
    champion: Champion | None
    baselines: tuple[Baseline, ...]
    reasons: tuple[Reason, ...]
    attempts: tuple[Decision, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For decision.json. Numbers that are not finite become null."""
        before = self.champion
        left_out = {"behaviour", *(key for key in ("blocked", "damaged") if getattr(self.challenger, key) is None)}
        contender = {key: _plain(value) for key, value in vars(self.challenger).items() if key not in left_out}
        if self.challenger.behaviour is not None:
            contender["behaviour"] = [vars(result) for result in self.challenger.behaviour]
        gains: dict[str, Any] = {"baselines": {rival.name: rival.gain.to_dict() for rival in self.baselines}}
        if before is not None:
            slices = {name: gain.to_dict() for name, gain in before.slices.items()}
            gaps = {name: increase.to_dict() for name, increase in before.gap_increases.items()}
            gains["champion"] = before.gain.to_dict() | {"slices": slices, "gap_increases": gaps}
        return {
            "promoted": self.promote,
            "challenger": contender,
            "champion_before": None if before is None else {"name": before.name, "version": before.version},
            "reasons": [reason.to_dict() for reason in self.reasons],
            "gains": gains,
            "attempts": [
                {
                    "challenger": tried.challenger.name,
                    "promoted": tried.promote,
                    "reasons": [reason.to_dict() for reason in tried.reasons],
                }
                for tried in self.attempts
            ],
        }


@dataclass(frozen=True)
class Case:
    """One challenger with what it is held against."""

    challenger: Contender
    champion: Champion | None
    baselines: tuple[Baseline, ...]


@dataclass(frozen=True)
class Try:
    """A candidate that tries for the seat. confidence: of the intervals by which it must show a gain."""

    name: str
    confidence: float = CONFIDENCE


def choose_challengers(
    fit_reports: Mapping[str, FitReport], baselines: Collection[str], champion: str | None = None, tries: int = 1
) -> list[Try]:
    """Who tries for the seat, in order: the best candidates that are no baselines, the champion's own recipe on today's
    data, the best baseline.

    By validation score and never by the test window, which would flatter whoever was lucky there. Equal scores go by
    name. Candidates without a finite score stand behind those with one. Of several candidates one is lucky more easily
    than one alone, so the n-th is asked for a gain by the intervals that Bonferroni would ask of n: 95%, 97.5%, 98.3%.
    Whoever needs to show no gain has 95%.

    Args:
        champion: candidate of the seated champion's recipe; None: the seat is empty or nobody was fitted by it today.
        tries: candidates that are no baselines.
    Raises:
        ValueError: scores of different metrics.
    """
    metrics = {report.metric for report in fit_reports.values()}
    if len(metrics) > 1:
        raise ValueError(f"validation scores of different metrics cannot be ranked: {sorted(metrics)}")

    def by_score(name: str) -> tuple[float, str]:
        score = fit_reports[name].score
        return (-score if isfinite(score) else inf, name)

    ranked = sorted(fit_reports, key=by_score)
    others = [name for name in ranked if name not in baselines]
    own = [champion] if champion is not None and champion in fit_reports else []
    names = dict.fromkeys([*others[:tries], *own, *[name for name in ranked if name in baselines][:1]])
    asked = {name: 1 - (1 - CONFIDENCE) / place for place, name in enumerate(others[:tries], 1) if name not in own}
    return [Try(name, asked.get(name, CONFIDENCE)) for name in names]


def settle(cases: Sequence[Case], rules: GateParams, note: str | None = None) -> Decision:
    """Try the challengers in order; the first that passes is promoted.

    If none passes, the first one's decision is returned with the others as `attempts`. If moreover the seat is empty,
    it is filled all the same, since serving nobody is worse than a plain list: by the last that can be measured, which
    is the best baseline where there is one.

    Args:
        cases: in the order of `choose_challengers`, at least one.
        note: why a seated champion was left out of account, e.g. it was made for another data set.
    """
    if not cases:
        raise ValueError("no challengers")
    tried: list[Decision] = []
    for case in cases:
        decision = decide(case.challenger, case.champion, case.baselines, rules, note)
        if decision.promote:
            return replace(decision, attempts=tuple(tried))
        tried.append(decision)
    working = [one for one in tried if one.champion is None and _may_sit(one.challenger)]
    if working:
        chosen = working[-1]
        missed = ", ".join(reason.rule for reason in chosen.reasons if not reason.passed)
        text = (
            f"{chosen.challenger.name} takes the empty seat: no challenger passed every rule (it missed: {missed}), "
            "but without a champion nobody is served at all"
        )
        seated = replace(chosen, promote=True, reasons=(*chosen.reasons, Reason("empty_seat", True, text)))
        return replace(seated, attempts=tuple(one for one in tried if one is not chosen))
    return replace(tried[0], attempts=tuple(tried[1:]))


def decide(
    challenger: Contender,
    champion: Champion | None,
    baselines: Sequence[Baseline],
    rules: GateParams,
    note: str | None = None,
) -> Decision:
    """Judge one challenger by every rule, so that a refusal names all that is missing at once.

    Args:
        champion: None: the seat is empty, or its holder cannot be compared (`note` says why).
        baselines: the other candidates that are baselines, in any order.
    """
    rivals = tuple(sorted(baselines, key=lambda rival: rival.name))
    if champion is not None and champion.lineage_key is not None and champion.lineage_key == challenger.lineage_key:
        text = f"{challenger.name} is already champion: same data, params, code and lock as {_seated(champion)}"
        reasons = [Reason("already_champion", False, text)]
    elif challenger.damaged is not None:
        reasons = [Reason("artefacts", False, f"{challenger.name} cannot be served: {challenger.damaged}")]
    elif (fault := _fault(challenger)) is not None:
        reasons = [Reason("measured", False, f"{challenger.name} cannot be judged: {fault}")]
    else:
        reasons = [
            *_against_baselines(challenger, champion, rivals, rules),
            *_against_champion(challenger, champion, rules, note),
        ]
        reasons += behaviour_reasons(
            challenger.behaviour, rules, challenger=challenger.name, baseline=challenger.baseline
        )
        reasons += _limits(challenger, rules)
        if challenger.blocked is not None:
            reasons.append(Reason("blocked", False, f"{challenger.name} is blocked: {challenger.blocked}"))
    return Decision(all(reason.passed for reason in reasons), challenger, champion, rivals, tuple(reasons))


def refit_reasons(refit: Contender, measured: Contender, rules: GateParams) -> list[Reason]:
    """What is asked of the champion's recipe, fitted again on what the test window holds too: no gain, which nothing
    could show honestly, but lists of the same sort, and the limits on speed and size.

    Args:
        measured: the fit that the gate has measured, on the same window as the refit.
    """
    if (fault := _fault(refit)) is not None:
        return [Reason("measured", False, f"the refit cannot serve: {fault}")]
    return [*_guardrails(refit, measured, rules), *_limits(refit, rules)]


def _may_sit(challenger: Contender) -> bool:
    """An empty seat asks for no evidence, but for files that load, numbers that mean something and no block."""
    return challenger.blocked is None and challenger.damaged is None and _fault(challenger) is None


def _fault(challenger: Contender) -> str | None:
    """Why the numbers of a challenger mean nothing, if so."""
    if challenger.users < 1:
        return "no test user has a relevant item"
    for name in ("value", "coverage", "popularity_share", "milliseconds_per_user", "model_mb"):
        if not isfinite(getattr(challenger, name)):
            return f"its {name.replace('_', ' ')} is {getattr(challenger, name)}"
    return None


def _is_refresh(challenger: Contender, champion: Champion | None, rules: GateParams) -> bool:
    """The champion's own recipe on newer data, and the rule `refresh` is on."""
    known = champion is not None and challenger.recipe is not None and rules.max_refresh_loss is not None
    return known and champion is not None and challenger.recipe == champion.recipe


def _against_baselines(
    challenger: Contender, champion: Champion | None, baselines: Sequence[Baseline], rules: GateParams
) -> list[Reason]:
    if not rules.beat_baselines:
        return []
    # To refuse a refresh seats no baseline: it only leaves the same recipe with older data.
    spared = challenger.baseline or _is_refresh(challenger, champion, rules)
    reasons = []
    for rival in baselines:
        rule, shown = f"baseline:{rival.name}", f"{rules.metric} {gain_text(rival.gain)} against {rival.name}"
        deciding = decisive(rival.gain)
        if not sound(rival.gain):
            reasons.append(Reason(rule, False, f"{shown}: not a comparison, the numbers are not finite"))
        elif spared:
            beaten = deciding.high < 0 and deciding.users >= rules.min_users
            text = "the interval lies below zero" if beaten else "not beaten by it with confidence"
            reasons.append(Reason(rule, not beaten, f"{shown}: {text}"))
        elif deciding.users < rules.min_users:
            text = f"only {deciding.users} test users, {rules.min_users} are asked"
            reasons.append(Reason(rule, False, f"{shown}: {text}"))
        else:
            won = deciding.low > 0
            text = "the interval lies above zero" if won else "the interval does not lie above zero"
            reasons.append(Reason(rule, won, f"{shown}: {text}"))
    return reasons


def _against_champion(
    challenger: Contender, champion: Champion | None, rules: GateParams, note: str | None
) -> list[Reason]:
    if champion is None:
        text = f"{challenger.name} needs no gain over a champion: " + (note or "there is none yet")
        return [Reason("no_champion", True, text)]
    compared = _refresh if _is_refresh(challenger, champion, rules) else _enough_gain
    return [
        compared(champion, rules),
        *slice_reasons(champion.slices, rules),
        *gap_reasons(champion.gap_increases, rules),
        *_guardrails(challenger, champion, rules),
    ]


def _refresh(champion: Champion, rules: GateParams) -> Reason:
    """The champion's own recipe on newer data need not prove that newer data is better, only not be shown worse."""
    gain, allowed = champion.gain, -(rules.max_refresh_loss or 0.0)
    shown = f"{rules.metric} {gain_text(gain)} against champion {_seated(champion)}, the same recipe on older data"
    if not sound(gain):
        return Reason("refresh", False, f"{shown}: not a comparison, the numbers are not finite")
    deciding = decisive(gain)
    if deciding.users < rules.min_users:
        return Reason("refresh", False, f"{shown}: only {deciding.users} test users, {rules.min_users} are asked")
    if gain.relative is None:
        allowed = 0.0
    passed = deciding.high >= allowed
    text = "does not lie wholly below" if passed else "lies wholly below"
    return Reason("refresh", passed, f"{shown}: the interval {text} the allowed {allowed:+.1%}")


def _enough_gain(champion: Champion, rules: GateParams) -> Reason:
    gain, against = champion.gain, f"against champion {_seated(champion)}"
    shown = f"{rules.metric} {gain_text(gain)}"
    if not sound(gain):
        return Reason("gain", False, f"{shown} {against}: not a comparison, the numbers are not finite")
    deciding = decisive(gain)
    if deciding.users < rules.min_users:
        text = f"{shown} {against}: only {deciding.users} test users, {rules.min_users} are asked"
        return Reason("gain", False, text)
    if gain.relative is None:
        passed = deciding.low > 0 or (deciding.low == 0 and rules.min_gain < 0)
        text = "high enough" if passed else "not above zero"
        why = "the champion's own value is at or near 0, so the absolute gain counts"
        return Reason("gain", passed, f"{shown} {against}: {why} and its interval is {text}")
    asked = f"the asked {rules.min_gain:+.1%}"
    if deciding.low < rules.min_gain:
        return Reason("gain", False, f"{shown} {against}: the interval reaches below {asked}")
    # With min_gain 0 two models that answer alike would pass forever; only a negative min_gain asks for no gain at all.
    if deciding.low <= 0 <= rules.min_gain:
        return Reason("gain", False, f"{shown} {against}: the interval starts at zero, which is no evidence of a gain")
    return Reason("gain", True, f"{shown} {against}: the interval stays above {asked}")


def _guardrails(challenger: Contender, champion: Champion | Contender, rules: GateParams) -> list[Reason]:
    reasons = []
    if rules.min_coverage_ratio is not None:
        floor = rules.min_coverage_ratio * champion.coverage
        passed = challenger.coverage >= floor
        text = (
            f"catalogue coverage {challenger.coverage:.2%} against the champion's {champion.coverage:.2%}: "
            f"{'at or above' if passed else 'below'} the asked {floor:.2%}"
        )
        reasons.append(Reason("coverage", passed, text))
    if rules.max_popularity_share_ratio is not None:
        ceiling = rules.max_popularity_share_ratio * champion.popularity_share
        passed = challenger.popularity_share <= ceiling
        text = (
            f"popularity share {challenger.popularity_share:.1%} against the champion's "
            f"{champion.popularity_share:.1%}: {'within' if passed else 'above'} the allowed {min(ceiling, 1.0):.1%}"
        )
        reasons.append(Reason("popularity", passed, text))
    return reasons


def _limits(challenger: Contender, rules: GateParams) -> list[Reason]:
    reasons = []
    for rule, label, value, limit, unit in (
        ("latency", "batch scoring", challenger.milliseconds_per_user, rules.max_milliseconds_per_user, "ms a user"),
        ("size", "model size", challenger.model_mb, rules.max_model_mb, "MB"),
    ):
        if limit is not None:
            passed = value <= limit
            text = f"{label} {value:.3g} {unit}: {'within' if passed else 'above'} the allowed {limit:g} {unit}"
            reasons.append(Reason(rule, passed, text))
    return reasons


def _seated(champion: Champion) -> str:
    return champion.name if champion.version is None else f"{champion.name} version {champion.version}"


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not isfinite(value) else value

"""The gate's rules about parts of the users: no slice may lose, no gap between groups may widen. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from rectory.metrics.bootstrap import Gain, Interval
from rectory.params.sections import GateParams
from rectory.registry.reasons import Reason, finite, gain_text, percent_text, sound


def slice_reasons(slices: Mapping[str, Gain], rules: GateParams) -> list[Reason]:
    """One reason for each slice that `gate.slices` names, and what `gate.max_slice_loss` says of all others.

    A named slice bears the burden of proof (non-inferiority): its interval must stay above minus its limit, and a slice
    that was not measured has proved nothing. Of the others nobody asked in particular, and they are many: they must
    only not be shown to lose.
    """
    named = [_named(name, slices, limit, rules.metric) for name, limit in sorted(rules.slices.items())]
    return named + _others({name: gain for name, gain in slices.items() if name not in rules.slices}, rules)


def gap_reasons(increases: Mapping[str, Interval], rules: GateParams) -> list[Reason]:
    """Attributes whose largest gap between groups has widened beyond `gate.max_gap_increase` with confidence.

    Args:
        increases: attribute -> how much wider the challenger's gap is, in shares of each model's mean.
    """
    limit = rules.max_gap_increase
    if limit is None:
        return []
    reasons = []
    for attribute, one in sorted(increases.items()):
        shown = f"the largest gap between groups of {attribute}, as a share of {rules.metric}, {percent_text(one)}"
        if not finite(one):
            reasons.append(Reason(f"gap:{attribute}", False, f"{shown}: the numbers are not finite"))
        elif one.low > limit:
            reasons.append(Reason(f"gap:{attribute}", False, f"{shown}: wholly above the allowed {limit:+.1%}"))
    if not reasons:
        text = (
            f"of {len(increases)} user attributes none has a gap that widens by more than {limit:.1%} with confidence"
        )
        reasons.append(Reason("gaps", True, text))
    return reasons


def _named(name: str, slices: Mapping[str, Gain], limit: float, metric: str) -> Reason:
    rule, allowed = f"slice:{name}", f"the allowed {-limit:+.1%}"
    if name not in slices:
        known = ", ".join(sorted(slices)) or "none"
        text = f"{name} is named by gate.slices and was not measured (evaluate.min_slice_users?); there are: {known}"
        return Reason(rule, False, text)
    gain = slices[name]
    shown = f"{metric} {gain_text(gain)} for {name}"
    if not sound(gain):
        return Reason(rule, False, f"{shown}: not a comparison, the numbers are not finite")
    if gain.relative is None:
        passed = gain.absolute.high >= 0
        why = "the champion's own value is at or near 0 there, so there is next to nothing to lose"
        return Reason(rule, passed, f"{shown}: {why}{'' if passed else ', and that is lost'}")
    passed = gain.relative.low >= -limit
    return Reason(rule, passed, f"{shown}: the interval {'stays above' if passed else 'reaches below'} {allowed}")


def _others(slices: Mapping[str, Gain], rules: GateParams) -> list[Reason]:
    limit = rules.max_slice_loss
    if limit is None:
        return []
    reasons = []
    for name, gain in sorted(slices.items()):
        if not sound(gain):
            reasons.append(Reason(f"slice:{name}", False, f"{name}: not a comparison, the numbers are not finite"))
        elif gain.relative is not None and gain.relative.high < -limit:
            text = f"{rules.metric} {gain_text(gain)} for {name}: the interval lies wholly below {-limit:+.1%}"
            reasons.append(Reason(f"slice:{name}", False, text))
    if not reasons:
        which = f"{len(slices)} other" if rules.slices else f"{len(slices)}"
        text = f"none of {which} slices loses more than {limit:.1%} with confidence"
        reasons.append(Reason("slices", True, text))
    return reasons

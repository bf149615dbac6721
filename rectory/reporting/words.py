"""Facts in words and figures: one voice for the page and the terminal."""

from __future__ import annotations

from datetime import UTC, datetime

from rectory.reporting.summary import CandidateSummary, Interval, Summary

DASH = "\N{EN DASH}"

# name before the "@" -> (what a reader without the field's jargon needs, is more better)
METRICS: dict[str, tuple[str, bool | None]] = {
    "ndcg": ("hits in the list, the higher up the more they count; 1 is a perfect list", True),
    "recall": ("share of what the user took that the list had", True),
    "precision": ("share of the list that the user took", True),
    "f1": ("balance of precision and recall", True),
    "map": ("mean over users of the average precision at each hit", True),
    "mrr": ("one over the rank of the first hit", True),
    "hit_rate": ("share of users with at least one hit", True),
    "coverage": ("share of the catalogue that is shown to somebody", True),
    "novelty": ("how rare the shown items are, in bits", True),
    "diversity": ("how unlike the items of one list are", True),
    "popularity_share": ("share of the shown items that are among the most popular", False),
    "gini": ("inequality of exposure: 0 all items alike, 1 one item has it all", False),
}

BESIDE = ("coverage", "novelty", "diversity", "popularity_share", "gini")
"""Metrics of what lists are like beside being right."""


def explain_metric(metric: str) -> str:
    """A short meaning of `ndcg@10`; empty when it is not a known one."""
    return METRICS.get(metric.partition("@")[0], ("", None))[0]


def more_is_better(metric: str) -> bool | None:
    """Direction of a metric; None: not known, so no best one is marked."""
    return METRICS.get(metric.partition("@")[0], ("", None))[1]


def figure(value: float | None, digits: int = 4) -> str:
    """0.4123, or a dash. Large values keep fewer decimals."""
    if value is None:
        return DASH
    return f"{value:,.{digits if abs(value) < 10 else 2}f}"


def interval(one: Interval | None, digits: int = 4) -> str:
    """0.4123 [0.4010, 0.4231]; without the brackets where there is no interval."""
    if one is None or one.value is None:
        return DASH
    if not spread(one):
        return figure(one.value, digits)
    return f"{figure(one.value, digits)} [{figure(one.low, digits)}, {figure(one.high, digits)}]"


def spread(one: Interval) -> bool:
    """Has a measured interval: values of all lists together (coverage, Gini) repeat themselves as low and high."""
    return one.low is not None and one.high is not None and not one.low == one.value == one.high


def count(value: float | None) -> str:
    """1,469,307, or a dash."""
    return DASH if value is None else f"{value:,.0f}"


def share(part: float, whole: float) -> str:
    """12.3%; tiny but not nothing is <0.1%."""
    if not whole:
        return DASH
    percent = 100 * part / whole
    return "<0.1%" if 0 < percent < 0.1 else f"{percent:.1f}%"


def duration(seconds: float | None) -> str:
    """0.42 s, 12.3 s, 4 min 12 s, 1 h 03 min."""
    if seconds is None:
        return DASH
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def moment(iso: str | None) -> str:
    """2017-12-31 23:59 UTC."""
    if not iso:
        return DASH
    try:
        when = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    when = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    return f"{when:%Y-%m-%d %H:%M} UTC"


def short_hash(value: str | None) -> str:
    """The first 12 characters: enough to tell two apart at sight."""
    return value[:12] if value else DASH


def gain(new: float | None, old: float | None) -> str | None:
    """+12.3%, relative; None when it cannot be said."""
    if new is None or not old:
        return None
    return f"{100 * (new / old - 1):+.1f}%"


def ranked(summary: Summary) -> list[tuple[str, CandidateSummary]]:
    """Candidates, best first by the gate's metric; names break ties."""

    def key(entry: tuple[str, CandidateSummary]) -> tuple[float, str]:
        value = value_of(entry[1], summary.metric)
        return (float("inf") if value is None else -value, entry[0])

    return sorted(summary.candidates.items(), key=key)


def value_of(candidate: CandidateSummary, metric: str) -> float | None:
    one = candidate.metrics.get(metric)
    return one.value if one else None


def winner(summary: Summary) -> str | None:
    """The candidate of this run that is the champion; None when the champion is of an earlier run."""
    champion = summary.decision.champion
    if champion is None or champion.name not in summary.candidates:
        return None
    version = summary.candidates[champion.name].version
    return champion.name if champion.version is None or version is None or version == champion.version else None


def verdict(summary: Summary) -> str:
    """promoted | kept | refused | undecided | failed: the colour of the headline."""
    if not summary.candidates:
        return "failed" if summary.checks.get("fail") else "undecided"
    if summary.decision.promoted:
        return "promoted"
    if summary.decision.champion is None:
        return "refused" if summary.decision.reasons else "undecided"
    return "kept"


def headline(summary: Summary) -> str:
    """What was promoted or refused, and why, in one sentence."""
    state = verdict(summary)
    decision, champion = summary.decision, summary.decision.champion
    if state in ("failed", "undecided"):
        return _undecided(summary)
    why = _why(summary)
    if champion is None:
        return f"Nobody was promoted: {why}"
    name = champion.name + (f" (version {champion.version})" if champion.version else "")
    if seated := [rule.text for rule in decision.rules if rule.rule == "empty_seat"]:
        return f"{seated[0]}."
    if state == "promoted":
        return f"{name} was promoted to champion: {_strength(summary, champion.name)}."
    if decision.challenger and not (decision.challenger == champion.name and winner(summary)):
        return f"{name} stays champion; {decision.challenger} was refused: {why}"
    return f"{name} stays champion: {why}"


def _undecided(summary: Summary) -> str:
    if summary.checks.get("fail") and not summary.candidates:
        return "The data was refused, so nothing was trained on it."
    if not summary.candidates:
        return "No candidate has been measured yet."
    name, _ = ranked(summary)[0]
    return f"No decision yet; of {len(summary.candidates)} candidates {name} does best on the test window."


def _why(summary: Summary) -> str:
    failed = [rule.text for rule in summary.decision.rules if rule.passed is False]
    reasons = failed or summary.decision.reasons
    if not reasons:
        return "the gate gave no reason."
    more = len(failed) - 1
    text = reasons[0].rstrip(".")
    return f"{text}{f' (and {more} more)' if more > 0 else ''}."


def _strength(summary: Summary, name: str) -> str:
    """How good the champion is, beside the best baseline."""
    own = summary.candidates[name].metrics.get(summary.metric) if name in summary.candidates else None
    if own is None or own.value is None:
        return "it passed every rule of the gate"
    text = f"{summary.metric} is {figure(own.value, 3)}"
    others = [
        (value, other)
        for other, facts in summary.candidates.items()
        if facts.baseline and other != name and (value := value_of(facts, summary.metric)) is not None
    ]
    if others:
        best, other = max(others)
        if (lift := gain(own.value, best)) is not None:
            text += f", {lift} against the best baseline, {other}"
    return text

"""The model card: what a registered version is, for whoever meets it in the registry."""

from __future__ import annotations

from typing import Any

from rectory.data.card import Card
from rectory.models.warm_start import told

_WORST_SLICES = 12
_DIRTY = " (the code differed from its commit; the difference is kept as code.patch)"
_HEADER = ["| slice | metric | value | 95% interval | users |", "|---|---|---|---|---|"]


def model_card(card: Card, tags: dict[str, str], metrics: dict[str, Any], fit: dict[str, Any]) -> str:
    """Markdown: what it is, data, windows, metrics with intervals, slices, limits, licence and citation.

    tags: of the version; metrics: of the test window, as evaluate wrote them; fit: what validation found.
    """
    repeats = card.interactions.repeats == "allow"
    role = "Baseline" if tags["baseline"] == "true" else "Candidate"
    chosen = ", ".join(f"{name} = {value}" for name, value in fit.get("chosen", {}).items()) or "nothing to choose"
    lines = [
        f"# {tags['candidate']} ({tags['kind']}) on {tags['dataset']}",
        "",
        f"{role} recommender: ranks the items of `{tags['dataset']}` for a user. Items that the user already had "
        f"{'may be' if repeats else 'are not'} recommended again.",
        "",
        "## Data",
        "",
        card.description or "(the data card has no description)",
        "",
        f"- Snapshot `{tags['snapshot_hash']}`, as of {tags['as_of']}.",
        _training(tags),
        f"- Validation, the newest window before the test, chose: {chosen} "
        f"({fit.get('metric', 'score')} {_number(fit.get('score'))}).",
        *[f"- {note}" for note in told(fit)],
        "",
        "## Test window",
        "",
        *_metric_table(metrics.get("metrics", {})),
        "",
        "Means over users with at least one relevant item; 95% bootstrap intervals over users.",
        "",
        *_slices(metrics.get("slices", {}), str(fit.get("metric"))),
        *_gaps(metrics.get("gaps", {})),
        "## Limits",
        "",
        "- Offline evidence: it tells how well past choices were foreseen, not what a recommendation causes.",
        "- Scores rank the items of one list; they are no probabilities and are not comparable between users.",
        "- Users of whom nothing is known get what the model knows of all users"
        f"{' and of their declared features' if card.users else ''}.",
        f"- Reproducible to the byte: {tags['reproducible']}{_DIRTY if tags['dirty'] == 'true' else ''}.",
        "",
        "## Origin",
        "",
        *_chain(tags),
        f"- Lineage key `{tags['lineage_key']}`; commit `{tags['commit'] or 'none'}`; lock `{tags['lock_hash']}`.",
        f"- Licence of the data: {card.licence or 'not stated in the data card'}.",
        f"- Citation: {card.citation or 'not stated in the data card'}.",
        "",
    ]
    return "\n".join(lines)


def _training(tags: dict[str, str]) -> str:
    if "refit_of" in tags:
        of = f"version {tags['refit_of']}"
        return (
            f"- The recipe of {of}, fitted again on everything up to {tags['trained_until']}. What is said of the test "
            f"window is {of}'s, which had not seen it; nobody has measured the refit."
        )
    return f"- Trained on everything before {tags['trained_until']}; tested on what came from then on, once."


def _chain(tags: dict[str, str]) -> list[str]:
    """The versions that a warm start goes back to."""
    if "warm_start_chain" not in tags:
        return []
    numbers = tags["warm_start_chain"].split(",")
    links = ", ".join(f"version {number}" for number in numbers)
    return [
        f"- Continues from {links}, one after the other; version {numbers[0]} is the full fit, whose search chose the "
        f"settings. A fit from scratch would have the lineage key `{tags['fresh_key']}`."
    ]


def _metric_table(metrics: dict[str, dict[str, Any]]) -> list[str]:
    rows = ["| metric | value | 95% interval | users |", "|---|---|---|---|"]
    rows += [
        f"| {name} | {_number(one['value'])} | {_number(one['low'])} to {_number(one['high'])} | {one['users']} |"
        for name, one in metrics.items()
    ]
    return rows if metrics else ["No user of the test window had a relevant item."]


def _slices(slices: dict[str, dict[str, dict[str, Any]]], metric: str) -> list[str]:
    """The slices in which the model does worst by `metric`: where to be careful."""
    first = [(name, metric, metrics[metric]) for name, metrics in slices.items() if metric in metrics]
    if not first:
        return []
    first.sort(key=lambda one: (one[2]["value"] is None, one[2]["value"]))
    rows = [
        "## Slices, weakest first",
        "",
        *_HEADER,
    ]
    rows += [
        f"| {name} | {metric} | {_number(one['value'])} | {_number(one['low'])} to {_number(one['high'])} "
        f"| {one['users']} |"
        for name, metric, one in first[:_WORST_SLICES]
    ]
    return [*rows, ""]


def _gaps(gaps: dict[str, dict[str, Any]]) -> list[str]:
    """How far the best and the worst served group of each user attribute lie apart."""
    if not gaps:
        return []
    rows = [
        f"| {name} | {one['best']} | {one['worst']} | {_number(one['gap']['value'])} | {_number(one['gap']['low'])} to "
        f"{_number(one['gap']['high'])} |"
        for name, one in gaps.items()
    ]
    about = "Some pair always lies furthest apart; an interval from above 0 on is a gap beyond chance."
    head = ["| attribute | served best | served worst | gap | 95% interval |", "|---|---|---|---|---|"]
    return ["## Gaps between groups of users", "", about, "", *head, *rows, ""]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"

"""Checks on whole tables. docs/validation.md explains each.

A check is {name, status, value, limit, text}; ok: nothing to see; warn: look at it; fail: the data is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from rectory.data.card import Card
from rectory.data.outcome import Outcome
from rectory.data.schema import DUPLICATE_ID, DUPLICATE_ROW
from rectory.data.timestamps import Moments
from rectory.params.sections import ValidateParams

Check = dict[str, Any]
_WORST = 3
_MANY_DUPLICATES = 0.05


def check(name: str, status: str, value: Any, limit: Any, text: str) -> Check:
    return {"name": name, "status": status, "value": value, "limit": limit, "text": text}


def all_checks(
    card: Card,
    outcomes: Mapping[str, Outcome],
    moments: Moments,
    summary: dict[str, Any],
    *,
    limits: ValidateParams,
    now: pd.Timestamp,
    previous: dict[str, Any] | None,
) -> list[Check]:
    """Every check, in the order of the report.

    Args:
        previous: summary of the snapshot before; None: there is none.
        now: moment that the log's age is counted back from.
    """
    checks = [
        *_bad_shares(card, outcomes, limits),
        *_bad_files(card, outcomes, limits),
        *_sizes(card, outcomes["interactions"], summary, limits),
    ]
    if not summary["interactions"]:
        return checks
    return [
        *checks,
        _targets(card, summary),
        _time_span(summary),
        _volume(summary, limits, previous),
        _event_mix(summary, limits, previous),
        _freshness(card, summary, limits, now),
        _clock(outcomes["interactions"]),
        *_duplicates(outcomes),
        *_coverage(summary, limits),
        _local_times(moments),
        *_values(summary, previous),
        *_given_up(outcomes),
    ]


def _bad_shares(card: Card, outcomes: Mapping[str, Outcome], limits: ValidateParams) -> list[Check]:
    checks = []
    for table, outcome in outcomes.items():
        share, limit = round(outcome.bad_share, 6), limits.max_bad_share
        text = f"{len(outcome.quarantine):,} of {outcome.rows_in:,} rows of {table} are bad ({share:.1%})"
        if share <= limit:
            checks.append(check(f"bad rows: {table}", "ok", share, limit, text + "."))
            continue
        worst = sorted(outcome.quarantined.items(), key=lambda fault: (-fault[1], fault[0]))[:_WORST]
        faults = "; ".join(f"{reason}: {count:,} rows, e.g. {_example(outcome, reason)}" for reason, count in worst)
        checks.append(
            check(
                f"bad rows: {table}",
                "fail",
                share,
                limit,
                f"{text}, more than validate.max_bad_share allows ({limit:.1%}). Worst: {faults}. Mend the source or "
                f"the mapping in datasets/{card.name}.yaml; data/quarantine.parquet holds every bad row with its "
                "reason. Raise validate.max_bad_share in params.yaml only if the rest is worth training on.",
            )
        )
    return checks


def _bad_files(card: Card, outcomes: Mapping[str, Outcome], limits: ValidateParams) -> list[Check]:
    """Files of several that were set aside: the others get in, unless most are bad."""
    checks = []
    for table, outcome in outcomes.items():
        if outcome.files == 1:
            continue
        share, limit = round(len(outcome.set_aside) / outcome.files, 6), limits.max_bad_files_share
        text = f"{len(outcome.set_aside)} of {outcome.files} files of {table} were set aside."
        for reason, count in outcome.set_aside.items():
            text += f" {count:,} rows {reason}, e.g. {_example(outcome, reason)}."
        status = "ok" if not outcome.set_aside else "warn" if share <= limit else "fail"
        if status == "fail":
            text += (
                f" That is more than validate.max_bad_files_share allows ({limit:.0%}). Export the files again, or "
                f"mend the mapping in datasets/{card.name}.yaml."
            )
        checks.append(check(f"files: {table}", status, share, limit, text))
    return checks


def _example(outcome: Outcome, reason: str) -> str:
    cells = {name: cell for name, cell in outcome.examples[reason].items() if cell is not None}
    row = cells.pop("row")
    shown = ", ".join(f"{name}={cell!r}" for name, cell in list(cells.items())[:12])
    return f"row {row} ({shown})"


def _sizes(card: Card, outcome: Outcome, summary: dict[str, Any], limits: ValidateParams) -> list[Check]:
    checks = []
    for what in ("interactions", "users", "items"):
        found, needed = summary[what], getattr(limits, f"min_{what}")
        text = f"{found:,} {what} are left; validate.min_{what} asks for {needed:,}."
        if found < needed:
            text += (
                f" Of {outcome.rows_in:,} rows {len(outcome.quarantine):,} were bad and "
                f"{sum(outcome.filtered.values()):,} filtered {outcome.filtered or ''}. "
                f"Bring more data, look at the filters in datasets/{card.name}.yaml, or lower the key in params.yaml."
            )
        checks.append(check(f"enough {what}", "ok" if found >= needed else "fail", found, needed, text))
    return checks


def _targets(card: Card, summary: dict[str, Any]) -> Check:
    """A name in the card that no row has is nearly always a typing error."""
    log, found = card.interactions, set(summary["events"])
    unknown = sorted((set(log.weights) | set(log.targets)) - found)
    targets = set(log.targets) or {event for event in found if log.weights.get(event, 1.0) > 0}
    if not targets & found:
        asked = f"of the targets {sorted(log.targets)}" if log.targets else "with a weight above 0"
        text = (
            f"No row has an event {asked}; the log has {sorted(found)}. Without a target nothing can be evaluated: "
            f"mend `interactions.targets` or `weights` in datasets/{card.name}.yaml."
        )
        return check("declared events", "fail", unknown, None, text)
    if unknown:
        return check(
            "declared events", "warn", unknown, None, f"The card names events that no row has: {unknown}; the log has "
            f"{sorted(found)}.",
        )  # fmt: skip
    return check("declared events", "ok", [], None, f"Events: {', '.join(sorted(found))}.")


def _time_span(summary: dict[str, Any]) -> Check:
    days = summary["span_days"]
    text = f"The log spans {days:,.1f} days, from {summary['first']} to {summary['last']}."
    if summary["first"] == summary["last"]:
        text = (
            f"All rows have one timestamp, {summary['first']}: nothing can be called earlier or later, so no honest "
            "test window exists. Map a column with the real time of each interaction."
        )
    return check("time span", "fail" if summary["first"] == summary["last"] else "ok", days, None, text)


def _volume(summary: dict[str, Any], limits: ValidateParams, previous: dict[str, Any] | None) -> Check:
    now, limit = summary["newest_rows_per_day"], limits.max_volume_change
    before = (previous or {}).get("newest_rows_per_day")
    text = f"{now:,.0f} rows a day in the newest {summary['newest_days']:g} days"
    if not before:
        return check("volume", "ok", None, limit, f"{text}; no previous snapshot to compare with.")
    change = round(now / before - 1, 6)
    status = "warn" if abs(change) > limit else "ok"
    return check(
        "volume", status, change, limit, f"{text}, {change:+.0%} against the previous snapshot ({before:,.0f})."
    )


def _event_mix(summary: dict[str, Any], limits: ValidateParams, previous: dict[str, Any] | None) -> Check:
    mix, limit = summary["newest_events"], limits.max_event_mix_change
    before = (previous or {}).get("newest_events")
    if len(summary["events"]) == 1 and (not before or set(before) == set(mix)):
        return check("event mix", "ok", None, limit, f"One kind of event only: {next(iter(summary['events']))}.")
    if not before:
        return check("event mix", "ok", None, limit, "No previous snapshot to compare with.")
    changes = {event: mix.get(event, 0.0) - before.get(event, 0.0) for event in sorted({*mix, *before})}
    event = max(changes, key=lambda name: abs(changes[name]))
    value = round(abs(changes[event]), 6)
    text = f"Largest change: {event} from {before.get(event, 0.0):.1%} to {mix.get(event, 0.0):.1%} of the newest rows."
    return check("event mix", "warn" if value > limit else "ok", value, limit, text)


def _freshness(card: Card, summary: dict[str, Any], limits: ValidateParams, now: pd.Timestamp) -> Check:
    age = round(max(0.0, (now - pd.Timestamp(summary["last"])).total_seconds() / 86_400), 3)
    limit = limits.max_age_days
    if card.historic:
        return check("freshness", "ok", None, limit, f"The log has ended, at {summary['last']}.")
    text = f"The newest row is {age:,.1f} days old ({summary['last']})."
    if age > limit:
        text += " Is the export still running? A data set that has ended is marked by `historic: true` in its card."
    return check("freshness", "warn" if age > limit else "ok", age, limit, text)


def _clock(outcome: Outcome) -> Check:
    ahead = outcome.quarantined.get("timestamp in the future", 0)
    text = f"{ahead:,} rows lie in the future of this machine's clock."
    if ahead:
        text += " A producer's clock or the card's `timestamp.zone` is wrong."
    return check("clock", "warn" if ahead else "ok", ahead, 0, text)


def _duplicates(outcomes: Mapping[str, Outcome]) -> list[Check]:
    checks = []
    for table, outcome in outcomes.items():
        reason = DUPLICATE_ROW if table == "interactions" else DUPLICATE_ID
        count = outcome.quarantined.get(reason, 0)
        share = round(count / outcome.rows_in, 6) if outcome.rows_in else 0.0
        status = "warn" if share > _MANY_DUPLICATES else "ok"
        text = f"{count:,} rows of {table} were a {reason} ({share:.2%})."
        if table == "interactions" and status == "warn":
            text += " If they are genuine repeats, set validate.duplicates: keep."
        checks.append(check(f"duplicates: {table}", status, share, _MANY_DUPLICATES, text))
    return checks


def _coverage(summary: dict[str, Any], limits: ValidateParams) -> list[Check]:
    checks = []
    for table in ("items", "users"):
        facts = summary.get(f"{table}_table")
        if facts is None:
            continue
        unknown = round(1 - facts["covered_rows_share"], 6)
        limit = limits.max_unknown_item_share if table == "items" else None
        status = "warn" if limit is not None and unknown > limit else "ok"
        text = f"{unknown:.1%} of the interactions have no row in the {table} table."
        if status == "warn":
            text += " Do both tables write ids in the same way?"
        checks.append(check(f"unknown {table}", status, unknown, limit, text))
    return checks


def _local_times(moments: Moments) -> Check:
    unclear = moments.ambiguous + moments.nonexistent
    text = (
        f"{moments.ambiguous:,} times lie in an hour that the zone runs through twice (the first was taken), "
        f"{moments.nonexistent:,} in one that it skips (moved to its end)."
    )
    return check("local times", "ok", unclear, None, text if unclear else "Every time names one moment.")


def _values(summary: dict[str, Any], previous: dict[str, Any] | None) -> list[Check]:
    now, before = summary["value"], (previous or {}).get("value") or None
    if not now:
        return []
    text = f"Values from {now['min']:g} to {now['max']:g}, mean {now['mean']:g}."
    if before and (now["min"] < before["min"] or now["max"] > before["max"]):
        text += f" The previous snapshot had {before['min']:g} to {before['max']:g}."
    # A new maximum is ordinary for quantities; ten times the old one is a changed unit.
    jumped = before is not None and abs(now["max"]) > 10 * max(abs(before["max"]), 1e-12)
    return [check("value range", "warn" if jumped else "ok", [now["min"], now["max"]], None, text)]


def _given_up(outcomes: Mapping[str, Outcome]) -> list[Check]:
    lost = {f"{table}.{name}": count for table, outcome in outcomes.items() for name, count in outcome.nulled.items()}
    text = "; ".join(f"{name}: {count:,} cells are no numbers and became empty" for name, count in lost.items())
    return [check("unreadable numbers", "warn", lost, None, text + ".")] if lost else []

"""Live metrics of the newest window beside the one before, by version, and how far what is shown has moved."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from rectory.metrics.bootstrap import Interval
from rectory.monitoring.distances import jensen_shannon, null_scale
from rectory.serving.live_metrics import Attribution, exposures_of, outcomes, rates_of
from rectory.serving.store import Store

if TYPE_CHECKING:
    import pandas as pd


def live_report(
    store: Store, until: float, days: float, attribution: Attribution, catalogue: Collection[str]
) -> dict[str, Any]:
    """What the flow monitor shows.

    Args:
        until: end of the newest window, seconds since 1970. days: length of each window.
        catalogue: items that could be shown; coverage is a share of them.
    Returns:
        {until, days, windows: [{window, version, answers, users, ctr, conversion, coverage, items}, ...], exposure:
        {distance, by_chance}}; version "all" is all together. distance: Jensen-Shannon over items, 0.83 for disjoint
        lists; by_chance: about what two draws of one distribution are apart. Both are None unless both windows have
        answers.
    """
    span, rows, shown = 86_400 * days, [], []
    for window, end in (("newest", until), ("before", until - span)):
        answers = outcomes(store, end - span, end, attribution)
        shown.append(exposures_of(answers["items"]))
        if len(answers):
            rows.append(_row(window, "all", answers, catalogue))
            by_version = answers.groupby("model_version", sort=True)
            rows += [_row(window, str(version), part, catalogue) for version, part in by_version]
    return {"until": until, "days": days, "windows": rows, "exposure": _moved(shown[1], shown[0])}


def _row(window: str, version: str, answers: pd.DataFrame, catalogue: Collection[str]) -> dict[str, Any]:
    rates = rates_of(answers[answers["user_id"].notna()])
    items, known = set(exposures_of(answers["items"])), set(catalogue)
    return {
        "window": window,
        "version": version,
        "answers": len(answers),
        "users": rates.users,
        "ctr": _plain(rates.ctr),
        "conversion": _plain(rates.conversion),
        "coverage": len(items & known) / len(known) if known else None,
        "items": len(items),
    }


def _plain(interval: Interval | None) -> dict[str, float | int] | None:
    return None if interval is None else interval.to_dict()


def _moved(before: dict[str, int], now: dict[str, int]) -> dict[str, float | None]:
    if not before or not now:
        return {"distance": None, "by_chance": None}
    items = sorted({*before, *now})
    left, right = (np.array([counts.get(item, 0) for item in items]) for counts in (before, now))
    by_chance = null_scale("jensenshannon", len(items), int(left.sum()), int(right.sum()))
    return {"distance": jensen_shannon(left, right), "by_chance": by_chance}

"""How the live service is doing: clicks, conversions, latency, fallbacks and exposure, from the event store alone.

An event belongs to an answer when it names its `recommendation_id`, its item was in it, and it came in time. An answer
that nothing followed counts as well: that is what makes it a rate.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from rectory.metrics.beyond import gini
from rectory.metrics.bootstrap import Interval
from rectory.metrics.clustered import clustered_mean
from rectory.serving import tables
from rectory.serving.log_rows import shown_of
from rectory.serving.store import Store

if TYPE_CHECKING:
    import pandas as pd

IMPRESSION = "impression"
MOST_ANSWERS = 100_000
"""Newest answers of a window that are looked at: more say nothing new and would hold up the service."""
_SAMPLES = 300
_SEED = 7
_FALLBACK = ("popular", "latest", "editorial")
_BUCKETS = 24


@dataclass(frozen=True)
class Attribution:
    """What counts as success. seconds: after an answer. conversions: kinds of event that are worth money."""

    seconds: float
    conversions: tuple[str, ...]


@dataclass(frozen=True)
class Rates:
    """Of one model version, or of all. Shares of personal answers, with 95% intervals clustered by user.

    ctr: some event followed. conversion: one of the kinds that are worth money followed. None: nobody was asked.
    """

    answers: int
    users: int
    ctr: Interval | None
    conversion: Interval | None


@dataclass(frozen=True)
class Bucket:
    """A stretch of time. start: seconds since 1970. p99: milliseconds. None where there was no answer."""

    start: float
    answers: int
    ctr: float | None
    p99: float | None


@dataclass(frozen=True)
class LiveMetrics:
    """One window of time, in seconds since 1970.

    milliseconds: percentile -> time that the engine took. fallback_share: answers whose list began with what everybody
    sees. exposure_gini: over the items that were shown at all. events: kind -> number, attributed or not.
    complete: False when only the newest MOST_ANSWERS were looked at.
    """

    since: float
    until: float
    whole: Rates
    versions: dict[str, Rates]
    rungs: dict[str, int]
    events: dict[str, int]
    milliseconds: dict[str, float]
    fallback_share: float
    exposure_gini: float
    items_shown: int
    buckets: tuple[Bucket, ...]
    complete: bool


def live_metrics(store: Store, since: float, until: float, attribution: Attribution) -> LiveMetrics:
    """Everything about a window; one read of each table."""
    answers = outcomes(store, since, until, attribution)
    personal = answers[answers["user_id"].notna()]
    exposures = np.array(list(exposures_of(answers["items"]).values()), dtype=np.int64)
    taken = answers["milliseconds"].to_numpy(dtype=np.float64)
    percentiles = {f"p{q}": float(np.percentile(taken, q)) for q in (50, 90, 99)} if len(taken) else {}
    return LiveMetrics(
        since=since,
        until=until,
        whole=rates_of(personal),
        versions={str(version): rates_of(rows) for version, rows in personal.groupby("model_version", sort=True)},
        rungs={str(rung): int(count) for rung, count in personal["rung"].value_counts().items()},
        events=_events_by_kind(store, since, until),
        milliseconds=percentiles,
        fallback_share=float(personal["rung"].isin(_FALLBACK).mean()) if len(personal) else 0.0,
        exposure_gini=gini(exposures),
        items_shown=len(exposures),
        buckets=_buckets(personal, since, until),
        complete=len(answers) < MOST_ANSWERS,
    )


def outcomes(
    store: Store, since: float, until: float, attribution: Attribution, version: str | None = None
) -> pd.DataFrame:
    """One row for each answer of the window, oldest first; the newest MOST_ANSWERS at most.

    Args:
        version: of the model that answered; None: any.
    Returns:
        recommendation_id, user_id (None: a session or a list for everybody), made, model_version, rung, milliseconds,
        items (as stored), clicked, converted (bool).
    """
    import pandas as pd
    from sqlalchemy import select

    told, event = tables.recommendations.c, tables.events.c
    names = ["recommendation_id", "user_id", "made", "model_version", "rung", "milliseconds", "items"]
    asked = (
        select(*(told[name] for name in names))
        .where(told.made >= since, told.made < until)
        .order_by(told.made.desc())
        .limit(MOST_ANSWERS)
    )
    if version is not None:
        asked = asked.where(told.model_version == version)
    followed = select(event.recommendation_id, event.item_id, event.kind, event.received).where(
        event.recommendation_id.is_not(None),
        event.received >= since,
        event.received < until + attribution.seconds,
        event.kind != IMPRESSION,
    )
    with store.reading() as connection:
        answers = pd.DataFrame(connection.execute(asked).all(), columns=names).iloc[::-1].reset_index(drop=True)
        events = connection.execute(followed).all()
    places = {one: place for place, one in enumerate(answers["recommendation_id"])}
    made, items = answers["made"].to_numpy(dtype=np.float64), answers["items"].tolist()
    clicked, converted = np.zeros(len(answers), dtype=bool), np.zeros(len(answers), dtype=bool)
    for recommendation_id, item_id, kind, received in events:
        place = places.get(recommendation_id)
        if place is None or received > made[place] + attribution.seconds:
            continue
        # The text is looked into first: reading every list as JSON would cost more than all the rest.
        if json.dumps(item_id, ensure_ascii=False) not in items[place]:
            continue
        clicked[place] = True
        converted[place] |= kind in attribution.conversions
    return answers.assign(clicked=clicked, converted=converted)


def outcomes_by_user(
    store: Store,
    versions: tuple[str, str],
    since: float,
    until: float,
    attribution: Attribution,
    *,
    outcome: Literal["clicked", "converted"],
) -> pd.DataFrame:
    """Each user's share of answers that the outcome followed, by the version that answered.

    Args:
        versions: the champion's, and that of the champion before.
    Returns:
        user_id, champion, previous: in [0, 1]; nan where that version never answered the user. It is what
        `rectory.evaluation.outcomes.weigh` takes.
    """
    import pandas as pd

    found = {}
    for name, version in zip(("champion", "previous"), versions, strict=True):
        # Each version by itself: on a busy day the newest answers of all would be the champion's alone.
        answers = outcomes(store, since, until, attribution, version)
        personal = answers[answers["user_id"].notna()]
        found[name] = personal[outcome].astype(np.float64).groupby(personal["user_id"]).mean()
    return pd.DataFrame(found).rename_axis("user_id").reset_index()


def rates_of(rows: pd.DataFrame) -> Rates:
    """Of personal answers, as `outcomes` gives them."""
    if not len(rows):
        return Rates(0, 0, None, None)
    users = rows["user_id"].to_numpy()
    _, cluster = np.unique(users.astype(str), return_inverse=True)
    found = [
        clustered_mean(rows[name].to_numpy(dtype=np.float64), cluster, _SAMPLES, _SEED)
        for name in ("clicked", "converted")
    ]
    return Rates(len(rows), int(cluster.max()) + 1, found[0], found[1])


def exposures_of(lists: Iterable[str]) -> dict[str, int]:
    """How often each item that was shown at all was shown."""
    counts: dict[str, int] = {}
    for items in lists:
        for one in shown_of(items):
            counts[one.item_id] = counts.get(one.item_id, 0) + 1
    return counts


def _events_by_kind(store: Store, since: float, until: float) -> dict[str, int]:
    from sqlalchemy import func, select

    event = tables.events.c
    query = (
        select(event.kind, func.count())
        .where(event.received >= since, event.received < until)
        .group_by(event.kind)
        .order_by(event.kind)
    )
    with store.reading() as connection:
        return {str(kind): int(count) for kind, count in connection.execute(query).all()}


def _buckets(rows: pd.DataFrame, since: float, until: float) -> tuple[Bucket, ...]:
    width = (until - since) / _BUCKETS
    place = ((rows["made"].to_numpy(dtype=np.float64) - since) / width).astype(int) if len(rows) else np.zeros(0, int)
    found = []
    for at in range(_BUCKETS):
        mine = rows[place == at]
        ctr = float(mine["clicked"].mean()) if len(mine) else None
        p99 = float(np.percentile(mine["milliseconds"], 99)) if len(mine) else None
        found.append(Bucket(since + at * width, len(mine), ctr, p99))
    return tuple(found)

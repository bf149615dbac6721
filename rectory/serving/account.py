"""What a replay found, with intervals over users."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from rectory.arrays import BoolArray, Float64Array
from rectory.errors import DataError
from rectory.metrics.clustered import clustered_gain, clustered_mean
from rectory.serving.loading import Ingredients, Rows
from rectory.serving.mixing import Mix
from rectory.serving.process import small_products
from rectory.serving.replay import Replayed, replay, worth_asking

LIVE, FROZEN = "live", "frozen"


def account(
    made: Ingredients,
    *,
    seed: int,
    samples: int,
    users: int | None = None,
    events: int | None = None,
    against: Ingredients | None = None,
    tick: Callable[[int, int], None] = lambda *_: None,
) -> dict[str, Any]:
    """Replay everything after the version's training, live and frozen, and compare.

    Args:
        samples: draws behind each interval; users are drawn whole, with all their events.
        against: another version, whose frozen lists are replayed beside.
        users: answers to so many users are looked at; None: to all. events: stop after so many.
        tick: hears (events done, events in all).
    Raises:
        DataError: nothing happened after the training.
    """
    start = int(np.searchsorted(made.rows.time, made.trained_until))
    known, later = made.rows.part(slice(0, start)), made.rows.part(slice(start, None))
    if events is not None:
        later = later.part(slice(0, events))
    asked = worth_asking(later, known, made.bundle.repeats)
    if users is not None:
        asked &= _of_some_users(later, asked, users, seed)
    if not asked.any():
        raise DataError(
            f"{made.card.name}: the newest tables hold nothing to replay after {made.bundle.trained_until}, when the "
            f"training of version {made.version} ended. Choose an older one with --version."
        )
    live = made.engine(until=made.trained_until)
    frozen = made.engine(until=made.trained_until, mix=Mix.frozen(), champion=live.champion)
    engines = {LIVE: live, FROZEN: frozen}
    if against is not None:
        engines[f"{FROZEN} {against.bundle.candidate}"] = against.engine(until=against.trained_until, mix=Mix.frozen())
    began = time.perf_counter()
    with small_products():
        found = replay(
            engines,
            later,
            made.users.ids,
            made.items.ids,
            asked=asked,
            tick=lambda done: tick(done, len(later.user)),
        )
    seconds = time.perf_counter() - began
    return {
        "dataset": made.card.name,
        "version": made.version,
        "candidate": made.bundle.candidate,
        "trained_until": made.bundle.trained_until,
        "events": len(found.user),
        "learned": len(later.user),
        "users": len(np.unique(found.user)),
        "seconds": round(seconds, 1),
        "milliseconds": 1000 * found.seconds[LIVE] / len(found.user),
        **compared(found, samples, seed),
        "weights": {name: weight for name, weight in live.mix.weights.items() if weight},
        "fitted": live.mix.facts,
    }


def compared(found: Replayed, samples: int, seed: int) -> dict[str, Any]:
    """metrics: engine -> metric -> interval. gain: of live over frozen, paired. ratios: of the hit rates to live's."""
    metrics: dict[str, Callable[[str], Float64Array]] = {
        "hit@10": found.hits,
        "ndcg@10": found.ndcg,
        "mrr": lambda name: 1.0 / found.ranks[name],
    }
    told: dict[str, Any] = {"metrics": {name: {} for name in found.ranks}, "gain": {}}
    for metric, of in metrics.items():
        for name in found.ranks:
            told["metrics"][name][metric] = clustered_mean(of(name), found.user, samples, seed).to_dict()
        told["gain"][metric] = clustered_gain(of(LIVE), of(FROZEN), found.user, samples, seed).absolute.to_dict()
    rates = {name: told["metrics"][name]["hit@10"]["value"] for name in found.ranks}
    told["ratios"] = {name: round(rates[LIVE] / rate, 3) for name, rate in rates.items() if name != LIVE and rate > 0}
    return told


def _of_some_users(rows: Rows, asked: BoolArray, users: int, seed: int) -> BoolArray:
    active = np.unique(rows.user[asked])
    if len(active) > users:
        active = np.random.default_rng(seed).choice(active, users, replace=False)
    return np.isin(rows.user, active)

"""`python -m benchmarks.unseen [--log NAME] [--seed N] [--refits]`: the blend against its sources on made-up logs.

Nothing is tuned to them. Fits choose on the validation window; the window after it is scored once. The table is in
docs/results.md.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from rectory.arrays import Array, Float64Array
from rectory.data.card import Feature
from rectory.data.ids import IdMap
from rectory.features.blocks import feature_block
from rectory.features.training_set import SECONDS_PER_DAY, FeatureBlock, TrainingSet
from rectory.metrics.bootstrap import Interval, mean_interval, paired_gain
from rectory.models.blend import Blend
from rectory.models.catalogue import build
from rectory.models.protocol import Recommender
from rectory.models.validation import K, Validation
from rectory.params.candidates import BlendParams
from rectory.params.sections import FeaturesParams

_SAMPLES = 1000
_EVERYONE = 10**9
_NO_FEATURES: dict[str, Feature] = {}


@dataclass(frozen=True)
class Log:
    """train: everything before the test window. whole: the same with the test window as its validation window."""

    train: TrainingSet
    whole: TrainingSet

    @property
    def asked(self) -> tuple[Validation, Array]:
        """The test window, and (n,) codes of its users as a service would know them: -1 for who is new in it."""
        test = Validation(self.whole, _EVERYONE, 0)
        known = np.bincount(self.train.user, minlength=self.train.n_users) > 0
        return test, np.where(known[test.users], test.users, -1).astype(np.int32)

    @property
    def facts(self) -> str:
        test, users = self.asked
        events = np.bincount(self.whole.user)
        return (
            f"{self.whole.n_users} users, {self.whole.n_items} items, {len(self.whole.user)} events, "
            f"median {np.median(events[events > 0]):.0f} a user, {np.mean(users < 0):.0%} of {len(test.users)} "
            "test users new"
        )


@dataclass(frozen=True)
class Outcome:
    """scores: name -> nDCG@10 on the test window. gain: of the blend over the best source, paired."""

    facts: str
    scores: dict[str, Interval]
    best: str
    gain: Interval
    chosen: str


def sparse_log(seed: int = 0) -> Log:
    """No tables, no repeats, median two events a user, about a sixth of the test users new: small ads, say.

    Items are born all the time and fade within weeks; users lean to two of twenty kinds, which no column shows.
    """
    rng = np.random.default_rng(seed)
    users, items, kinds, days = 9000, 1500, 20, 120.0
    born = rng.uniform(-40, days, items)
    kind, appeal = rng.integers(0, kinds, items), rng.pareto(1.2, items) + 0.1
    rows = []
    for user in range(users):
        likes = rng.choice(kinds, 2, replace=False)
        arrived = days * (1.0 - np.sqrt(rng.random())) if rng.random() < 0.99 else days * rng.uniform(0.85, 1.0)
        count = rng.geometric(0.36)
        at = np.minimum(arrived + np.concatenate([[0.0], np.cumsum(rng.exponential(22.0, count - 1))]), days)
        for day in at[at < days]:
            age = day - born
            chance = np.where(age > 0, appeal * np.exp(-np.maximum(age, 0) / 25.0), 0.0)
            chance *= np.where(np.isin(kind, likes), 8.0, 1.0)
            if chance.sum() > 0:
                rows.append((user, int(rng.choice(items, p=chance / chance.sum())), float(day)))
    return _log(pd.DataFrame(rows, columns=["user", "item", "day"]).drop_duplicates(["user", "item"]), repeats=False)


def priced_shop(seed: int = 0) -> Log:
    """Repeats and an item table with categories and prices, nothing of users: each has a rhythm, and a purse."""
    rng = np.random.default_rng(seed)
    users, items, categories, days = 900, 800, 25, 180.0
    category, price = rng.integers(0, categories, items), np.exp(rng.normal(2.0, 0.8, items))
    appeal = rng.pareto(1.5, items) + 0.1
    rows = []
    for user in range(users):
        taste, purse = rng.dirichlet(np.full(categories, 0.3)), rng.normal(2.0, 0.5)
        fits = np.exp(-((np.log(price) - purse) ** 2) / 0.5)
        chance = appeal * fits * (0.02 + taste[category])
        staples = rng.choice(items, 6, replace=False, p=chance / chance.sum())
        for item in staples:
            rhythm = rng.uniform(6, 45)
            gaps = rng.normal(rhythm, rhythm / 6, int(days / rhythm) + 1)
            at = rng.uniform(0, rhythm) + np.concatenate([[0.0], np.cumsum(np.maximum(gaps, 1.0))])
            rows += [(user, int(item), float(day)) for day in at[at < days]]
        some = rng.choice(items, rng.poisson(12), p=chance / chance.sum())
        rows += [(user, int(item), float(day)) for item, day in zip(some, rng.uniform(0, days, len(some)), strict=True)]
    table = pd.DataFrame({"item_id": [f"i{code}" for code in range(items)], "category": category, "price": price})
    return _log(pd.DataFrame(rows, columns=["user", "item", "day"]), repeats=True, items=table)


LOGS: dict[str, Callable[[int], Log]] = {"sparse": sparse_log, "priced_shop": priced_shop}


def _log(rows: pd.DataFrame, *, repeats: bool, items: pd.DataFrame | None = None) -> Log:
    """The newest tenth of the rows is the test window, the newest tenth of the rest the validation window."""
    rows = rows.sort_values("day", kind="stable")
    day = rows["day"].to_numpy()
    test, valid = np.quantile(day, 0.9), np.quantile(day, 0.81)
    users = IdMap([f"u{code}" for code in range(int(rows["user"].max()) + 1)])
    ids = IdMap([f"i{code}" for code in range(int(rows["item"].max()) + 1 if items is None else len(items))])
    params = FeaturesParams()
    columns = {
        name: Feature(column=name, kind=kind) for name, kind in (("category", "categorical"), ("price", "numeric"))
    }
    whole = TrainingSet(
        users=users,
        items=ids,
        user=rows["user"].to_numpy(dtype=np.int32),
        item=rows["item"].to_numpy(dtype=np.int32),
        time=day * SECONDS_PER_DAY,
        weight=np.ones(len(rows), dtype=np.float32),
        target=np.ones(len(rows), dtype=np.bool_),
        validation_start=test * SECONDS_PER_DAY,
        end=(day.max() + 1e-6) * SECONDS_PER_DAY,
        repeats=repeats,
        user_features=_nothing(users, params),
        item_features=_nothing(ids, params) if items is None else feature_block(items, "item_id", ids, columns, params),
    )
    return Log(whole.until(test * SECONDS_PER_DAY, valid * SECONDS_PER_DAY), whole)


def _nothing(ids: IdMap, params: FeaturesParams) -> FeatureBlock:
    return feature_block(None, "id", ids, _NO_FEATURES, params)


def compare(log: Log, params: BlendParams, seed: int = 42) -> Outcome:
    """Fit the blend, and each of its sources by itself as a candidate would be; score all on the test window."""
    test, users = log.asked
    blend = build(params, seed, 5000).fit(log.train)
    sources = {name: build(one, seed, 5000).fit(log.train) for name, one in params.sources.items()}
    scores = {"blend": _scores(blend, test, users)} | {
        name: _scores(one, test, users) for name, one in sources.items() if log.train.repeats or name != "own"
    }
    best = max((name for name in scores if name != "blend"), key=lambda name: float(scores[name].mean()))
    gain = paired_gain(scores["blend"], scores[best], _SAMPLES, 0).absolute
    kept = ", ".join(blend.report.chosen["sources"])
    chosen = f"{blend.report.chosen['trees']} trees on {blend.report.chosen['best']}, of {kept}"
    intervals = {name: mean_interval(of, _SAMPLES, 0) for name, of in scores.items()}
    return Outcome(log.facts, intervals, best, gain, chosen)


@dataclass(frozen=True)
class Refits:
    """scores: of a blend that ends a window too early, refitted with its ranker and with a new one, on the test window.

    gain: with its ranker over with a new one, paired; None: its ranker has no trees, so the two are one.
    """

    scores: dict[str, Interval]
    gain: Interval | None


def compare_refits(log: Log, params: BlendParams, seed: int = 42) -> Refits:
    """What a ranker that is trained anew is worth in a refit: of a fit that has not seen the newest window."""
    test, users = log.asked
    window = log.train.end - log.train.validation_start
    measured = Blend(params, seed, 5000).fit(
        log.train.until(log.train.validation_start, log.train.validation_start - window)
    )
    chosen = measured.report.chosen
    scores = {
        "as it was measured": _scores(measured, test, users),
        "a new ranker": _scores(Blend(params, seed, 5000).refit(log.train, chosen), test, users),
    }
    gain = None
    if chosen["trees"]:
        with tempfile.TemporaryDirectory() as folder:
            measured.save(Path(folder))
            kept = Blend(params, seed, 5000).refit_keeping(log.train, chosen, Path(folder))
        scores["its own ranker"] = _scores(kept, test, users)
        gain = paired_gain(scores["its own ranker"], scores["a new ranker"], _SAMPLES, 0).relative
    return Refits({name: mean_interval(of, _SAMPLES, 0) for name, of in scores.items()}, gain)


def _scores(model: Recommender, test: Validation, users: Array) -> Float64Array:
    return test.of_lists(model.recommend(users, K, exclude=test.exclude).items)


def _table(what: str, scores: dict[str, Interval], title: str) -> Table:
    table = Table(what, "nDCG@10 [95%]", title=title)
    for name, value in sorted(scores.items(), key=lambda one: -one[1].value):
        table.add_row(name, f"{value.value:.4f} [{value.low:.4f}, {value.high:.4f}]")
    return table


def main() -> None:
    """Show a table for each log."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.unseen", description="The blend on made-up logs.")
    parser.add_argument("--log", action="append", choices=LOGS, help=f"repeat; default: {' and '.join(LOGS)}")
    parser.add_argument("--seed", type=int, default=0, help="of the log")
    parser.add_argument("--refits", action="store_true", help="what a new ranker is worth in a refit")
    given = parser.parse_args()
    console = Console()
    for name in given.log or LOGS:
        log, params = LOGS[name](given.seed), BlendParams(kind="blend")
        if given.refits:
            refits = compare_refits(log, params)
            console.print(_table("blend", refits.scores, f"{name}: {log.facts}"))
            gain = refits.gain
            told = "no trees" if gain is None else f"{gain.value:+.1%} [{gain.low:+.1%}, {gain.high:+.1%}]"
            console.print(f"its own ranker over a new one: {told}")
            continue
        found = compare(log, params)
        console.print(_table("candidate", found.scores, f"{name}: {found.facts}"))
        console.print(
            f"blend over {found.best}: {found.gain.value:+.4f} [{found.gain.low:+.4f}, {found.gain.high:+.4f}]; "
            f"{found.chosen}"
        )


if __name__ == "__main__":
    main()

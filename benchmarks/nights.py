"""`python -m benchmarks.nights --project DIR`: what the LightFM hybrid loses by warm starts, over nights and seeds.

One night says little: two full fits of the same day with other seeds differ by as much as warm starts lose. So each of
some nights that a project's newest run has in its training data gets, with each of some seeds, a full fit, the model of
the night before as it was, one warm start from it, and a chain of warm starts from a model some nights older. All are
scored on the window that followed, which ends before the run's test window.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import yaml
from rich.console import Console
from rich.table import Table

from rectory.arrays import Float64Array
from rectory.errors import UsageError
from rectory.features.training_set import SECONDS_PER_DAY, TrainingSet
from rectory.models.lightfm_hybrid import LightFMHybrid
from rectory.models.protocol import Earlier, FitReport, Recommender
from rectory.models.validation import METRIC, K, Validation
from rectory.params import Params
from rectory.params.candidates import LightFMHybridParams
from rectory.workspace import Workspace

_EVERYONE = 10**9


@dataclass(frozen=True)
class Plan:
    """nights: how many, `days_apart`. seeds: of the fits. links: warm starts of the chain. epochs, half_life_days: of
    each full fit, as its search would have chosen them."""

    nights: int
    days_apart: float
    seeds: int
    links: int
    half_life_days: float
    epochs: int

    @property
    def chosen(self) -> dict[str, float]:
        return {"half_life_days": self.half_life_days, "epochs": self.epochs}


@dataclass(frozen=True)
class Found:
    """(nights, seeds) of nDCG@10: of full fits, and of what stands in their place."""

    full: Float64Array
    before: Float64Array
    warm: Float64Array
    chain: Float64Array

    @property
    def noise(self) -> float:
        """Standard deviation of a full fit against the mean of those of its night: what a seed does."""
        return float(np.std(self.full / self.full.mean(axis=1, keepdims=True), ddof=1))

    def change(self, name: str) -> tuple[float, float, list[float]]:
        """Relative change against the full fits: mean over nights, its standard error, and of each night."""
        nights = getattr(self, name).mean(axis=1) / self.full.mean(axis=1) - 1.0
        return float(nights.mean()), float(nights.std(ddof=1) / np.sqrt(len(nights))), nights.tolist()


def measure(train: TrainingSet, params: LightFMHybridParams, plan: Plan, say: Callable[[str], None]) -> Found:
    """All nights with all seeds, side by side.

    Raises:
        UsageError: the log is too short.
    """
    window = train.end - train.validation_start
    ends = [train.end - window - night * plan.days_apart * SECONDS_PER_DAY for night in range(plan.nights)]
    if ends[-1] - (window + plan.links * SECONDS_PER_DAY) < train.time[0]:
        raise UsageError(f"the log is too short for {plan.nights} nights {plan.days_apart:g} days apart.")
    jobs = list(product(range(plan.nights), range(plan.seeds)))

    def one(job: tuple[int, int]) -> list[float]:
        night, seed = job
        scores = _night(_Log(train, window, params, plan, seed), ends[night])
        say(f"night {night + 1} of {plan.nights}, seed {seed + 1}: {', '.join(f'{score:.4f}' for score in scores)}")
        return scores

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        scores = np.array(list(threads.map(one, jobs))).reshape(plan.nights, plan.seeds, 4)
    return Found(*np.moveaxis(scores, 2, 0))


@dataclass(frozen=True)
class _Log:
    """A log of which any night can be had, and how models of a night are made."""

    train: TrainingSet
    window: float
    params: LightFMHybridParams
    plan: Plan
    seed: int

    def until(self, end: float) -> TrainingSet:
        return self.train.until(end, end - self.window)

    def full(self, end: float) -> LightFMHybrid:
        return self._new().refit(self.until(end), self.plan.chosen)

    def continued(self, model: LightFMHybrid, end: float) -> LightFMHybrid:
        users, items = (np.arange(n, dtype=np.int32) for n in (self.train.n_users, self.train.n_items))
        earlier = Earlier(model, FitReport(METRIC, 0.0, dict(self.plan.chosen)), users, items)
        return self._new().warm_fit(self.until(end), earlier)

    def score(self, model: Recommender, end: float) -> float:
        test = Validation(self.until(end + self.window), _EVERYONE, 0)
        return float(test.of_lists(model.recommend(test.users, K, exclude=test.exclude).items).mean())

    def _new(self) -> LightFMHybrid:
        return LightFMHybrid(self.params, self.seed, 0)


def _night(log: _Log, end: float) -> list[float]:
    """Scores in the order of Found's fields."""
    before = log.full(end - SECONDS_PER_DAY)
    chain = log.full(end - log.plan.links * SECONDS_PER_DAY)
    for night in range(log.plan.links - 1, -1, -1):
        chain = log.continued(chain, end - night * SECONDS_PER_DAY)
    return [log.score(model, end) for model in (log.full(end), before, log.continued(before, end), chain)]


def _newest_hybrid(project: Path) -> tuple[TrainingSet, LightFMHybridParams]:
    """Training data and params of the newest run that has both.

    Raises:
        UsageError: there is none.
    """
    for run in sorted((project / "runs").glob("*"), reverse=True):
        workspace = Workspace(run, project)
        if workspace.features.is_dir() and (run / "params.yaml").is_file():
            params = Params.model_validate(yaml.safe_load((run / "params.yaml").read_text(encoding="utf-8")))
            for candidate in params.train.candidates.values():
                if isinstance(candidate, LightFMHybridParams):
                    return TrainingSet.load(workspace.features), candidate
    raise UsageError(f"{project} has no run with a lightfm_hybrid: `rectory run` makes one.")


def _rows(found: Found, plan: Plan) -> Iterator[tuple[str, str, str]]:
    named = (
        ("before", "the model of the night before, as it is"),
        ("warm", "one warm start"),
        ("chain", f"{plan.links} warm starts in a row"),
    )
    for name, words in named:
        mean, error, nights = found.change(name)
        yield words, f"{mean:+.2%} ({error:.2%})", "  ".join(f"{night:+.1%}" for night in nights)


def main() -> None:
    """Show what warm starts lose."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.nights", description=(__doc__ or "").partition("\n")[2].strip()
    )
    parser.add_argument("--project", type=Path, required=True, help="folder in which `rectory run` ended")
    parser.add_argument("--half-life", type=float, action="append", help="days; repeat (default: 7 and 30)")
    parser.add_argument("--epochs", type=int, default=3, help="of a full fit")
    parser.add_argument("--nights", type=int, default=4)
    parser.add_argument("--days-apart", type=float, default=17.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--chain", type=int, default=6, help="warm starts in a row")
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    given = parser.parse_args()
    progress = Console(stderr=True)
    try:
        train, params = _newest_hybrid(given.project)
        plan = Plan(given.nights, given.days_apart, given.seeds, given.chain, 0.0, given.epochs)
        told = []
        for half_life in given.half_life or [7.0, 30.0]:
            plan = replace(plan, half_life_days=half_life)
            found = measure(train, params, plan, lambda text: progress.print(f"[dim]{text}[/dim]"))
            told.append((plan, found))
    except UsageError as error:
        raise SystemExit(f"benchmarks.nights: {error}") from error
    if given.json:
        scores = [{**asdict(plan), **{name: one.tolist() for name, one in vars(found).items()}} for plan, found in told]
        print(json.dumps(scores, indent=2))
        return
    for plan, found in told:
        table = Table(f"half-life {plan.half_life_days:g} days", "change (s.e.)", "each night")
        for row in _rows(found, plan):
            table.add_row(*row)
        Console().print(table)
        Console().print(
            f"against full fits: {found.full.mean():.4f}; another seed moves one by {found.noise:.1%} (s.d.)"
        )


if __name__ == "__main__":
    main()

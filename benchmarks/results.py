"""All that the bench found, as plain values for `--json` and for the tables."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.fitting import FitComparison
from benchmarks.flow import Overhead, Step
from benchmarks.machine import Machine
from benchmarks.ranking import RankingComparison
from benchmarks.warming import WarmStart

AGAIN_AIM_SECONDS = 30.0


@dataclass(frozen=True)
class FlowResult:
    """One data set's runs.

    command: wall of the whole command. flow: wall of the flow, which begins when the server is up. Both over the same
    compute of the steps. again_seconds: wall of the second command, which found everything done (`again_reused`).
    """

    steps: list[Step]
    workers: int
    command: Overhead
    flow: Overhead
    server_seconds: float | None
    again_seconds: float
    again_reused: bool


@dataclass(frozen=True)
class DatasetResult:
    dataset: str
    flow: FlowResult
    fit: FitComparison
    ranking: RankingComparison
    warm: list[WarmStart] = field(default_factory=list)


def as_json(machine: Machine, results: list[DatasetResult]) -> dict[str, Any]:
    """{machine, datasets: {name: {steps, overhead, fit, ranking, again, warm_start}}}: seconds, `met` for aims."""
    return {
        "machine": {**asdict(machine), "busy": machine.busy},
        "datasets": {result.dataset: _dataset(result) for result in results},
    }


def _dataset(result: DatasetResult) -> dict[str, Any]:
    flow, fit, ranking = result.flow, result.fit, result.ranking
    return {
        "steps": [asdict(step) for step in flow.steps],
        "overhead": {
            "workers": flow.workers,
            "server_seconds": flow.server_seconds,
            **{name: _overhead(part) for name, part in (("command", flow.command), ("flow", flow.flow))},
        },
        "again": {
            "seconds": flow.again_seconds,
            "reused": flow.again_reused,
            "met": flow.again_reused and flow.again_seconds <= AGAIN_AIM_SECONDS,
        },
        "fit": {**asdict(fit), "met": fit.met},
        "ranking": {**asdict(ranking), "against_fastest": ranking.against_fastest, "met": ranking.met},
        "warm_start": [{**asdict(one), "ratio": one.ratio, "met": one.met} for one in result.warm],
    }


def _overhead(part: Overhead) -> dict[str, Any]:
    facts = {"seconds": part.seconds, "share": part.share, "aim_seconds": part.aim_seconds, "met": part.met}
    return {**asdict(part), **facts}

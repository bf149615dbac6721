"""Everything that a run left in its workspace, read in one go; what is not there yet is None or empty."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rectory.files import read_json
from rectory.params import Params
from rectory.workspace import Workspace

STEPS = (
    "fetch",
    "validate",
    "snapshot",
    "split",
    "features",
    "train",
    "evaluate",
    "behave",
    "register",
    "promote",
    "recipe",
    "history",
    "renew",
    "score",
    "drift",
    "report",
)
PER_CANDIDATE = ("train", "evaluate", "behave")

Facts = dict[str, Any]


@dataclass(frozen=True)
class Inputs:
    """A run's files as plain values. Missing files are no fault: the page says which step has not run.

    metrics, fits, behaviour: candidate -> its file; only candidates of today's params: stale files are not reported.
    timings: label (`split`, `train-lightfm_hybrid`) -> {seconds, cpu_seconds, peak_memory_mb}, in order of the steps.
    """

    workspace: Workspace
    params: Params
    validation: Facts | None = None
    source: Facts | None = None
    snapshot: Facts | None = None
    split: Facts | None = None
    registered: Facts | None = None
    decision: Facts | None = None
    renewal: Facts | None = None
    drift: Facts | None = None
    scores: Facts | None = None
    run: Facts = field(default_factory=dict)
    metrics: dict[str, Facts] = field(default_factory=dict)
    fits: dict[str, Facts] = field(default_factory=dict)
    behaviour: dict[str, Facts] = field(default_factory=dict)
    timings: dict[str, Facts] = field(default_factory=dict)


def read_inputs(params: Params, workspace: Workspace) -> Inputs:
    """Read what is there.

    Raises:
        DataError: a file is there and is not JSON.
    """
    names = list(params.train.candidates)
    return Inputs(
        workspace=workspace,
        params=params,
        validation=_optional(workspace.validation),
        source=_optional(workspace.raw / "source.json"),
        snapshot=_optional(workspace.snapshot),
        split=_optional(workspace.split / "split.json"),
        registered=_optional(workspace.registered),
        decision=_optional(workspace.decision),
        renewal=_optional(workspace.renewal),
        drift=_optional(workspace.drift / "drift.json"),
        scores=_optional(workspace.scores_summary),
        run=_optional(workspace.run_facts) or {},
        metrics=_present((name, workspace.metrics(name)) for name in names),
        fits=_present((name, workspace.fit_report(name)) for name in names),
        behaviour=_present((name, workspace.behaviour(name)) for name in names),
        timings=_present((label, workspace.timing(label)) for label in _labels(names)),
    )


def _labels(candidates: list[str]) -> Iterable[str]:
    for step in STEPS:
        if step in PER_CANDIDATE:
            yield from (f"{step}-{name}" for name in candidates)
        else:
            yield step


def _present(paths: Iterable[tuple[str, Path]]) -> dict[str, Facts]:
    return {name: facts for name, path in paths if (facts := _optional(path)) is not None}


def _optional(path: Path) -> Facts | None:
    if not path.is_file():
        return None
    facts: Facts = read_json(path)
    return facts

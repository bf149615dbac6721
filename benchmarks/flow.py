"""What a flow costs beyond its steps' own work."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

_AFTER_TRAINING = ("evaluate", "behave")
_SIDE_BY_SIDE = ("train", *_AFTER_TRAINING)
AIM_SHARE = 0.10
AIM_SECONDS = 15.0


@dataclass(frozen=True)
class Step:
    """As `rectory.measure` wrote it. candidate: "" for steps that are made once."""

    step: str
    candidate: str
    seconds: float
    cpu_seconds: float
    peak_memory_mb: float

    @property
    def label(self) -> str:
        return f"{self.step} {self.candidate}".strip()


@dataclass(frozen=True)
class Overhead:
    """Wall minus compute, in seconds and as a share of compute; `aim_seconds` is the larger of 10% and 15 s."""

    wall_seconds: float
    compute_seconds: float

    @property
    def seconds(self) -> float:
        return self.wall_seconds - self.compute_seconds

    @property
    def share(self) -> float:
        return self.seconds / self.compute_seconds

    @property
    def aim_seconds(self) -> float:
        return max(AIM_SHARE * self.compute_seconds, AIM_SECONDS)

    @property
    def met(self) -> bool:
        return self.seconds <= self.aim_seconds


def read_steps(run: Path) -> list[Step]:
    """The run's timings/*.json in the order in which the steps first ended, those of candidates together."""
    steps = []
    first: dict[str, int] = {}
    for path in sorted((run / "timings").glob("*.json"), key=lambda path: path.stat().st_mtime_ns):
        facts = json.loads(path.read_text(encoding="utf-8"))
        candidate = path.stem.removeprefix(facts["step"]).removeprefix("-")
        numbers = (float(facts[key]) for key in ("seconds", "cpu_seconds", "peak_memory_mb"))
        steps.append(Step(facts["step"], candidate, *numbers))
        first.setdefault(facts["step"], len(first))
    return sorted(steps, key=lambda step: (first[step.step], step.candidate))


def compute_seconds(steps: list[Step], workers: int) -> float:
    """The shortest wall in which the steps' own work could be done.

    Steps made once follow each other, so their seconds add up. Candidates run side by side, `workers` at a time, each
    evaluated and asked how it behaves after its training, which two may go side by side: no schedule is shorter than
    the longest of these chains, nor than all their seconds shared out evenly. What a real schedule loses against that
    counts as overhead.
    """
    once = sum(step.seconds for step in steps if step.step not in _SIDE_BY_SIDE)
    aside = [step for step in steps if step.step in _SIDE_BY_SIDE]
    return once + max(_longest_chain(aside, workers), sum(step.seconds for step in aside) / workers)


def _longest_chain(steps: list[Step], workers: int) -> float:
    """Seconds of the candidate that takes longest; 0 without candidates."""
    chains: dict[str, dict[str, float]] = {}
    for step in steps:
        chains.setdefault(step.candidate, {})[step.step] = step.seconds
    together = max if workers > 1 else sum
    return max(
        (one.get("train", 0.0) + together([one.get(step, 0.0) for step in _AFTER_TRAINING]) for one in chains.values()),
        default=0.0,
    )

"""Contestants in turns: what else the machine does then falls on all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

Seconds = dict[str, list[float]]


def alternating(
    contestants: Mapping[str, Callable[[], object]],
    rounds: int,
    budget_seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> Seconds:
    """Seconds of each contestant in each round, A B A B ...

    Args:
        rounds: at most so many, at least one.
        budget_seconds: no round starts that would end beyond it if it took as long as the longest so far.
    """
    seconds: Seconds = {name: [] for name in contestants}
    began, longest = clock(), 0.0
    for _ in range(rounds):
        round_began = clock()
        if longest and round_began - began + longest > budget_seconds:
            break
        for name, work in contestants.items():
            start = clock()
            work()
            seconds[name].append(clock() - start)
        longest = max(longest, clock() - round_began)
    return seconds


def median_ratio(seconds: Seconds, above: str, below: str) -> float:
    """Median over the rounds of seconds(above) / seconds(below)."""
    return statistics.median(a / b for a, b in zip(seconds[above], seconds[below], strict=True))


def median_seconds(seconds: Seconds, name: str) -> float:
    return statistics.median(seconds[name])

"""Who cannot be beaten in accuracy without giving up catalogue, and the other way round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """A candidate by the gate's metric (with its interval) and by catalogue coverage in [0, 1]."""

    name: str
    value: float
    coverage: float
    low: float | None = None
    high: float | None = None
    baseline: bool = False
    winner: bool = False
    front: bool = False


def pareto_front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Names that no other beats: nobody is at least as good in both and better in one. Most accurate first.

    Points are compared as they were measured, without their intervals: the front is a picture, no test.

    Args:
        points: name -> (accuracy, coverage), more is better in both.
    """
    front: list[str] = []
    widest = float("-inf")
    # From the most accurate down, each must show more of the catalogue than all that are more accurate.
    ranked = sorted(points, key=lambda name: (-points[name][0], -points[name][1], name))
    for name in ranked:
        coverage = points[name][1]
        if coverage > widest or (front and points[name] == points[front[-1]]):
            front.append(name)
        widest = max(widest, coverage)
    return front


def staircase(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    """Coverage and accuracy along the border of what is reached, from no coverage to the widest front point."""
    front = sorted((one for one in points if one.front), key=lambda one: one.coverage)
    across, up = [0.0], [front[0].value]
    for place, one in enumerate(front):
        across.append(one.coverage)
        up.append(one.value)
        if place + 1 < len(front):
            across.append(one.coverage)
            up.append(front[place + 1].value)
    return across, up

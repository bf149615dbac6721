"""Choosing several values on the validation window, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Found:
    """chosen: the best value of each key. score: what it reached. curve: every try with its score."""

    chosen: dict[str, Any]
    score: float
    curve: list[dict[str, Any]]


def search_by_turns(grid: Mapping[str, Sequence[Any]], score: Callable[[dict[str, Any]], float]) -> Found:
    """Start from the first value of each key; in order of keys try each other value and keep the best.

    Sum of the grid's lengths tries instead of their product. Of equal scores the earlier try wins.
    """
    chosen = {key: values[0] for key, values in grid.items()}
    best = score(chosen)
    curve = [{**chosen, "score": best}]
    for key, values in grid.items():
        for value in values[1:]:
            tried = {**chosen, key: value}
            reached = score(tried)
            curve.append({**tried, "score": reached})
            if reached > best:
                best, chosen = reached, tried
    return Found(chosen, best, curve)

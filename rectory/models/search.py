"""Choosing several values on the validation window, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from rectory.arrays import Float64Array

State_co = TypeVar("State_co", covariant=True)
_PROBE_EPOCHS = 2
"""Epochs that each try gets before the best one goes on alone."""


@dataclass(frozen=True)
class Found:
    """chosen: the best value of each key. score: what it reached. curve: every try with its score."""

    chosen: dict[str, Any]
    score: float
    curve: list[dict[str, Any]]


def clearly_better(new: Float64Array, old: Float64Array) -> bool:
    """The same users score more on average, by more than one standard error of their paired differences.

    The highest of many scores on a few users is the luckiest, and another one the next day. Source of the rule: Breiman
    et al., "Classification and Regression Trees", 1984, 3.4.3.
    """
    difference = new - old
    error = float(difference.std(ddof=1)) / np.sqrt(len(difference)) if len(difference) > 1 else 0.0
    return float(difference.mean()) > error


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


class Training(Protocol[State_co]):
    """Something trained pass by pass."""

    def epoch(self) -> None:
        """Go over the data once more."""
        ...

    def state(self) -> State_co:
        """What is learnt by now; later passes do not change what was given out."""
        ...


@dataclass(frozen=True)
class FoundEpochs(Found, Generic[State_co]):
    """chosen: with `epochs` among it. state: what was learnt after so many."""

    state: State_co


def search_epochs(
    grid: Mapping[str, Sequence[Any]],
    start: Callable[[dict[str, Any]], Training[State_co]],
    score: Callable[[State_co], float],
    *,
    max_epochs: int,
    patience: int,
) -> FoundEpochs[State_co]:
    """Give every try by turns a few epochs; the best goes on until `patience` epochs in a row were no better."""
    curve: list[dict[str, Any]] = []
    best: tuple[Training[State_co], FoundEpochs[State_co]] | None = None

    def step(training: Training[State_co], tried: dict[str, Any], epoch: int) -> float:
        nonlocal best
        training.epoch()
        state = training.state()
        reached = score(state)
        curve.append({**tried, "epoch": epoch, "score": reached})
        if best is None or reached > best[1].score:
            best = training, FoundEpochs({**tried, "epochs": epoch}, reached, curve, state)
        return reached

    def probe(tried: dict[str, Any]) -> float:
        training = start(tried)
        return max(step(training, tried, epoch) for epoch in range(1, min(_PROBE_EPOCHS, max_epochs) + 1))

    tried = search_by_turns(grid, probe).chosen
    assert best is not None  # noqa: S101 - a grid has at least one try and a try at least one epoch
    training = best[0]
    epoch = min(_PROBE_EPOCHS, max_epochs)
    while epoch < max_epochs and epoch - best[1].chosen["epochs"] < patience:
        epoch += 1
        step(training, tried, epoch)
    return best[1]

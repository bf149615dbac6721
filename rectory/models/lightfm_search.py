"""Half-life and epochs of the LightFM hybrid, found on the validation window: the cheaper, unless the dearer is clearly
better."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rectory.arrays import Float64Array
from rectory.models.lightfm_training import Training
from rectory.models.search import Found, clearly_better

_PROBE_EPOCHS = 2
"""Epochs that each half-life gets before the kept one goes on alone."""


@dataclass
class _Try:
    """One half-life in training, and the score of each user at the epoch that is kept."""

    training: Training
    kept_epochs: int
    kept: Float64Array


def search(
    half_lives_days: Sequence[float | None],
    start: Callable[[float | None], Training],
    score: Callable[[Training], Float64Array],
    *,
    max_epochs: int,
    patience: int,
) -> Found:
    """From the shortest half-life on, which costs least, each gets a few epochs, until one is clearly worse.

    Of those the kept one goes on until `patience` epochs, and as many as were kept, were not clearly better: whoever
    learns slowly gains little by each epoch and much by twice as many.

    Args:
        start: training with a half-life, before its first epoch.
        score: (n_users,) validation scores of what is learnt by now.
    """
    curve: list[dict[str, Any]] = []

    def step(one: _Try | None, training: Training) -> _Try:
        training.train(1)
        values = score(training)
        curve.append(
            {"half_life_days": training.half_life_days, "epoch": training.epochs, "score": float(values.mean())}
        )
        if one is None or clearly_better(values, one.kept):
            return _Try(training, training.epochs, values)
        return one

    best: _Try | None = None
    for half_life in sorted(half_lives_days, key=lambda days: np.inf if days is None else days):
        training, probe = start(half_life), None
        for _ in range(min(_PROBE_EPOCHS, max_epochs)):
            probe = step(probe, training)
        assert probe is not None  # noqa: S101 - there is at least one epoch
        if best is not None and clearly_better(best.kept, probe.kept):
            break
        if best is None or clearly_better(probe.kept, best.kept):
            best = probe
    assert best is not None  # noqa: S101 - there is at least one half-life
    while best.training.epochs < min(max_epochs, best.kept_epochs + max(patience, best.kept_epochs)):
        best = step(best, best.training)
    chosen = {"half_life_days": best.training.half_life_days, "epochs": best.kept_epochs}
    return Found(chosen, float(best.kept.mean()), curve)

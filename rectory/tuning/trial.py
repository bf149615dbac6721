"""One trial: a whole search on the validation window with some values, watched step by step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from rectory.arrays import Float64Array
from rectory.errors import RectoryError
from rectory.features.training_set import TrainingSet
from rectory.models.catalogue import build
from rectory.models.protocol import FitReport, Fitted
from rectory.params.candidates import CandidateParams
from rectory.params.sections import TrainParams

_SAME = 1e-9
"""Difference that summing in another order may make."""
Watch = Callable[[float, int], None]
"""Hears the best score so far and the number of steps, from 1; may raise to end the trial."""


@dataclass(frozen=True)
class Outcome:
    """What a trial found.

    per_user: (n_users,) validation scores whose mean is `score`; None: the model does not tell them.
    """

    score: float
    per_user: Float64Array | None
    chosen: dict[str, Any]


class Steps:
    """Observer of one model: keeps each step's scores and passes the best mean so far on."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._by_user: list[Float64Array] = []
        self._means: list[float] = []
        self.curve: list[float] = []
        """Best mean after each step."""

    def __call__(self, values: Float64Array) -> None:
        mean = float(np.mean(values)) if len(values) else 0.0
        self._by_user.append(values.copy())
        self._means.append(mean)
        self.curve.append(max([mean, *self.curve[-1:]]))
        self._watch(self.curve[-1], len(self.curve))

    def of(self, score: float) -> Float64Array | None:
        """Scores of the latest step with this mean: a fit may choose another step than the best. None: no such step."""
        found = [step for step, mean in enumerate(self._means) if abs(mean - score) < _SAME]
        return self._by_user[found[-1]] if found else None


class _SearchIsOver(Exception):
    """All that a trial needs is known: the fit on all rows, which would double its cost, is left out."""


def try_candidate(candidate: CandidateParams, train: TrainingSet, settings: TrainParams, steps: Steps) -> Outcome:
    """Search with one candidate section. The test window is not in `train`, and no final fit is made.

    Raises:
        RectoryError: the fit failed; also whatever the steps' watch raises.
    """
    model = build(candidate, settings.seed, settings.validation_users)
    fitted = cast("Fitted", model)
    fitted.observer, fitted.on_report = steps, _stop
    with suppress(_SearchIsOver):
        model.fit(train)
    report = model.report
    if not np.isfinite(report.score):
        raise RectoryError(f"the validation score is {report.score}: training diverged.")
    return Outcome(report.score, steps.of(report.score), dict(report.chosen))


def _stop(report: FitReport) -> None:
    raise _SearchIsOver(report.score)

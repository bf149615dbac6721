"""Alternating least squares on implicit feedback: every pair counts, those that happened with more confidence.

Source: Hu, Koren and Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008; conjugate gradient
steps as in Takacs, Pilaszy and Tikk, "Applications of the Conjugate Gradient Method for Implicit Feedback Collaborative
Filtering", RecSys 2011.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from rectory.features.training_set import TrainingSet
from rectory.models.factors import FactorModel, Factors
from rectory.models.lightfm_matrices import weighted_pairs
from rectory.params.candidates import AlsParams


class Als(FactorModel):
    """Confidence 1 + alpha * weight, where the weight is what recency leaves of a pair (see `weighted_pairs`)."""

    _params_class = AlsParams
    _params: AlsParams

    def _start(self, train: TrainingSet, chosen: dict[str, Any]) -> _Training:
        return _Training(self._params, self._seed, train, chosen)


class _Training:
    """implicit's factorisation, iteration by iteration, on one thread: how many add up floats changes their sum."""

    def __init__(self, params: AlsParams, seed: int, train: TrainingSet, chosen: dict[str, Any]) -> None:
        from implicit.cpu.als import AlternatingLeastSquares

        weights = weighted_pairs(train, chosen["half_life_days"]).weights
        self._users, self._items = (np.unique(axis).astype(np.int32) for axis in (weights.row, weights.col))
        confidence = (1.0 + chosen["alpha"] * weights.data).astype(np.float32)
        self._confidence = csr_matrix((confidence, (weights.row, weights.col)), shape=weights.shape)
        self._model = AlternatingLeastSquares(
            factors=params.components,
            regularization=chosen["regularization"],
            iterations=1,
            num_threads=1,
            random_state=np.random.default_rng(seed),
        )

    def epoch(self) -> None:
        self._model.fit(self._confidence, show_progress=False)

    def state(self) -> Factors:
        item = self._model.item_factors
        level = np.zeros(len(item), dtype=np.float32)
        return Factors.of(self._model.user_factors, item, level, self._users, self._items)

"""Bayesian personalised ranking: what was taken stands above what was not.

Source: Rendle, Freudenthaler, Gantner and Schmidt-Thieme, "BPR: Bayesian Personalized Ranking from Implicit Feedback",
UAI 2009.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from rectory.features.training_set import TrainingSet
from rectory.models.factors import FactorModel, Factors
from rectory.models.lightfm_matrices import weighted_pairs
from rectory.params.candidates import BprParams

_COPIES = 2.0
"""How often an average pair stands among those that are drawn from."""


class Bpr(FactorModel):
    """Pairs are drawn in proportion to what recency leaves of them; the other item as it is taken by all."""

    _params_class = BprParams
    _params: BprParams

    def _start(self, train: TrainingSet, chosen: dict[str, Any]) -> _Training:
        return _Training(self._params, self._seed, train, chosen)


class _Training:
    """implicit's factorisation, epoch by epoch, on one thread: more would write over each other's steps."""

    def __init__(self, params: BprParams, seed: int, train: TrainingSet, chosen: dict[str, Any]) -> None:
        from implicit.cpu.bpr import BayesianPersonalizedRanking

        self._pairs = drawn_pairs(train, chosen["half_life_days"])
        self._users = np.flatnonzero(np.diff(self._pairs.indptr)).astype(np.int32)
        self._items = np.unique(self._pairs.indices).astype(np.int32)
        self._model = BayesianPersonalizedRanking(
            factors=params.components,
            learning_rate=params.learning_rate,
            regularization=chosen["regularization"],
            iterations=1,
            num_threads=1,
            # A generator goes on from pass to pass; with a number each would draw the same pairs again.
            random_state=np.random.default_rng(seed),
        )

    def epoch(self) -> None:
        self._model.fit(self._pairs, show_progress=False)

    def state(self) -> Factors:
        user, item = self._model.user_factors, self._model.item_factors
        # The last column is the item's bias; users have a one there.
        return Factors.of(user[:, :-1], item[:, :-1], item[:, -1], self._users, self._items)


def drawn_pairs(train: TrainingSet, half_life_days: float | None) -> csr_matrix:
    """(n_users, n_items) with a pair stored as often as it is to be drawn; columns in order within a row.

    implicit draws stored entries alike whatever their value, and never sums up copies.
    """
    weights = weighted_pairs(train, half_life_days).weights
    copies = np.rint(_COPIES * weights.data).astype(np.int64)
    if not copies.any():
        copies[:] = 1
    row, column = np.repeat(weights.row, copies), np.repeat(weights.col, copies)
    order = np.lexsort((column, row))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=weights.shape[0]))]).astype(np.int32)
    return csr_matrix(
        (np.ones(len(row), dtype=np.float32), column[order].astype(np.int32), indptr), shape=weights.shape
    )

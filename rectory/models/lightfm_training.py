"""One LightFM in training, and the running average of what it learns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rectory.arrays import Float32Array
from rectory.errors import RectoryError
from rectory.features.training_set import TrainingSet
from rectory.models.lightfm_matrices import Pairs, Rows, entity_rows, weighted_pairs
from rectory.params.candidates import LightFMHybridParams

if TYPE_CHECKING:
    from lightfm import LightFM

Parts = dict[str, Float32Array]
"""{user,item}_{embeddings (n_columns, d), biases (n_columns,)}."""
PARTS = tuple(f"{side}_{part}" for side in ("user", "item") for part in ("embeddings", "biases"))


class Training:
    """All matrices are made once; an epoch adds next to nothing to LightFM's own work.

    What counts is not where the last steps of an epoch happened to end but the average of the ends of all epochs: the
    last steps move the few most popular items up and down for everyone, so that scores of single epochs jump.
    Source: Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM J. Control 1992.
    """

    def __init__(
        self, params: LightFMHybridParams, seed: int, train: TrainingSet, half_life_days: float | None
    ) -> None:
        self.half_life_days = half_life_days
        self.epochs = 0
        self._threads = params.threads
        pairs = weighted_pairs(train, half_life_days)
        users, items = np.unique(pairs.interactions.row), np.unique(pairs.interactions.col)
        self.users = entity_rows(users, train.n_users, train.user_features if params.use_user_features else None)
        self.items = entity_rows(items, train.n_items, train.item_features if params.use_item_features else None)
        # Only items that were taken are drawn as negatives: the others may be new, which is no dislike.
        pairs = pairs.among(items)
        self.item_matrix = self.items.matrix[items]
        self.pairs: Pairs = pairs.with_negatives(seed) if params.loss == "logistic" else pairs
        self.model = new_lightfm(params, seed)
        self._average: Parts = {}

    def train(self, epochs: int) -> None:
        """Go on for `epochs` passes over the pairs.

        Raises:
            RectoryError: training diverged.
        """
        for _ in range(epochs):
            try:
                self.model.fit_partial(
                    self.pairs.interactions,
                    user_features=self.users.matrix,
                    item_features=self.item_matrix,
                    sample_weight=self.pairs.weights,
                    num_threads=self._threads,
                )
            except ValueError as error:
                raise RectoryError(
                    f"lightfm_hybrid: training stopped in epoch {self.epochs + 1}: {error}. "
                    "Lower `learning_rate` of the candidate in params.yaml."
                ) from error
            self.epochs += 1
            self._add(1.0 / self.epochs)

    def _add(self, share: float) -> None:
        """Move the average by `share` towards where the model is now."""
        for name in PARTS:
            now = getattr(self.model, name)
            if name not in self._average:
                self._average[name] = now.copy()
            else:
                self._average[name] += np.float32(share) * (now - self._average[name])

    def parts(self) -> Parts:
        """Averaged embedding and bias of each column; later epochs change them.

        The typical identity is the mean of the trained ones. No row in training uses its column.
        """
        for side, rows in (("user", self.users), ("item", self.items)):
            for part in ("embeddings", "biases"):
                set_typical(self._average[f"{side}_{part}"], rows)
        return self._average


def set_typical(values: Float32Array, rows: Rows) -> None:
    """Let the typical identity be the mean of the trained ones; (n_columns, ...) values, changed in place."""
    values[rows.typical] = values[: len(rows.trained)].mean(axis=0) if len(rows.trained) else 0.0


def new_lightfm(params: LightFMHybridParams, seed: int) -> LightFM:
    """An untrained LightFM."""
    from lightfm import LightFM

    return LightFM(
        no_components=params.components,
        loss=params.loss,
        learning_rate=params.learning_rate,
        item_alpha=params.item_alpha,
        user_alpha=params.user_alpha,
        random_state=seed,
    )

"""One LightFM in training: where it begins, and the running average of what it learns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rectory.arrays import Float32Array, Int32Array
from rectory.errors import RectoryError
from rectory.features.training_set import TrainingSet
from rectory.models.lightfm_matrices import NOWHERE, Pairs, Rows, entity_rows, popularity_biases, weighted_pairs
from rectory.params.candidates import LightFMHybridParams

if TYPE_CHECKING:
    from lightfm import LightFM

Parts = dict[str, Float32Array]
"""An array for each of PARTS; embeddings: (n_columns, d), biases: (n_columns,)."""
PARTS = {
    f"{side}_{plural}": f"{side}_{one}_gradients"
    for side in ("user", "item")
    for one, plural in (("embedding", "embeddings"), ("bias", "biases"))
}
"""LightFM's name of each array that it learns -> that of the sums of squared gradients (Adagrad) beside it."""
_FIXED = 1e20
"""Sum of squared gradients with which no step moves anything that a float32 can show."""


@dataclass(frozen=True)
class Learnt:
    """All that a training needs to go on from. parts: as `Training.parts`. squares: as `Training.squares`."""

    parts: Parts
    squares: Parts
    users: Rows
    items: Rows


class Training:
    """All matrices are made once; an epoch adds next to nothing to LightFM's own work.

    Two things are not LightFM's own, both because the few most popular items decide a list and one pass of gradient
    steps after the other moves them up and down for everyone:

    The bias of an item's identity is not learnt: it is set to what makes the item's bias the log of its (recent)
    popularity. What is learnt is who departs from it.

    What counts is not where the last epoch happened to end but the average of the ends of all epochs. Source: Polyak
    and Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM J. Control and Optimization 1992.
    """

    def __init__(
        self, params: LightFMHybridParams, seed: int, train: TrainingSet, half_life_days: float | None
    ) -> None:
        self.half_life_days = half_life_days
        self._params = params
        self._seed = seed
        pairs = weighted_pairs(train, half_life_days)
        users, items = np.unique(pairs.interactions.row), np.unique(pairs.interactions.col)
        self.users = entity_rows(users, train.n_users, train.user_features if params.use_user_features else None)
        self.items = entity_rows(items, train.n_items, train.item_features if params.use_item_features else None)
        # Only items that were taken are drawn as negatives: the others may be new, which is no dislike.
        pairs = pairs.among(items)
        self._popularity = popularity_biases(pairs, self.items)
        self.item_matrix = self.items.matrix[items]
        self.pairs: Pairs = pairs.with_negatives(seed) if params.loss == "logistic" else pairs
        self.begin()

    def begin(self) -> None:
        """Forget what was learnt: LightFM's random start."""
        self.model = new_lightfm(self._params, self._seed)
        self.epochs = 0
        self._average: Parts = {}
        columns = {"user": self.users.matrix.shape[1], "item": self.items.matrix.shape[1]}
        self._averaged = {side: np.zeros(n, dtype=np.float32) for side, n in columns.items()}
        self._fit(0)
        self._hold_popularity()

    def start_from(self, learnt: Learnt, user_codes: Int32Array, item_codes: Int32Array, weight: int = 1) -> int:
        """Begin where an earlier training ended; gives how many identities are new.

        New identities begin as the typical one, new values of a feature as the mean of its known values: so their
        users and items are at first what they were without them. Steps go on as small as they had become. Where a new
        column begins has no part in its average.

        Args:
            user_codes, item_codes: what the users and items of this training are called in `learnt`; -1: new.
            weight: epochs of the average that the beginning counts as, where a column is not new.
        """
        new = 0
        for side, rows, earlier, codes in (
            ("user", self.users, learnt.users, user_codes),
            ("item", self.items, learnt.items, item_codes),
        ):
            columns = rows.columns_in(earlier, codes)
            new += int((columns[: len(rows.trained)] == NOWHERE).sum())
            for name in (f"{side}_embeddings", f"{side}_biases"):
                getattr(self.model, name)[:] = _continued(learnt.parts[name], columns, rows, earlier)
                steps = np.where(columns == NOWHERE, 1.0, learnt.squares[name][columns]).astype(np.float32)
                squares = getattr(self.model, PARTS[name])
                squares[:] = steps.reshape(-1, *[1] * (squares.ndim - 1))
            self._averaged[side] = np.where(columns == NOWHERE, 0, weight).astype(np.float32)
        self._hold_popularity()
        self._average = {name: getattr(self.model, name).copy() for name in PARTS}
        return new

    def train(self, epochs: int) -> None:
        """Go on for `epochs` passes over the pairs.

        Raises:
            RectoryError: training diverged.
        """
        for _ in range(epochs):
            try:
                self._fit(1)
            except ValueError as error:
                raise RectoryError(
                    f"lightfm_hybrid: training stopped in epoch {self.epochs + 1}: {error}. "
                    "Lower `learning_rate` of the candidate in params.yaml."
                ) from error
            self.epochs += 1
            self._hold_popularity()
            self._add()

    def parts(self) -> Parts:
        """Averaged embedding and bias of each column; later epochs change them.

        The typical identity is the mean of the trained ones. No row in training uses its column.
        """
        for side, rows in (("user", self.users), ("item", self.items)):
            for name in (f"{side}_embeddings", f"{side}_biases"):
                values = self._average[name]
                values[rows.typical] = values[: len(rows.trained)].mean(axis=0) if len(rows.trained) else 0.0
        return self._average

    def squares(self) -> Parts:
        """For each of PARTS (n_columns,): Adagrad's sum of squared gradients, the mean over a row.

        Steps are the learning rate over its root. One number a column is kept, not one an entry: those of a row are
        alike, and it would double what is stored.
        """
        found = {name: getattr(self.model, squares) for name, squares in PARTS.items()}
        return {name: values.copy() if values.ndim == 1 else values.mean(axis=1) for name, values in found.items()}

    def _fit(self, epochs: int) -> None:
        self.model.fit_partial(
            self.pairs.interactions,
            user_features=self.users.matrix,
            item_features=self.item_matrix,
            sample_weight=self.pairs.weights,
            epochs=epochs,
            num_threads=self._params.threads,
        )

    def _hold_popularity(self) -> None:
        """Set what is not learnt; a penalty (`item_alpha`) would shrink it all the same."""
        n = len(self._popularity)
        self.model.item_biases[:n] = self._popularity
        self.model.item_bias_gradients[:n] = _FIXED

    def _add(self) -> None:
        """Let where the model is now count in the average as much as each of the ends before."""
        for side in self._averaged:
            self._averaged[side] += 1
        for name in PARTS:
            now = getattr(self.model, name)
            if name not in self._average:
                self._average[name] = now.copy()
            else:
                share = np.float32(1.0) / self._averaged[name.partition("_")[0]]
                self._average[name] += (now - self._average[name]) * share.reshape(-1, *[1] * (now.ndim - 1))


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


def _continued(values: Float32Array, columns: Int32Array, rows: Rows, earlier: Rows) -> Float32Array:
    """(n_columns, ...) the earlier values of `columns`, and what new columns begin with."""
    found = np.array(values[columns])
    first, new = len(rows.trained), columns == NOWHERE
    found[:first][new[:first]] = values[earlier.typical]
    owner = np.array([_feature(name) for name in earlier.features], dtype=object)
    for at in np.flatnonzero(new[first : rows.shared]):
        same = np.flatnonzero(owner == _feature(rows.features[at]))
        found[first + at] = values[len(earlier.trained) + same].mean(axis=0) if len(same) else 0.0
    return found


def _feature(column: str) -> str:
    """`genre` of `genre=Drama`."""
    return column.partition("=")[0]

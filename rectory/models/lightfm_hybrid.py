"""LightFM on identities, declared features and a feature that all share, weighted by recency.

Source: Kula, "Metadata Embeddings for User and Item Cold-start Recommendations", CBRecSys 2015; the WARP loss: Weston,
Bengio and Usunier, "WSABIE", IJCAI 2011.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy.sparse import csr_array, vstack

from rectory.arrays import Float32Array, Int32Array
from rectory.errors import RectoryError
from rectory.features.training_set import TrainingSet
from rectory.files import read_arrays, read_json, write_arrays, write_json
from rectory.models.lightfm_matrices import Pairs, Rows, entity_rows, weighted_pairs
from rectory.models.protocol import FitReport, Fitted, Reason, TopK
from rectory.models.topk import excluding_self, rank_factors
from rectory.models.validation import METRIC, Validation
from rectory.params.candidates import LightFMHybridParams

if TYPE_CHECKING:
    from lightfm import LightFM

_PAIRS_AT_ONCE = 1 << 18
_PROBE_EPOCHS = 2
"""Epochs that each half-life gets before the best one goes on alone."""
_EPOCHS_UNVALIDATED = 5
"""Epochs when the validation window has nobody to score."""


class LightFMHybrid(Fitted):
    """Scores are inner products of user and item representations plus both biases.

    A representation is the weighted sum of the embeddings of its columns (see `lightfm_matrices.entity_rows`), so users
    and items without an interaction are answered by their features and the shared column alone. Needs the lightfm
    package to fit, not to answer.
    """

    def __init__(self, params: LightFMHybridParams, seed: int, validation_users: int) -> None:
        self._params = params
        self._seed = seed
        self._validation_users = validation_users
        self._user_rows: Rows
        self._item_rows: Rows
        self._parts: dict[str, Float32Array] = {}
        """{user,item}_{embeddings (n_columns, d), biases (n_columns,)}."""

    # Fitting.

    def fit(self, train: TrainingSet) -> Self:
        """Search half-life and epochs before the validation window, then train on everything with what was found.

        Raises:
            RectoryError: training diverged.
        """
        half_life, epochs, score, curve = self._search(train)
        chosen = {"half_life_days": half_life, "epochs": epochs}
        self._report = FitReport(METRIC, score, chosen, curve)
        return self.refit(train, chosen)

    def refit(self, train: TrainingSet, chosen: dict[str, Any]) -> Self:
        run = _Run(self._params, self._seed, train, chosen["half_life_days"])
        run.train(chosen["epochs"])
        self._take(run)
        return self

    def _search(self, train: TrainingSet) -> tuple[float | None, int, float, list[dict[str, Any]]]:
        """Half-life, epochs, validation score and the curve.

        Every half-life gets a few epochs; the best goes on until `patience` epochs in a row were no better.
        """
        params = self._params
        validation = Validation(train, self._validation_users, self._seed)
        before = train.before_validation()
        if len(before.user) == 0 or len(validation.users) == 0:
            return params.half_lives_days[0], min(_EPOCHS_UNVALIDATED, params.max_epochs), 0.0, []
        curve: list[dict[str, Any]] = []

        def step(run: _Run) -> float:
            run.train(1)
            self._take(run)
            score = validation.score(self)
            curve.append({"half_life_days": run.half_life_days, "epoch": run.epochs, "score": score})
            return score

        best_score, best_run, best_epochs = -1.0, None, 0
        for half_life in params.half_lives_days:
            run = _Run(params, self._seed, before, half_life)
            for _ in range(min(_PROBE_EPOCHS, params.max_epochs)):
                score = step(run)
                if score > best_score:
                    best_score, best_run, best_epochs = score, run, run.epochs
        assert best_run is not None  # noqa: S101 - there is at least one half-life, and every score is above -1
        while best_run.epochs < params.max_epochs and best_run.epochs - best_epochs < params.patience:
            score = step(best_run)
            if score > best_score:
                best_score, best_epochs = score, best_run.epochs
        return best_run.half_life_days, best_epochs, best_score, curve

    def _take(self, run: _Run) -> None:
        """Make the state of `run` this model's own."""
        self._user_rows, self._item_rows = run.users, run.items
        self._parts = run.parts()
        self._combine()

    def _combine(self) -> None:
        """Representations with the biases as further columns: score = query . factor."""
        part = self._parts
        # The last query is the user of whom nothing is known, so that code -1 finds it.
        users = vstack([self._user_rows.matrix, self._user_rows.unknown], format="csr")
        user, user_bias = users @ part["user_embeddings"], users @ part["user_biases"]
        items = self._item_rows.matrix
        item, item_bias = items @ part["item_embeddings"], items @ part["item_biases"]
        self._queries = np.column_stack([user, user_bias, np.ones_like(user_bias)]).astype(np.float32)
        self._factors = np.column_stack([item, np.ones_like(item_bias), item_bias]).astype(np.float32)

    # Answering.

    def recommend(
        self, users: Int32Array, k: int, *, exclude: csr_array | None = None, items: Int32Array | None = None
    ) -> TopK:
        return rank_factors(self._queries[users], self._factors, k, exclude, items)

    def score_pairs(self, users: Int32Array, items: Int32Array) -> Float32Array:
        scores = np.empty(len(users), dtype=np.float32)
        for start in range(0, len(users), _PAIRS_AT_ONCE):
            part = slice(start, start + _PAIRS_AT_ONCE)
            scores[part] = np.einsum("nd,nd->n", self._queries[users[part]], self._factors[items[part]])
        return scores

    def similar(self, items: Int32Array, k: int) -> TopK:
        """Cosine of the representations, without what all items share."""
        shared = self._item_rows.shared
        weight = self._item_rows.matrix[:, [shared]].toarray()
        own = self._factors[:, :-2] - weight * self._parts["item_embeddings"][shared]
        norm = np.linalg.norm(own, axis=1, keepdims=True)
        unit = np.ascontiguousarray(own / np.where(norm > 0, norm, 1.0), dtype=np.float32)
        return rank_factors(unit[items], unit, k, excluding_self(items, len(unit)), None)

    def explain(self, user: int, item: int) -> list[Reason]:
        """One reason for each user part with each item part, and one for each part's bias."""
        part = self._parts
        user_row = self._user_rows.matrix[[user]] if user >= 0 else self._user_rows.unknown
        item_row = self._item_rows.matrix[[item]]
        user_words = self._user_rows.labels(user_row, "user", "users")
        item_words = self._item_rows.labels(item_row, "item", "items")
        user_parts = part["user_embeddings"][user_row.indices].astype(np.float64) * user_row.data[:, None]
        item_parts = part["item_embeddings"][item_row.indices].astype(np.float64) * item_row.data[:, None]
        taste = user_parts @ item_parts.T
        reasons = [
            Reason(f"taste of {user_words[i]} for {item_words[j]}", float(taste[i, j]))
            for i, j in np.ndindex(taste.shape)
        ]
        for words, row, biases, what in (
            (user_words, user_row, part["user_biases"], "level"),
            (item_words, item_row, part["item_biases"], "popularity"),
        ):
            levels = biases[row.indices].astype(np.float64) * row.data
            reasons += [Reason(f"{what} of {word}", float(level)) for word, level in zip(words, levels, strict=True)]
        return sorted(reasons, key=lambda reason: -reason.contribution)

    # Keeping.

    def save(self, folder: Path) -> None:
        """embeddings.npz (each column's embedding and bias), rows of users and items, names of the columns."""
        write_arrays(
            folder / "embeddings.npz",
            {**self._parts, "user_trained": self._user_rows.trained, "item_trained": self._item_rows.trained},
        )
        self._user_rows.save(folder, "user_rows")
        self._item_rows.save(folder, "item_rows")
        names = {"user_features": self._user_rows.features, "item_features": self._item_rows.features}
        write_json(folder / "lightfm_hybrid.json", {**names, "params": self._params.model_dump(mode="json")})

    @classmethod
    def load(cls, folder: Path) -> Self:
        facts = read_json(folder / "lightfm_hybrid.json")
        model = cls(LightFMHybridParams.model_validate(facts["params"]), seed=0, validation_users=0)
        parts = read_arrays(folder / "embeddings.npz")
        user_trained, item_trained = parts.pop("user_trained"), parts.pop("item_trained")
        model._user_rows = Rows.load(folder, "user_rows", user_trained, tuple(facts["user_features"]))
        model._item_rows = Rows.load(folder, "item_rows", item_trained, tuple(facts["item_features"]))
        model._parts = parts
        model._combine()
        return model


class _Run:
    """One LightFM in training. All matrices are made once; an epoch adds nothing to LightFM's own work."""

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
        self._item_matrix = self.items.matrix[items]
        self._pairs: Pairs = pairs.with_negatives(seed) if params.loss == "logistic" else pairs
        self._model = _lightfm(params, seed)

    def train(self, epochs: int) -> None:
        """Go on for `epochs` passes over the pairs."""
        try:
            self._model.fit_partial(
                self._pairs.interactions,
                user_features=self.users.matrix,
                item_features=self._item_matrix,
                sample_weight=self._pairs.weights,
                epochs=epochs,
                num_threads=self._threads,
            )
        except ValueError as error:
            raise RectoryError(
                f"lightfm_hybrid: training stopped in epoch {self.epochs + 1} to {self.epochs + epochs}: {error}. "
                "Lower `learning_rate` of the candidate in params.yaml."
            ) from error
        self.epochs += epochs

    def parts(self) -> dict[str, Float32Array]:
        """Embedding and bias of each column; views, valid until the next epoch.

        The typical identity is the mean of the trained ones. No row in training uses its column.
        """
        for side, rows in (("user", self.users), ("item", self.items)):
            for part in ("embeddings", "biases"):
                values = getattr(self._model, f"{side}_{part}")
                values[rows.typical] = values[: len(rows.trained)].mean(axis=0) if len(rows.trained) else 0.0
        return {
            f"{side}_{part}": getattr(self._model, f"{side}_{part}")
            for side in ("user", "item")
            for part in ("embeddings", "biases")
        }


def _lightfm(params: LightFMHybridParams, seed: int) -> LightFM:
    from lightfm import LightFM

    return LightFM(
        no_components=params.components,
        loss=params.loss,
        learning_rate=params.learning_rate,
        item_alpha=params.item_alpha,
        user_alpha=params.user_alpha,
        random_state=seed,
    )

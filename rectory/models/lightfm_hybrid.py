"""LightFM on identities, declared features and a feature that all share, weighted by recency.

Source: Kula, "Metadata Embeddings for User and Item Cold-start Recommendations", CBRecSys 2015; the WARP loss: Weston,
Bengio and Usunier, "WSABIE", IJCAI 2011.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from scipy.sparse import csr_array, vstack

from rectory.arrays import Float32Array, Int32Array
from rectory.features.training_set import TrainingSet
from rectory.files import read_arrays, read_json, write_arrays, write_json
from rectory.models.lightfm_matrices import Rows
from rectory.models.lightfm_search import search
from rectory.models.lightfm_training import Learnt, Parts, Training
from rectory.models.live_history import LiveHistory, Usual, folded_in
from rectory.models.nearest import NearestItems, top_by_product
from rectory.models.protocol import CannotContinue, Earlier, FitReport, Fitted, Reason, TopK
from rectory.models.search import Found
from rectory.models.topk import excluding_self, rank_factors, score_factor_pairs
from rectory.models.validation import METRIC, Validation
from rectory.params.candidates import LightFMHybridParams

_EPOCHS_UNVALIDATED = 5
"""Epochs when the validation window has nobody to score."""
_WARM_EPOCHS = 1
"""Epochs of a warm start. More did not help (docs/warm-start.md): what one more day says is learnt in the first."""


_NEWS = 100
"""Interactions since the training that are folded in, the latest."""
_STEP_DECAY = 0.95
"""Weight of a step back among them."""


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
        self._parts: Parts = {}
        self._squares: Parts | None = None
        self.nearest: NearestItems | None = None

    # Fitting.

    def fit(self, train: TrainingSet) -> Self:
        """Search half-life and epochs before the validation window, then train on everything with what was found.

        Raises:
            RectoryError: training diverged.
        """
        found = self._search(train)
        self._report = FitReport(METRIC, found.score, found.chosen, found.curve)
        return self.refit(train, found.chosen)

    def refit(self, train: TrainingSet, chosen: dict[str, Any]) -> Self:
        training = Training(self._params, self._seed, train, chosen["half_life_days"])
        training.train(chosen["epochs"])
        return self._take(training)

    def warm_fit(self, train: TrainingSet, earlier: Earlier) -> Self:
        """An epoch over all pairs that have not faded, from where the earlier model's embeddings and step sizes ended.

        Raises:
            CannotContinue: the earlier model was saved without its step sizes, or has embeddings of another length.
            RectoryError: training diverged.
        """
        before: LightFMHybrid = earlier.model
        if before._squares is None:
            raise CannotContinue("it was saved without the sizes of its steps")
        if before._params.components != self._params.components:
            raise CannotContinue(f"its embeddings have {before._params.components} components")
        training = Training(self._params, self._seed, train, earlier.report.chosen["half_life_days"])
        learnt = Learnt(before._parts, before._squares, before._user_rows, before._item_rows)
        new = training.start_from(learnt, earlier.user_codes, earlier.item_codes, earlier.report.chosen["epochs"])
        training.train(_WARM_EPOCHS)
        pairs = training.pairs.interactions.nnz
        told = f"{_WARM_EPOCHS} epoch over {pairs:,} pairs; {new:,} users and items with interactions are new"
        self._report = replace(earlier.report, start=told)
        return self._take(training)

    def _search(self, train: TrainingSet) -> Found:
        params = self._params
        validation = Validation(train, self._validation_users, self._seed)
        before = train.before_validation()
        if len(before.user) == 0 or len(validation.users) == 0:
            epochs = min(_EPOCHS_UNVALIDATED, params.max_epochs)
            return Found({"half_life_days": params.half_lives_days[0], "epochs": epochs}, 0.0, [])
        return search(
            params.half_lives_days,
            lambda half_life: Training(params, self._seed, before, half_life),
            lambda training: validation.heard(self._take(training)),
            max_epochs=params.max_epochs,
            patience=params.patience,
        )

    def _take(self, training: Training) -> Self:
        """Make what is learnt by now this model's own."""
        self._user_rows, self._item_rows = training.users, training.items
        self._parts, self._squares = training.parts(), training.squares()
        self._combine()
        return self

    def _combine(self) -> None:
        """Representations with the biases as further columns: score = query . factor."""
        self.__dict__.pop("_usual", None)
        self.nearest = None
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
        return score_factor_pairs(self._queries, self._factors, users, items)

    def recommend_for_history(
        self, history: LiveHistory, k: int, *, exclude: Int32Array | None = None, items: Int32Array | None = None
    ) -> TopK:
        """For the user's representation, moved by what was taken since the training."""
        return top_by_product(self, self.query_for(history), k, exclude, items)

    def query_for(self, history: LiveHistory) -> Float32Array:
        """(d + 2,) the user's query (or that of the unknown one) with the news of a history folded in."""
        news = history.news
        weight = np.power(_STEP_DECAY, np.arange(int(news.sum()))[::-1].astype(np.float64))
        taken, width = history.items[news][-_NEWS:], self._factors.shape[1] - 2
        return folded_in(self._queries[history.user], self._factors, self._usual, taken, weight[-_NEWS:], width=width)

    @property
    def factors(self) -> Float32Array:
        """(n_items, d + 2): score = query . factor."""
        return self._factors

    @property
    def queries(self) -> Float32Array:
        """(n_users + 1, d + 2), the last one for who is unknown."""
        return self._queries

    @cached_property
    def _usual(self) -> Usual:
        return Usual.of(self._queries[:, :-2], self._factors[:, :-2])

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
        """embeddings.npz (each column's embedding and bias), rows of users and items, names of the columns.

        squares.npz is for a warm start alone: how small the steps of each column had become.
        """
        write_arrays(
            folder / "embeddings.npz",
            {**self._parts, "user_trained": self._user_rows.trained, "item_trained": self._item_rows.trained},
        )
        if self._squares is not None:
            write_arrays(folder / "squares.npz", self._squares)
        self._user_rows.save(folder, "user_rows")
        self._item_rows.save(folder, "item_rows")
        names = {"user_features": self._user_rows.features, "item_features": self._item_rows.features}
        write_json(folder / "lightfm_hybrid.json", {**names, "params": self._params.model_dump(mode="json")})

    @classmethod
    def load(cls, folder: Path) -> Self:
        facts = read_json(folder / "lightfm_hybrid.json")
        model = cls(LightFMHybridParams.of_saved(facts["params"]), seed=0, validation_users=0)
        parts = read_arrays(folder / "embeddings.npz")
        user_trained, item_trained = parts.pop("user_trained"), parts.pop("item_trained")
        model._user_rows = Rows.load(folder, "user_rows", user_trained, tuple(facts["user_features"]))
        model._item_rows = Rows.load(folder, "item_rows", item_trained, tuple(facts["item_features"]))
        model._parts = parts
        squares = folder / "squares.npz"
        model._squares = read_arrays(squares) if squares.is_file() else None
        model._combine()
        return model

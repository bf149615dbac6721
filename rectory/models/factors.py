"""Users and items as vectors: how such models are searched for, answer, explain and are kept."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from scipy.sparse import csr_array

from rectory.arrays import Array, Float32Array, Int32Array
from rectory.features.training_set import TrainingSet
from rectory.files import read_arrays, read_json, write_arrays, write_json
from rectory.models.item_to_item import FAINT
from rectory.models.live_history import LiveHistory, Usual, folded_in
from rectory.models.nearest import NearestItems, top_by_product
from rectory.models.protocol import FitReport, Fitted, Reason, TopK
from rectory.models.recency import recent_popularity
from rectory.models.search import Training, search_by_turns, search_epochs
from rectory.models.topk import excluding_self, rank_factors, score_factor_pairs
from rectory.models.validation import METRIC, Validation
from rectory.params.candidates import FactorParams

_EPOCHS_UNVALIDATED = 5
"""Epochs when the validation window has nobody to score."""
_SCALE_USERS = 100
"""Users whose best scores tell the scale of all scores."""


@dataclass(frozen=True)
class Factors:
    """user: (n_users + 1, d), the last one for who is unknown. item: (n_items, d). level: (n_items,), whoever asks."""

    user: Float32Array
    item: Float32Array
    level: Float32Array

    @classmethod
    def of(cls, user: Array, item: Array, level: Array, users: Int32Array, items: Int32Array) -> Factors:
        """Typical vectors for who was not trained, and a scale on which popularity in [0, 1] can be added.

        Without a history there is no vector of one's own; untrained ones are zero or the random start. The mean of the
        trained ones makes an unknown user the average user, for whom an untrained item stands level with the last of
        the trained ones: half of a catalogue may be dead, and an average place would put it above much that sells.
        The users' best scores become 1 on average.

        Args:
            user, item, level: as trained; copied.
            users, items: codes of those that were trained.
        """
        whole = np.tile(user[users].mean(axis=0, keepdims=True), (len(user) + 1, 1))
        whole[users] = user[users]
        vectors = np.tile(item[items].mean(axis=0, keepdims=True), (len(item), 1))
        vectors[items] = item[items]
        average = vectors @ whole[-1]
        last = (average[items] + level[items]).min()
        levels = last - average
        levels[items] = level[items]
        asked = users[np.unique(np.linspace(0, len(users) - 1, _SCALE_USERS).astype(np.int64))]
        best = (whole[asked] @ vectors.T + levels).max(axis=1).mean()
        scale = 1.0 / best if best > 0 else 1.0
        return cls(*(part.astype(np.float32) for part in (whole, vectors * scale, levels * scale)))


class FactorModel(Fitted):
    """score = user . item + level of the item + popularity_weight * popular[item]. Subclasses train."""

    _params_class: type[FactorParams]
    nearest: NearestItems | None = None

    def __init__(self, params: FactorParams, seed: int, validation_users: int) -> None:
        self._params = params
        self._seed = seed
        self._validation_users = validation_users

    @abstractmethod
    def _start(self, train: TrainingSet, chosen: dict[str, Any]) -> Training[Factors]:
        """Training with these choices, not begun."""

    def fit(self, train: TrainingSet) -> Self:
        """Choose recipe, epochs and the part of popularity before the validation window, then train on all."""
        params = self._params
        validation = Validation(train, self._validation_users, self._seed)
        before = train.before_validation()
        fill = {key: values[0] for key, values in params.fill_grid().items()}
        if len(before.user) == 0 or len(validation.users) == 0:
            recipe = {key: values[0] for key, values in params.recipes().items()}
            chosen = {**recipe, "epochs": min(_EPOCHS_UNVALIDATED, params.max_epochs), **fill}
            self._report = FitReport(METRIC, 0.0, chosen)
            return self.refit(train, chosen)
        trained = search_epochs(
            params.recipes(),
            lambda recipe: self._start(before, recipe),
            lambda factors: validation.score(self._become(factors, before, fill)),
            max_epochs=params.max_epochs,
            patience=params.patience,
        )
        filled = search_by_turns(
            params.fill_grid(), lambda tried: validation.score(self._become(trained.state, before, tried))
        )
        chosen = trained.chosen | filled.chosen
        recipe = {"epoch" if key == "epochs" else key: value for key, value in trained.chosen.items()}
        curve = [{**tried, **fill} for tried in trained.curve] + [{**recipe, **tried} for tried in filled.curve]
        self._report = FitReport(METRIC, filled.score, chosen, curve)
        return self.refit(train, chosen)

    def refit(self, train: TrainingSet, chosen: dict[str, Any]) -> Self:
        training = self._start(train, chosen)
        for _ in range(chosen["epochs"]):
            training.epoch()
        return self._become(training.state(), train, chosen)

    def _become(self, factors: Factors, train: TrainingSet, fill: dict[str, Any]) -> Self:
        popular = recent_popularity(train, fill["popularity_window_days"])
        return self._take(factors, popular, fill["popularity_weight"])

    def _take(self, factors: Factors, popular: Float32Array, popularity_weight: float) -> Self:
        self.__dict__.pop("_usual", None)
        self.nearest = None
        self._trained, self._popular, self._popularity_weight = factors, popular, popularity_weight
        self._floor = (popularity_weight * popular).astype(np.float32)
        # The sum of level and popularity as one more column: score = query . factor.
        self._queries = np.column_stack([factors.user, np.ones(len(factors.user), dtype=np.float32)])
        self._factors = np.column_stack([factors.item, factors.level + self._floor])
        return self

    @property
    def queries(self) -> Float32Array:
        """(n_users + 1, d + 1), the last one for who is unknown."""
        return self._queries

    @property
    def factors(self) -> Float32Array:
        """(n_items, d + 1): score = query . factor."""
        return self._factors

    def recommend(
        self, users: Int32Array, k: int, *, exclude: csr_array | None = None, items: Int32Array | None = None
    ) -> TopK:
        return rank_factors(self._queries[users], self._factors, k, exclude, items)

    def recommend_for_history(
        self, history: LiveHistory, k: int, *, exclude: Int32Array | None = None, items: Int32Array | None = None
    ) -> TopK:
        """For the user's vector, moved by what was taken since the training."""
        return top_by_product(self, self.query_for(history), k, exclude, items)

    def query_for(self, history: LiveHistory) -> Float32Array:
        """(d + 1,) the user's query (or that of the unknown one) with the news of a history folded in."""
        taken, width = history.items[history.news], self._trained.item.shape[1]
        return folded_in(
            self._queries[history.user], self._factors, self._usual, taken, np.ones(len(taken)), width=width
        )

    @cached_property
    def _usual(self) -> Usual:
        return Usual.of(self._trained.user, self._trained.item)

    def score_pairs(self, users: Int32Array, items: Int32Array) -> Float32Array:
        return score_factor_pairs(self._queries, self._factors, users, items)

    def similar(self, items: Int32Array, k: int) -> TopK:
        """Cosine of the item vectors; of equal ones the more popular."""
        vectors = self._trained.item
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit = vectors / np.where(length > 0, length, np.float32(1.0))
        queries = np.column_stack([unit[items], np.full(len(items), FAINT, dtype=np.float32)])
        return rank_factors(queries, np.column_stack([unit, self._popular]), k, excluding_self(items, len(unit)), None)

    def explain(self, user: int, item: int) -> list[Reason]:
        factors = self._trained
        taste = float(factors.user[user].astype(np.float64) @ factors.item[item])
        who = "the user's taste, learnt from what like-minded users took" if user >= 0 else "the average user's taste"
        reasons = [Reason(who, taste), Reason("popular with everyone", float(self._floor[item]))]
        if factors.level.any():
            reasons.append(Reason("the item's own level, learnt", float(factors.level[item])))
        return sorted(reasons, key=lambda reason: -reason.contribution)

    def save(self, folder: Path) -> None:
        """factors.npz and factors.json."""
        trained = self._trained
        arrays = {"user": trained.user, "item": trained.item, "level": trained.level, "popular": self._popular}
        write_arrays(folder / "factors.npz", arrays)
        facts = {"popularity_weight": self._popularity_weight, "params": self._params.model_dump(mode="json")}
        write_json(folder / "factors.json", facts)

    @classmethod
    def load(cls, folder: Path) -> Self:
        facts, arrays = read_json(folder / "factors.json"), read_arrays(folder / "factors.npz")
        popular = arrays.pop("popular")
        model = cls(cls._params_class.of_saved(facts["params"]), seed=0, validation_users=0)
        return model._take(Factors(**arrays), popular, facts["popularity_weight"])

"""The same list for everyone: what most users took, lately."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any, Self

import numpy as np
from scipy.sparse import csr_array

from rectory.arrays import Float32Array, Int32Array
from rectory.features.training_set import TrainingSet
from rectory.files import read_arrays, read_json, write_arrays, write_json
from rectory.models.protocol import FitReport, Fitted, Reason, TopK
from rectory.models.recency import popularity_scores
from rectory.models.topk import excluding_self, rank_shared
from rectory.models.validation import METRIC, Validation
from rectory.params.candidates import PopularityParams


class Popularity(Fitted):
    """Weighted counts with a window and a half-life that validation chooses from the grid in params.yaml."""

    def __init__(self, params: PopularityParams, seed: int, validation_users: int) -> None:
        self._params = params
        self._seed = seed
        self._validation_users = validation_users
        self._scores: Float32Array = np.zeros(0, dtype=np.float32)
        self._window_days: float | None = None
        self._half_life_days: float | None = None

    def fit(self, train: TrainingSet) -> Self:
        """Choose window and half-life before the validation window, then count over all of `train`."""
        validation = Validation(train, self._validation_users, self._seed)
        before = train.before_validation()
        curve = []
        for window, half_life in product(self._params.windows_days, self._params.half_lives_days):
            self._scores = popularity_scores(before, window, half_life)
            score = validation.score(self)
            curve.append({"window_days": window, "half_life_days": half_life, "score": score})
        best = max(curve, key=lambda tried: tried["score"] or 0.0)  # the first of equals
        chosen = {name: best[name] for name in ("window_days", "half_life_days")}
        self._report = FitReport(METRIC, best["score"] or 0.0, chosen, curve)
        return self.refit(train, chosen)

    def refit(self, train: TrainingSet, chosen: dict[str, Any]) -> Self:
        self._window_days, self._half_life_days = chosen["window_days"], chosen["half_life_days"]
        self._scores = popularity_scores(train, self._window_days, self._half_life_days)
        return self

    def recommend(
        self, users: Int32Array, k: int, *, exclude: csr_array | None = None, items: Int32Array | None = None
    ) -> TopK:
        return rank_shared(self._scores, len(users), k, exclude, items)

    def similar(self, items: Int32Array, k: int) -> TopK:
        """Popular items: a count knows no likeness."""
        return rank_shared(self._scores, len(items), k, excluding_self(items, len(self._scores)), None)

    def explain(self, user: int, item: int) -> list[Reason]:  # noqa: ARG002 - the same for every user
        when = "ever" if self._window_days is None else f"in the last {self._window_days:g} days of training"
        fading = "" if self._half_life_days is None else f", half-life {self._half_life_days:g} days"
        return [Reason(f"popular: weighted number of interactions {when}{fading}", float(self._scores[item]))]

    def save(self, folder: Path) -> None:
        write_arrays(folder / "popularity.npz", {"scores": self._scores})
        write_json(
            folder / "popularity.json", {"window_days": self._window_days, "half_life_days": self._half_life_days}
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        facts = read_json(folder / "popularity.json")
        model = cls(PopularityParams(kind="popularity"), seed=0, validation_users=0)
        model._scores = read_arrays(folder / "popularity.npz")["scores"]
        model._window_days, model._half_life_days = facts["window_days"], facts["half_life_days"]
        return model

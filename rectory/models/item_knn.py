"""Items like those that the user took, by who else took them.

Source: Sarwar, Karypis, Konstan and Riedl, "Item-based Collaborative Filtering Recommendation Algorithms", WWW 2001.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from scipy.sparse import csr_array

from rectory.features.training_set import TrainingSet
from rectory.files import read_json, write_json
from rectory.models.item_to_item import ItemToItem, strongest_per_row
from rectory.models.neighbours import most_like_items, recent_history, taken, with_diagonal
from rectory.models.protocol import FitReport
from rectory.models.recency import recent_popularity
from rectory.models.search import search_by_turns
from rectory.models.validation import METRIC, Validation
from rectory.params.candidates import ItemKnnParams


class ItemKnn(ItemToItem):
    """The user's history, recent items weighing more, times each item's nearest neighbours."""

    _reason = "taken by the same people as {item}"

    def __init__(self, params: ItemKnnParams, seed: int, validation_users: int) -> None:
        self._params = params
        self._seed = seed
        self._validation_users = validation_users

    def fit(self, train: TrainingSet) -> Self:
        """Choose likeness and recency before the validation window, then count over all of `train`."""
        validation = Validation(train, self._validation_users, self._seed)
        grid = self._params.grid(train.repeats)
        work = _Work(train.before_validation(), self._params.min_users, max(grid["neighbours"]))
        found = search_by_turns(grid, lambda tried: validation.score(self._become(work, tried)))
        self._report = FitReport(METRIC, found.score, found.chosen, found.curve)
        return self.refit(train, found.chosen)

    def refit(self, train: TrainingSet, chosen: dict[str, Any]) -> Self:
        return self._become(_Work(train, self._params.min_users, chosen["neighbours"]), chosen)

    def _become(self, work: _Work, chosen: dict[str, Any]) -> Self:
        return self._take(
            recent_history(work.train, chosen["half_life_days"], chosen["step_decay"]),
            work.weights(chosen["weighting"], chosen["neighbours"], chosen["self_weight"]),
            recent_popularity(work.train, chosen["popularity_window_days"]),
            chosen["popularity_weight"],
        )

    def save(self, folder: Path) -> None:
        self._save_parts(folder)
        write_json(folder / "item_knn.json", {"params": self._params.model_dump(mode="json")})

    @classmethod
    def load(cls, folder: Path) -> Self:
        params = ItemKnnParams.model_validate(read_json(folder / "item_knn.json")["params"])
        return cls(params, seed=0, validation_users=0)._load_parts(folder)


class _Work:
    """Likeness of one training set's items; what is costly is made once for each weighting."""

    def __init__(self, train: TrainingSet, min_users: int, most_neighbours: int) -> None:
        self.train = train
        self._min_users = min_users
        self._most = most_neighbours
        self._like: dict[str, csr_array] = {}

    def weights(self, weighting: str, neighbours: int, self_weight: float) -> csr_array:
        if weighting not in self._like:
            self._like[weighting] = most_like_items(taken(self.train), weighting, self._most, self._min_users)
        return with_diagonal(strongest_per_row(self._like[weighting], neighbours), self_weight)

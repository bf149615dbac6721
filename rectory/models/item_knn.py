"""Items like those that the user took, by who else took them.

Source: Sarwar, Karypis, Konstan and Riedl, "Item-based Collaborative Filtering Recommendation Algorithms", WWW 2001.
"""

from __future__ import annotations

from typing import Any

from scipy.sparse import csr_array

from rectory.features.training_set import TrainingSet
from rectory.models.item_to_item import strongest_per_row
from rectory.models.neighbours import (
    Likeness,
    ReadsHistory,
    most_like_items,
    recent_history,
    taken,
    with_diagonal,
)
from rectory.params.candidates import ItemKnnParams


class ItemKnn(ReadsHistory[ItemKnnParams]):
    """The user's history, recent items weighing more, times each item's nearest neighbours."""

    params_class = ItemKnnParams
    _reason = "taken by the same people as {item}"

    def _likeness(self, train: TrainingSet, chosen: dict[str, Any] | None) -> Likeness:
        most = max(self._params.neighbours) if chosen is None else chosen["neighbours"]
        return _Items(train, self._params.min_users, most)


class _Items:
    """Likeness of one training set's items, for each weighting."""

    def __init__(self, train: TrainingSet, min_users: int, most_neighbours: int) -> None:
        self.facts: dict[str, Any] = {}
        self.notes: list[str] = []
        self._train = train
        self._min_users = min_users
        self._most = most_neighbours
        self._like: dict[str, csr_array] = {}

    def parts(self, chosen: dict[str, Any]) -> tuple[csr_array, csr_array]:
        weighting = chosen["weighting"]
        if weighting not in self._like:
            self._like[weighting] = most_like_items(taken(self._train), weighting, self._most, self._min_users)
        like = strongest_per_row(self._like[weighting], chosen["neighbours"])
        history = recent_history(self._train, chosen["half_life_days"], chosen["step_decay"])
        return history, with_diagonal(like, chosen["self_weight"])

"""What is fitted in the night for live answers: links between items, and how much each signal weighs."""

from __future__ import annotations

from typing import Any

from scipy.sparse import csr_array

from rectory.features.training_set import TrainingSet
from rectory.models.neighbours import most_like_items, taken, with_diagonal
from rectory.models.transitions import Transitions
from rectory.params.candidates import TransitionsParams
from rectory.serving.links import Links

_NEIGHBOURS = 200
_MIN_USERS = 3
_NEXT: dict[str, Any] = {
    "popularity_power": 0.0,
    "step_decay": 0.9,
    "self_weight": 0.0,
    "half_life_days": None,
    "gap_half_life_hours": None,
    "popularity_window_days": None,
    "popularity_weight": 0.01,
}


def fit_links(train: TrainingSet) -> Links:
    """Likeness by the cosine of who took it, and shares of what is taken next, over all of `train`."""
    if not len(train.user):
        nothing = csr_array((train.n_items, train.n_items), dtype="float32")
        return Links(nothing, nothing)
    like = most_like_items(taken(train), "cosine", _NEIGHBOURS, _MIN_USERS)
    params = TransitionsParams(kind="transitions", neighbours=_NEIGHBOURS)
    following = Transitions(params, seed=0, validation_users=0).refit(train, _NEXT).weights
    return Links(with_diagonal(like, 0.0), following)

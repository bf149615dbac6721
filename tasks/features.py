"""Step features: the split tables become one training set of coded rows and sparse feature blocks."""

from __future__ import annotations

from dataclasses import dataclass

from rectory.data.card import load_card
from rectory.features.build import build_training_set
from rectory.params import Params
from rectory.workspace import Workspace
from tasks import main


@dataclass(frozen=True)
class Featured:
    """Sizes of the training set."""

    users: int
    items: int
    interactions: int
    user_feature_values: int
    item_feature_values: int


def run(params: Params, workspace: Workspace) -> Featured:
    """Build the training set from the windows before the test window."""
    card = load_card(workspace.card(params.dataset))
    built = build_training_set(workspace.split, workspace.tables, card, params.features)
    built.save(workspace.features)
    values = (len(built.user_features.names), len(built.item_features.names))
    return Featured(built.n_users, built.n_items, len(built.user), *values)


if __name__ == "__main__":
    main("features", run)

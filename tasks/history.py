"""Step history: everything up to as_of as one training set, none of it kept for a test."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from rectory.data.card import load_card
from rectory.data.splits import without_test
from rectory.features.build import code_rows
from rectory.files import read_parquet
from rectory.params import Params
from rectory.workspace import Workspace
from tasks import main


@dataclass(frozen=True)
class History:
    """Size of the training set."""

    users: int
    items: int
    interactions: int


def run(params: Params, workspace: Workspace) -> History:
    """Code the validated tables up to as_of: what a model that serves from then on may be fitted on."""
    card = load_card(workspace.card(params.dataset))
    interactions = read_parquet(workspace.tables / "interactions.parquet")
    newest = interactions["timestamp"].iloc[-1]
    end = newest if params.as_of is None else max(newest, pd.Timestamp(params.as_of))
    rows, validation_start = without_test(interactions, end, params.split)
    built = code_rows(rows, validation_start, end, tables=workspace.tables, card=card, params=params.features)
    built.save(workspace.history)
    return History(built.n_users, built.n_items, len(built.user))


if __name__ == "__main__":
    main("history", run)

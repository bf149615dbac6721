"""Step hindsight: what models of a date would have recommended, against what then happened."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from rectory.data.card import load_card
from rectory.errors import DataError
from rectory.evaluation.holdout import rank_users
from rectory.evaluation.relevance import Window, build_window
from rectory.features.training_set import TrainingSet
from rectory.files import read_json, read_parquet, write_parquet
from rectory.models.bundle import Bundle
from rectory.params import Params
from rectory.workspace import Backtest, Workspace
from tasks import main

_COLUMNS = ["user_id", "item_id", "timestamp", "event", "value"]


@dataclass(frozen=True)
class Hindsight:
    """users: who took something in the window that followed."""

    models: int
    users: int


def run(params: Params, workspace: Workspace) -> Hindsight:
    """Score the models that wanted.json names on the rows after `since` up to `until`: the only look ahead there is."""
    wanted, backtest = read_json(workspace.wanted), Backtest.of(workspace)
    window = _window(params, workspace, pd.Timestamp(wanted["since"]), pd.Timestamp(wanted["until"]))
    for name, folder in wanted["models"].items():
        if window is None:
            found = pd.DataFrame({"user_id": pd.Series(dtype=object)})
        else:
            found = rank_users(Bundle.load(backtest.root / folder), window, params.evaluate.k)
        write_parquet(found, workspace.hindsight(name))
    return Hindsight(len(wanted["models"]), 0 if window is None else len(window.users))


def _window(params: Params, workspace: Workspace, since: pd.Timestamp, until: pd.Timestamp) -> Window | None:
    """None: nobody took anything that counts."""
    card = load_card(workspace.card(params.dataset))
    rows = read_parquet(Backtest.of(workspace).whole.tables / "interactions.parquet", _COLUMNS)
    later = rows[(rows["timestamp"] > since) & (rows["timestamp"] <= until)]
    try:
        return build_window(
            test=later,
            train=TrainingSet.load(workspace.history),
            card=card,
            head_share=params.evaluate.head_share,
            test_start=since.isoformat(),
        )
    except DataError:
        return None


if __name__ == "__main__":
    main("hindsight", run)

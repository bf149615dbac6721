"""Other people's ways to split MovieLens, as training sets of ours. docs/published.md says where each is published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

import tasks.fetch
import tasks.validate
from rectory.arrays import BoolArray, Int32Array
from rectory.data.card import Card, load_card
from rectory.features.build import code_rows
from rectory.features.training_set import TrainingSet
from rectory.files import read_parquet
from rectory.params import Params, load_params
from rectory.workspace import Workspace

SEED = 42
_ONE_MOMENT = pd.Timestamp("2000-01-01", tz="UTC")
_DAY = pd.Timedelta(days=1)


@dataclass(frozen=True)
class Split:
    """One protocol's data. Test rows are in neither training set.

    search: all training rows; those after `validation_start` choose hyperparameters. Where the protocol's split is not
        in time they are moved behind the others.
    train: the same rows as they are; the model that is tested is fitted on it.
    users: (n,) codes that are tested. relevant: (n, n_items or more) their test items; further columns are items that
        training does not know.
    """

    search: TrainingSet
    train: TrainingSet
    users: Int32Array
    relevant: csr_array

    @property
    def facts(self) -> dict[str, int]:
        later = self.search.time >= self.search.validation_start
        return {
            "training rows": len(self.train.user),
            "of them for validation": int(later.sum()),
            "test rows": int(self.relevant.nnz),
            "test users": len(self.users),
            "items": len(np.unique(self.train.item)),
        }


Coder = Callable[[pd.DataFrame, pd.Timestamp, pd.Timestamp], TrainingSet]


def load_log(dataset: str, project: Path) -> tuple[pd.DataFrame, Coder]:
    """Canonical rows in the order of the source, and what codes such rows with the card's features.

    Args:
        project: folder with datasets/ and params.yaml; gets .rectory/ and run/.
    """
    params: Params = load_params(project / "params.yaml", [f"dataset={dataset}"])
    workspace = Workspace(project / "run" / dataset, project)
    for step in (tasks.fetch, tasks.validate):
        step.run(params, workspace)
    card = load_card(workspace.card(dataset))

    def code(rows: pd.DataFrame, validation_start: pd.Timestamp, end: pd.Timestamp) -> TrainingSet:
        return code_rows(rows, validation_start, end, tables=workspace.tables, card=card, params=params.features)

    return _source_order(workspace, card), code


def _source_order(workspace: Workspace, card: Card) -> pd.DataFrame:
    """The validated rows as the source had them: they are sorted by time and id, which says nothing within a second."""
    raw = read_parquet(workspace.raw / "interactions.parquet")
    rows = read_parquet(workspace.tables / "interactions.parquet")
    keys = ["user_id", "item_id"]
    names = {card.interactions.user_id: "user_id", card.interactions.item_id: "item_id"}
    ordered = raw.rename(columns=names)[keys].merge(rows, on=keys, validate="one_to_one")
    assert len(ordered) == len(rows) == len(raw)
    return ordered


def stratified(rows: pd.DataFrame, code: Coder, test_share: float = 0.25, valid_share: float = 0.2) -> Split:
    """Of each user's rows a random share is the test, a random share of the rest validates. All have one time."""
    rows = rows.assign(timestamp=_ONE_MOMENT)
    held = _random_share(rows, test_share, SEED)
    train, test = rows[~held], rows[held]
    later = _random_share(train, valid_share, SEED + 1)
    return _split(train, later, test, code, end=_ONE_MOMENT + _DAY)


def leave_last(rows: pd.DataFrame, code: Coder, valid_users: int = 2048) -> Split:
    """Each user's last row is the test; the last but one of some random users validates."""
    rows = rows.sort_values("timestamp", kind="stable")
    held = ~rows.duplicated("user_id", keep="last")
    train, test = rows[~held], rows[held]
    users = np.sort(train["user_id"].unique())
    drawn = np.random.default_rng(SEED).choice(users, min(valid_users, len(users)), replace=False)
    later = (~train.duplicated("user_id", keep="last") & train["user_id"].isin(drawn)).to_numpy()
    return _split(train, later, test, code, end=rows["timestamp"].max() + _DAY)


def newest(rows: pd.DataFrame, code: Coder, least_value: float = 3.0, test_share: float = 0.2) -> Split:
    """Rows of at least that value; the newest share is the test, of it only users and items that training knows.

    The newest share of the training rows validates, by the same rule: others of them train, but are no target.
    """
    rows = rows[rows["value"] >= least_value].sort_values("timestamp", kind="stable")
    cut = _moment(rows, test_share)
    train, test = rows[rows["timestamp"] < cut], rows[rows["timestamp"] >= cut]
    start = _moment(train, test_share)
    search = code(train, start, cut)
    before = search.before_validation()
    known = np.isin(search.user, before.user) & np.isin(search.item, before.item)
    search = replace(search, target=search.target & (known | (search.time < search.validation_start)))
    return _tested(search, search, test, drop_unknown=True)


def _moment(rows: pd.DataFrame, newest_share: float) -> pd.Timestamp:
    return pd.Timestamp(rows["timestamp"].iloc[int((1.0 - newest_share) * len(rows))])


def _random_share(rows: pd.DataFrame, share: float, seed: int) -> BoolArray:
    """(n,) bool: round(share * rows) random rows of each user."""
    draw = pd.Series(np.random.default_rng(seed).random(len(rows)), index=rows.index)
    users = rows["user_id"]
    place = draw.groupby(users).rank(method="first")
    return (place <= (share * users.groupby(users).transform("size")).round()).to_numpy()


def _split(train: pd.DataFrame, later: BoolArray, test: pd.DataFrame, code: Coder, *, end: pd.Timestamp) -> Split:
    """`later` marks the training rows that validate; in `search` they stand behind all others."""
    moved = train.assign(timestamp=train["timestamp"].where(~later, end))
    return _tested(code(moved, end, end + _DAY), code(train, end, end), test, drop_unknown=False)


def _tested(search: TrainingSet, train: TrainingSet, test: pd.DataFrame, *, drop_unknown: bool) -> Split:
    """Test items that training does not know are dropped, or stay as misses in columns of their own."""
    user, item = train.users.encode(test["user_id"]), train.items.encode(test["item_id"])
    known = np.isin(item, train.item)
    if drop_unknown:
        kept = known & np.isin(user, train.user)
        user, item, known = user[kept], item[kept], known[kept]
    users = np.unique(user)
    item = np.where(known, item, train.n_items + np.cumsum(~known) - 1)
    ones, places = np.ones(len(user), dtype=np.float32), (np.searchsorted(users, user), item)
    shape = (len(users), train.n_items + int((~known).sum()))
    return Split(search, train, users, csr_array((ones, places), shape=shape))

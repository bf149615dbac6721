"""What a test window asks: which users, which items are relevant to each, what they had before.

All of it comes from the log, never from a model: so a candidate and an older champion, each with its own id maps, are
asked the same questions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from rectory.arrays import Array, BoolArray
from rectory.data.card import Card
from rectory.data.ids import IdMap
from rectory.errors import DataError
from rectory.evaluation.slices import lukewarm_limit, user_slices
from rectory.features.build import event_weights, is_target
from rectory.features.training_set import TrainingSet
from rectory.files import read_json, read_parquet
from rectory.params import Params
from rectory.workspace import Workspace

LEAST_POPULAR_SHARE = 0.05
"""Share of the interactions that the tail items have together, at most: class C of an ABC analysis (80, 15, 5%)."""


@dataclass(frozen=True)
class Window:
    """One test window. n users are those with a relevant item, in the order of their ids.

    users: (n,) str.
    items: codes 0 .. recommendable - 1 are the training set's; behind them stand items that first appear in the window.
    recommendable: items that were seen before the window or stand in the item table.
    relevant: (n, n_items) bool. Items that no model can know are in it: they are misses for every model.
    consumed: (n, n_items) interactions before the window.
    repeats: consumed items may be recommended and be relevant.
    parts: slice name -> (n, n_items) bool, the relevant items that count in this slice.
    masks: slice name -> (n,) bool, the users that count in this slice.
    head: (n_items,) bool, among the most popular before the window.
    users_with_item: (n_items,) users who had it before the window; history_users: users with any history.
    features: (n_items, n_values) declared item features, as the training set has them.
    meanings: slice name -> what it holds in this log, where the log decides: "1 to 5 interactions before the window".
    available: (n_items,) bool: has not left the catalogue; None: the card does not say. The others are in no list.
    """

    users: Array
    items: IdMap
    recommendable: int
    relevant: csr_array
    consumed: csr_array
    repeats: bool
    parts: dict[str, csr_array]
    masks: dict[str, BoolArray]
    head: BoolArray
    users_with_item: Array
    history_users: int
    features: csr_array
    meanings: dict[str, str] = field(default_factory=dict)
    available: BoolArray | None = None


def load_window(workspace: Workspace, card: Card, params: Params) -> Window:
    """Read what the steps split, features and validate wrote and build today's test window."""
    return build_window(
        test=read_parquet(workspace.split / "test.parquet", ["user_id", "item_id", "event", "value"]),
        train=TrainingSet.load(workspace.features),
        card=card,
        head_share=params.evaluate.head_share,
        user_table=None if card.users is None else read_parquet(workspace.tables / "users.parquet"),
        test_start=str(read_json(workspace.split / "split.json")["test_start"]),
    )


def build_window(
    test: pd.DataFrame,
    train: TrainingSet,
    card: Card,
    *,
    head_share: float,
    user_table: pd.DataFrame | None = None,
    test_start: str = "its start",
) -> Window:
    """Relevance, history and slices of the test rows.

    A test row is relevant when its event is a target and its weight is above 0. Where the card excludes repeats, an
    item that the user had before the window is not relevant, as it is never recommended. Each item counts once.

    Args:
        test: rows of the test window: user_id, item_id, event, value.
        train: everything before the window.
        user_table: canonical user table, for slices by declared attribute.
    Raises:
        DataError: nobody has a relevant item.
    """
    rows = test[is_target(test, card) & (event_weights(test, card) > 0)]
    users = np.asarray(sorted(pd.unique(rows["user_id"].astype(object))), dtype=object)
    items = _extended(train.items, rows["item_id"])
    relevant = _ones(IdMap(users).encode(rows["user_id"]), items.encode(rows["item_id"]), (len(users), len(items)))
    counts = train.counts()
    consumed = _history(counts, train.users.encode(users), len(items))
    if not train.repeats:
        relevant = _without(relevant, consumed)
    asked = np.diff(relevant.indptr) > 0
    if not asked.any():
        raise DataError(
            f"{card.name}: no user has a relevant item in the test window from {test_start} on ({len(test)} rows, "
            f"{len(rows)} of them with a target event, repeats: {card.interactions.repeats}). Lengthen it with "
            f"split.test_days or split.test_share, or look at `targets:` in datasets/{card.name}.yaml."
        )
    users, relevant, consumed = users[asked], relevant[asked], consumed[asked]
    popularity = np.bincount(train.item[train.target], minlength=len(items))
    head, tail = head_items(popularity, head_share), tail_items(popularity, head_share)
    few = lukewarm_limit(np.asarray(counts.sum(axis=1)).ravel())
    return Window(
        users=users,
        items=items,
        recommendable=len(train.items),
        relevant=relevant,
        consumed=consumed,
        repeats=train.repeats,
        parts=_parts(relevant, consumed, head, tail, train.repeats),
        masks=user_slices(users, np.asarray(consumed.sum(axis=1)).ravel(), user_table, card.users, few),
        head=head,
        users_with_item=np.bincount(counts.indices, minlength=len(items)),
        history_users=int(np.count_nonzero(np.diff(counts.indptr))),
        features=_widened(train.item_features.matrix, len(items)),
        meanings=_meanings(popularity, head, tail, few),
        available=None if train.available is None else np.isin(np.arange(len(items)), np.flatnonzero(train.available)),
    )


def head_items(interactions: Array, share: float) -> BoolArray:
    """(n_items,) bool: the most popular `share` (rounded up) of the items that have any interaction.

    Equal counts go to the smaller code, so that the head has exactly this size.
    """
    size = ceil(share * np.count_nonzero(interactions))
    head = np.zeros(len(interactions), dtype=bool)
    head[np.argsort(-interactions, kind="stable")[:size]] = True
    return head


def tail_items(interactions: Array, head_share: float) -> BoolArray:
    """(n_items,) bool: the least popular items that together have at most LEAST_POPULAR_SHARE of the interactions.

    Items without any are among them, head items never. Between the two lies the middle.
    """
    # The same order as the head's, from its other end: of equal counts the larger code is the less popular.
    rising = np.argsort(-interactions, kind="stable")[::-1]
    tail = np.zeros(len(interactions), dtype=bool)
    tail[rising[np.cumsum(interactions[rising]) <= LEAST_POPULAR_SHARE * interactions.sum()]] = True
    return tail & ~head_items(interactions, head_share)


def _parts(
    relevant: csr_array, consumed: csr_array, head: BoolArray, tail: BoolArray, repeats: bool
) -> dict[str, csr_array]:
    fresh = ~_members(relevant, consumed)
    kept = {"items=head": head, "items=middle": ~(head | tail), "items=tail": tail}
    kept = {name: of_items[relevant.indices] for name, of_items in kept.items()}
    if repeats:
        kept |= {"interactions=repeat": ~fresh, "interactions=new": fresh}
    return {name: _kept(relevant, mask) for name, mask in kept.items()}


def _meanings(popularity: Array, head: BoolArray, tail: BoolArray, few: int) -> dict[str, str]:
    """What the slices hold whose cuts come from the log."""
    total = max(int(popularity.sum()), 1)

    def of(items: BoolArray) -> str:
        return (
            f"{int(items.sum()):,} items, {popularity[items].sum() / total:.1%} of the interactions before the window"
        )

    lukewarm = "1 interaction" if few == 1 else f"1 to {few} interactions"
    return {
        "users=cold": "no interaction before the window",
        "users=lukewarm": f"{lukewarm} before the window",
        "users=warm": f"more than {few} interactions before the window",
        "items=head": of(head),
        "items=middle": of(~(head | tail)),
        "items=tail": of(tail),
    }


def _extended(known: IdMap, seen: pd.Series) -> IdMap:
    """`known`, then the ids of `seen` that are new, sorted."""
    ids = pd.unique(seen.astype(object))
    return IdMap([*known.ids, *sorted(ids[known.encode(ids) < 0])])


def _ones(row: Array, column: Array, shape: tuple[int, int]) -> csr_array:
    matrix = csr_array((np.ones(len(row), dtype=np.float32), (row, column)), shape=shape)
    matrix.sum_duplicates()
    return csr_array((matrix.data > 0, matrix.indices, matrix.indptr), shape=shape)


def _history(counts: csr_array, users: Array, n_items: int) -> csr_array:
    """(n, n_items) rows of `counts`; empty for users that have none (-1)."""
    lengths = np.where(users >= 0, np.diff(counts.indptr)[users], 0)
    starts = counts.indptr[users]
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    place = np.arange(indptr[-1]) + np.repeat(starts - indptr[:-1], lengths)
    return csr_array((counts.data[place], counts.indices[place], indptr), shape=(len(users), n_items))


def _widened(matrix: csr_array, n_rows: int) -> csr_array:
    """`matrix` with empty rows up to `n_rows`."""
    indptr = np.concatenate([matrix.indptr, np.full(n_rows - matrix.shape[0], matrix.indptr[-1])])
    return csr_array((matrix.data, matrix.indices, indptr), shape=(n_rows, matrix.shape[1]))


def _members(matrix: csr_array, other: csr_array) -> BoolArray:
    """(stored entries of `matrix`,) bool: `other` stores the same place."""

    def keys(of: csr_array) -> Array:
        rows = np.repeat(np.arange(of.shape[0], dtype=np.int64), np.diff(of.indptr))
        return np.asarray(rows * of.shape[1] + of.indices)

    return np.isin(keys(matrix), keys(other))


def _kept(matrix: csr_array, keep: BoolArray) -> csr_array:
    """`matrix` with only those of its stored entries."""
    ends = np.concatenate([[0], np.cumsum(keep)])
    return csr_array((matrix.data[keep], matrix.indices[keep], ends[matrix.indptr]), shape=matrix.shape)


def _without(matrix: csr_array, other: csr_array) -> csr_array:
    return _kept(matrix, ~_members(matrix, other))

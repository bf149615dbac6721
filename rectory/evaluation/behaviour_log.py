"""Small training sets for what-if questions: a sample of the log, and the same with rows gone, items doubled or codes
shuffled."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_array

from rectory.arrays import Array, BoolArray, Int32Array
from rectory.data.ids import IdMap
from rectory.features.training_set import FeatureBlock, TrainingSet
from rectory.params.sections import BehaveParams

MOST_ROWS_OF_A_USER = 50
_ENOUGH_ROWS = 5
_MOST_OF_A_PAST = 0.9
"""Share of a user's rows that may be taken away and leave a user."""
_ROOM = 3
"""Rows looked at for each row kept, since rows of rare items fall away again."""


@dataclass(frozen=True)
class Relabelled:
    """The same training set under other codes.

    user, item: old code -> new code.
    """

    train: TrainingSet
    user: Int32Array
    item: Int32Array


@dataclass(frozen=True)
class Changed:
    """A training set in which some users' pasts are other ones.

    bereft, nudged: codes of those who lost their strongest interest, or a few rows. spared: codes of users who were
        seen as late as the bereft and kept it.
    interest: (n,) bool: rows of every user's strongest interest in the set that was changed.
    share: of the rows of the bereft that are gone.
    """

    train: TrainingSet
    bereft: Int32Array
    nudged: Int32Array
    spared: Int32Array
    interest: BoolArray
    share: float


def sample_log(train: TrainingSet, params: BehaveParams) -> TrainingSet:
    """The users seen last, each with its latest interactions, among the items that these users take most.

    Recipes weigh recent interactions; a plain draw of users would be mostly of people whom they have forgotten. Users
    have at least 5 interactions where there are enough such users, else 2. Nothing is drawn: equal logs, equal samples.
    """
    rows_of = np.bincount(train.user, minlength=train.n_users)
    last = np.full(train.n_users, -np.inf)
    last[train.user] = train.time  # rows ascend in time, so the last one stays
    latest = _latest(train.user, MOST_ROWS_OF_A_USER)
    enough = _ENOUGH_ROWS if (rows_of >= _ENOUGH_ROWS).sum() >= params.users // 10 else 2
    order = np.lexsort((np.arange(train.n_users), -last))
    order = order[rows_of[order] >= enough]
    first = _until(order, np.minimum(rows_of, MOST_ROWS_OF_A_USER), _ROOM * params.interactions)
    kept = latest & np.isin(train.user, first)
    takers = np.bincount(train.item[kept], minlength=train.n_items)
    items = np.lexsort((np.arange(train.n_items), -takers))[: params.items]
    kept &= np.isin(train.item, items)
    left = np.bincount(train.user[kept], minlength=train.n_users)
    chosen = _until(first[left[first] >= enough], left, params.interactions)[: params.users]
    return only(train, kept & np.isin(train.user, chosen))


def only(train: TrainingSet, rows: BoolArray) -> TrainingSet:
    """These rows, with their users and items alone, coded anew in the same order."""
    users, user = np.unique(train.user[rows], return_inverse=True)
    items, item = np.unique(train.item[rows], return_inverse=True)
    return replace(
        without(train, ~rows),
        users=IdMap(train.users.ids[users]),
        items=IdMap(train.items.ids[items]),
        user=user.astype(np.int32),
        item=item.astype(np.int32),
        user_features=_rows_of(train.user_features, users),
        item_features=_rows_of(train.item_features, items),
        available=None if train.available is None else train.available[items],
    )


def without(train: TrainingSet, gone: BoolArray) -> TrainingSet:
    """The same users and items without the rows that are `gone` (n,)."""
    return replace(
        train, **{name: getattr(train, name)[~gone] for name in ("user", "item", "time", "weight", "target")}
    )


def doubled(train: TrainingSet, items: Int32Array) -> TrainingSet:
    """Each of `items` (m,) gets a twin: code n_items + i, the features of items[i], its rows right behind them."""
    twin = np.full(train.n_items, -1, dtype=np.int32)
    twin[items] = train.n_items + np.arange(len(items), dtype=np.int32)
    again = np.flatnonzero(twin[train.item] >= 0)
    # Stable: a twin's row comes right after its original.
    place = np.argsort(np.concatenate([np.arange(len(train.item)), again]), kind="stable")
    source = np.concatenate([np.arange(len(train.item)), again])[place]
    item = np.concatenate([train.item, twin[train.item[again]]])[place]
    ids = [*train.items.ids, *(f"{name}\x00twin" for name in train.items.ids[items])]
    rows = {name: getattr(train, name)[source] for name in ("user", "time", "weight", "target")}
    everyone = np.append(np.arange(train.n_items), items)
    return replace(
        train,
        items=IdMap(ids),
        item=item,
        item_features=_rows_of(train.item_features, everyone),
        available=None if train.available is None else train.available[everyone],
        **rows,
    )


def relabelled(train: TrainingSet, seed: int) -> Relabelled:
    """Users and items in another order, the rows as they were."""
    draw = np.random.default_rng(seed)
    users, items = draw.permutation(train.n_users), draw.permutation(train.n_items)  # new code -> old code
    user, item = (_inverse(order) for order in (users, items))
    shuffled = replace(
        train,
        users=IdMap(train.users.ids[users]),
        items=IdMap(train.items.ids[items]),
        user=user[train.user],
        item=item[train.item],
        user_features=_rows_of(train.user_features, users),
        item_features=_rows_of(train.item_features, items),
        available=None if train.available is None else train.available[items],
    )
    return Relabelled(shuffled, user, item)


def changed(train: TrainingSet, users: Int32Array, seed: int) -> Changed:
    """A quarter of the users loses its strongest interest, another 2% of its rows, the others nothing.

    The bereft are half of those seen late: a recipe may have forgotten the others, and what it has forgotten cannot be
    taken from it.

    All in one set, so that one refit answers for both: what the lists of users with all of their past or nearly all do
    is what the others' changes and the luck of a fit do to anybody.

    Args:
        users: every user, in an order that has nothing to do with their past.
    """
    last = np.zeros(train.n_users)
    last[train.user] = train.time
    late = last[users] >= np.median(last)
    seen_late = users[late]
    bereft, spared = seen_late[: len(seen_late) // 2], seen_late[len(seen_late) // 2 :]
    nudged = np.setdiff1d(users, bereft)[::3]
    interest = _strongest_interest(train)
    strongest = interest & np.isin(train.user, bereft)
    dropped = _some_rows(train, seed) & np.isin(train.user, nudged)
    share = float(strongest.sum() / max(np.isin(train.user, bereft).sum(), 1))
    return Changed(without(train, strongest | dropped), bereft, nudged, spared, interest, share)


def _strongest_interest(train: TrainingSet) -> BoolArray:
    """(n,) bool: rows of what most sets a user apart.

    The feature value that the user takes most above its share of the log, all of it, since from half of an interest a
    good model would know the other half; unless hardly a row would be left. Without such a value: the fifth of the
    user's items that it takes most often, of equals the latest.
    """
    pair, row_pair, often = np.unique(
        train.user.astype(np.int64) * train.n_items + train.item, return_inverse=True, return_counts=True
    )
    last = np.zeros(len(pair))
    last[row_pair] = np.arange(len(train.user))
    owner = pair // train.n_items
    order = np.lexsort((-last, -often, owner))
    rank = np.empty(len(pair), dtype=np.int64)
    rank[order] = np.arange(len(pair)) - np.searchsorted(owner[order], owner[order], side="left")
    items_of = np.bincount(owner, minlength=train.n_users)
    strongest = (rank < np.maximum(1, items_of // 5)[owner])[row_pair]
    if not train.item_features.names:
        return np.asarray(strongest)
    has = train.item_features.matrix.astype(bool).astype(np.float32)
    taken = (train.counts() @ has).toarray()
    rows = np.bincount(train.user, minlength=train.n_users)[:, None]
    above = taken - rows * (taken.sum(axis=0) / max(len(train.user), 1))
    above[(taken > _MOST_OF_A_PAST * rows) | (taken < 2)] = -np.inf
    value = above.argmax(axis=1)
    clear = above[np.arange(train.n_users), value] > 0
    of_value = np.asarray(has[train.item, value[train.user]]).ravel() > 0
    return np.where(clear[train.user], of_value, strongest)


def _some_rows(train: TrainingSet, seed: int) -> BoolArray:
    """(n,) bool: 2% of each user's rows, at least one, at random."""
    order = np.lexsort((np.random.default_rng(seed).random(len(train.user)), train.user))
    ordered = train.user[order]
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order)) - np.searchsorted(ordered, ordered, side="left")
    rows = np.bincount(train.user, minlength=train.n_users)
    return np.asarray(rank < np.maximum(1, np.round(0.02 * rows))[train.user])


def _latest(user: Int32Array, most: int) -> BoolArray:
    """(n,) bool: among the last `most` rows of its user; rows ascend in time."""
    order = np.argsort(user[::-1], kind="stable")
    ordered = user[::-1][order]
    rank = np.arange(len(user)) - np.searchsorted(ordered, ordered, side="left")
    latest = np.empty(len(user), dtype=np.bool_)
    latest[len(user) - 1 - order] = rank < most
    return latest


def _until(users: Array, rows: Array, budget: int) -> Array:
    """The first users whose rows together stay within the budget; at least one."""
    return users[: max(1, int(np.searchsorted(np.cumsum(rows[users]), budget, side="right")))]


def _rows_of(block: FeatureBlock, rows: Array) -> FeatureBlock:
    if not block.names:
        return FeatureBlock(csr_array((len(rows), 0), dtype=np.float32), ())
    return FeatureBlock(csr_array(block.matrix[rows]), block.names)


def _inverse(order: Array) -> Int32Array:
    place = np.empty(len(order), dtype=np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    return place

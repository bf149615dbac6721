"""What a log says about users, items and pairs at one moment: the raw material of the ranker's features.

Everything is a share, a rank, a rate or a time, never a bare count: counts do not carry over from window to window.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from scipy.sparse import csr_array, diags_array

from rectory.arrays import Array, Float32Array, Float64Array, Int32Array
from rectory.features.training_set import SECONDS_PER_DAY, TrainingSet
from rectory.files import read_arrays, read_sparse, write_arrays, write_sparse
from rectory.models.recency import decay

PAIR = ("pair_rate", "pair_share", "pair_fresh", "pair_days", "pair_idle", "pair_due")
ITEM = (
    "item_lately",
    "item_window",
    "item_ever",
    "item_trend",
    "item_age",
    "item_again",
    "item_breadth",
    "item_takers",
    "item_pull",
    "item_newcomers",
    "item_untouched",
)
USER = ("user_activity", "user_variety", "user_idle", "user_again", "user_unknown")
_MAX_GROUPS = 8
"""Declared features that get an affinity column of their own; those that most items have."""


@dataclass(frozen=True)
class History:
    """One moment's facts. All ages are log(1 + days), all other values lie in [0, 1] or are ratios.

    keys: (n_pairs,) int64, user * n_items + item, ascending. pairs: (n_pairs, len(PAIR)). items: (n_items, len(ITEM)).
    users: (n_users + 1, len(USER)), the last row is the user of whom nothing is known.
    profile: (n_users, n_values) share of the user's recent interactions with each declared feature value.
    fresh: (n_users, n_values) 1 / (1 + days since the user last took an item with the value).
    features: (n_items, n_values) declared item features. groups: (n_values,) group of each value or -1.
    group_names: names of the groups.
    """

    keys: Array
    pairs: Float32Array
    items: Float32Array
    users: Float32Array
    profile: csr_array
    fresh: csr_array
    features: csr_array
    groups: Int32Array
    group_names: tuple[str, ...]

    @classmethod
    def of(cls, train: TrainingSet, window_days: float) -> Self:
        """All facts at `train.end`.

        Args:
            window_days: length of the windows that are predicted; what "lately" means follows from it.
        """
        age = np.maximum(train.age_days(), 0.0)
        pairs = _Pairs(train, age, window_days)
        groups, names = _groups(train)
        fresh = csr_array((pairs.fresh, (pairs.user, pairs.item)), shape=(train.n_users, train.n_items))
        total = np.asarray(fresh.sum(axis=1), dtype=np.float64).ravel()
        shares = csr_array(diags_array(1.0 / np.where(total > 0, total, 1.0)) @ fresh)
        return cls(
            keys=pairs.keys,
            pairs=pairs.columns(),
            items=_item_columns(train, age, window_days, pairs),
            users=_user_columns(train, age, pairs),
            profile=csr_array(shares @ train.item_features.matrix, dtype=np.float32),
            fresh=_freshness(pairs, train.item_features.matrix, train.n_users),
            features=train.item_features.matrix,
            groups=groups,
            group_names=names,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns of `columns`."""
        liked = (f"{part}_{name}" for part in ("likes", "fresh") for name in self.group_names)
        return (*PAIR, *ITEM, *USER, *liked)

    def columns(self, users: Int32Array, row: Array, item: Array) -> Float32Array:
        """(m, len(names)) facts of the pairs (users[row], item).

        Args:
            users: (n,) codes or -1. row: (m,) places in `users`, ascending. item: (m,) codes.
        """
        user = users[row]
        found = np.empty((len(row), len(self.names)), dtype=np.float32)
        key = user.astype(np.int64) * len(self.items) + item
        place = np.minimum(np.searchsorted(self.keys, key), max(len(self.keys) - 1, 0))
        known = (self.keys[place] == key) & (user >= 0) if len(self.keys) else np.zeros(len(key), dtype=bool)
        ends = np.cumsum([0, len(PAIR), len(ITEM), len(USER)])
        of_pair = np.full((len(row), len(PAIR)), np.nan, dtype=np.float32)
        of_pair[known] = self.pairs[place[known]]
        found[:, : ends[1]] = of_pair
        found[:, ends[1] : ends[2]] = self.items[item]
        found[:, ends[2] : ends[3]] = self.users[user]
        if self.group_names:
            found[:, ends[3] :] = self._affinities(users, row, item)
        return found

    def _affinities(self, users: Int32Array, row: Array, item: Array) -> Float32Array:
        """(m, 2 * n_groups): how much of the user's history shares the item's values of each declared feature, and
        how lately any of it did."""
        lengths = np.diff(self.features.indptr)[item]
        pair = np.repeat(np.arange(len(item)), lengths)
        place = np.arange(len(pair)) + np.repeat(self.features.indptr[item] - np.cumsum(lengths) + lengths, lengths)
        value = self.features.indices[place]
        group = self.groups[value]
        n, kept = len(self.group_names), group >= 0
        pair, value, group, weight = pair[kept], value[kept], group[kept], self.features.data[place][kept]
        known = np.flatnonzero(users >= 0)
        dense = np.zeros((len(users), self.profile.shape[1]), dtype=np.float32)
        dense[known] = self.profile[users[known]].toarray()
        likes = np.bincount(pair * n + group, dense[row[pair], value] * weight, len(item) * n)
        dense[known] = self.fresh[users[known]].toarray()
        fresh = np.zeros(len(item) * n, dtype=np.float32)
        np.maximum.at(fresh, pair * n + group, dense[row[pair], value])
        return np.hstack([likes.reshape(len(item), n), fresh.reshape(len(item), n)]).astype(np.float32)

    @property
    def n_items(self) -> int:
        return len(self.items)

    def item(self, name: str) -> Float32Array:
        """(n_items,) one of the columns in ITEM."""
        return self.items[:, ITEM.index(name)]

    def save(self, folder: Path) -> None:
        """history.npz, profile.npz, fresh.npz, values.npz."""
        write_arrays(
            folder / "history.npz",
            {
                **{name: getattr(self, name) for name in ("keys", "pairs", "items", "users", "groups")},
                "group_names": np.array(self.group_names, dtype=np.str_),
            },
        )
        write_sparse(folder / "profile.npz", self.profile)
        write_sparse(folder / "fresh.npz", self.fresh)
        write_sparse(folder / "values.npz", self.features)

    @classmethod
    def load(cls, folder: Path) -> Self:
        arrays = read_arrays(folder / "history.npz")
        names = tuple(str(name) for name in arrays.pop("group_names"))
        return cls(
            **arrays,
            profile=read_sparse(folder / "profile.npz"),
            fresh=read_sparse(folder / "fresh.npz"),
            features=read_sparse(folder / "values.npz"),
            group_names=names,
        )


class _Pairs:
    """Distinct user-item pairs in order of (user, item), and what the log says of each."""

    def __init__(self, train: TrainingSet, age: Float64Array, window_days: float) -> None:
        key = train.user.astype(np.int64) * train.n_items + train.item
        self.keys, pair = np.unique(key, return_inverse=True)
        n = len(self.keys)
        self.user = (self.keys // max(train.n_items, 1)).astype(np.int32)
        self.item = (self.keys % max(train.n_items, 1)).astype(np.int32)
        self.fresh = np.bincount(pair, train.weight * decay(age, window_days), n)
        self.steady = np.bincount(pair, train.weight * decay(age, 6 * window_days), n)
        self.last = np.full(n, np.inf)
        self.first = np.zeros(n)
        np.minimum.at(self.last, pair, age)
        np.maximum.at(self.first, pair, age)
        # Several rows of one day are one occasion: a basket may list an item twice.
        day = np.floor(train.time / SECONDS_PER_DAY).astype(np.int64)
        span = int(day.max(initial=0)) + 1
        self.days = np.bincount(np.unique(pair * span + day) // span, minlength=n)
        self.of_user = np.bincount(self.user, minlength=train.n_users)

    def columns(self) -> Float32Array:
        n_users = len(self.of_user)
        total = np.bincount(self.user, self.steady, n_users)
        most, most_fresh, most_days = (
            _largest(values, self.user, n_users) for values in (self.steady, self.fresh, self.days)
        )
        interval = (self.first - self.last) / np.maximum(self.days - 1, 1)
        due = np.where(self.days > 1, self.last / np.maximum(interval, 0.5), np.nan)
        return np.column_stack(
            [
                self.steady / np.maximum(most[self.user], 1e-9),
                self.steady / np.maximum(total[self.user], 1e-9),
                self.fresh / np.maximum(most_fresh[self.user], 1e-9),
                self.days / np.maximum(most_days[self.user], 1),
                np.log1p(self.last),
                np.minimum(due, 10.0),
            ]
        ).astype(np.float32)


def pair_columns(
    item: Array, time: Array, weight: Array, age: Float64Array, window_days: float
) -> tuple[Int32Array, Float32Array, Array]:
    """Of one user's rows: the distinct items, ascending; the PAIR columns of each; on how many days it was taken."""
    items, place = np.unique(item, return_inverse=True)
    n = len(items)
    steady = np.bincount(place, weight * decay(age, 6 * window_days), n)
    fresh = np.bincount(place, weight * decay(age, window_days), n)
    last, first = np.full(n, np.inf), np.zeros(n)
    np.minimum.at(last, place, age)
    np.maximum.at(first, place, age)
    day = np.floor(time / SECONDS_PER_DAY).astype(np.int64)
    span = int(day.max(initial=0)) + 1
    days = np.bincount(np.unique(place * span + day) // span, minlength=n)
    interval = (first - last) / np.maximum(days - 1, 1)
    due = np.where(days > 1, last / np.maximum(interval, 0.5), np.nan)
    columns = [
        steady / max(float(steady.max(initial=0.0)), 1e-9),
        steady / max(float(steady.sum()), 1e-9),
        fresh / max(float(fresh.max(initial=0.0)), 1e-9),
        days / max(int(days.max(initial=0)), 1),
        np.log1p(last),
        np.minimum(due, 10.0),
    ]
    return items.astype(np.int32), np.column_stack(columns).astype(np.float32), days


def _item_columns(train: TrainingSet, age: Float64Array, window_days: float, pairs: _Pairs) -> Float32Array:
    n = train.n_items
    lately, window, ever = (
        np.bincount(train.item, train.weight * (age <= days), n) for days in (window_days / 4, window_days, np.inf)
    )
    first = np.full(n, np.nan)
    np.fmax.at(first, train.item, age)
    users = np.bincount(pairs.item, minlength=n)
    again = np.bincount(pairs.item, pairs.days > 1, n) / np.maximum(users, 1)
    usual = ever / np.maximum(np.nan_to_num(first, nan=1.0), window_days)
    # Whom an item draws: users, however often they took it, against those who had not had it.
    takers, new = (np.bincount(pairs.item, since <= window_days, n) for since in (pairs.last, pairs.first))
    active = np.count_nonzero(pairs.of_user)
    pull = takers / (active - users + takers + 1.0)
    trend = np.log1p(window / window_days) - np.log1p(usual)
    return np.column_stack(
        [
            _share_of_most(lately),
            _share_of_most(window),
            _share_of_most(ever),
            trend,
            np.log1p(first),
            again,
            users / max(active, 1),
            _share_of_most(takers),
            _share_of_most(pull),
            new / np.maximum(takers, 1),
            users == 0,
        ]
    ).astype(np.float32)


def _user_columns(train: TrainingSet, age: Float64Array, pairs: _Pairs) -> Float32Array:
    n = train.n_users
    events = np.bincount(train.user, minlength=n)
    idle = np.full(n, np.nan)
    np.fmin.at(idle, train.user, age)
    known = events > 0
    columns = [
        _percentile(events),
        pairs.of_user / np.maximum(events, 1),
        np.log1p(idle),
        np.bincount(pairs.user, pairs.days > 1, n) / np.maximum(pairs.of_user, 1),
        ~known,
    ]
    nobody = np.array([[0.0, 0.0, np.nan, 0.0, 1.0]])
    return np.vstack([np.column_stack(columns).reshape(n, len(USER)), nobody]).astype(np.float32)


def _freshness(pairs: _Pairs, features: csr_array, n_users: int) -> csr_array:
    """(n_users, n_values) `History.fresh`."""
    lengths = np.diff(features.indptr)[pairs.item]
    pair = np.repeat(np.arange(len(pairs.item)), lengths)
    place = np.arange(len(pair)) + np.repeat(features.indptr[pairs.item] - np.cumsum(lengths) + lengths, lengths)
    n_values = max(features.shape[1], 1)
    key = pairs.user[pair].astype(np.int64) * n_values + features.indices[place]
    order = np.lexsort((pairs.last[pair], key))
    latest = order[np.diff(key[order], prepend=-1) != 0]
    value = (1.0 / (1.0 + pairs.last[pair[latest]])).astype(np.float32)
    found = (value, (key[latest] // n_values, key[latest] % n_values))
    return csr_array(found, shape=(n_users, features.shape[1]))


def _groups(train: TrainingSet) -> tuple[Int32Array, tuple[str, ...]]:
    """Group of each item feature value, and the groups' names: the declared features that most items have."""
    block = train.item_features
    owner = [name.partition("=")[0] for name in block.names]
    filled: dict[str, int] = {}
    for name, count in zip(owner, np.bincount(block.matrix.indices, minlength=len(owner)).tolist(), strict=True):
        filled[name] = filled.get(name, 0) + count
    names = sorted(sorted(filled, key=lambda name: -filled[name])[:_MAX_GROUPS])
    return np.array([names.index(name) if name in names else -1 for name in owner], dtype=np.int32), tuple(names)


def _largest(values: Array, group: Array, n: int) -> Float64Array:
    largest = np.zeros(n)
    np.maximum.at(largest, group, values)
    return largest


def _share_of_most(values: Array) -> Array:
    return values / max(float(values.max(initial=0.0)), 1e-9)


def _percentile(values: Array) -> Float64Array:
    """Share of the positive values that are smaller."""
    positive = np.sort(values[values > 0])
    return np.searchsorted(positive, values) / max(len(positive), 1)

"""Small training sets with a known truth."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from rectory.data.ids import IdMap
from rectory.features.training_set import SECONDS_PER_DAY, FeatureBlock, TrainingSet

END = 200 * SECONDS_PER_DAY


def training_set(
    user,
    item,
    day,
    *,
    n_users,
    n_items,
    repeats=False,
    valid_days=20.0,
    user_groups=None,
    item_groups=None,
    target=None,
) -> TrainingSet:
    """Rows given as codes and days; groups are one categorical feature, -1 for no value; None for no features."""
    user, item, day = (np.asarray(part) for part in (user, item, day))
    order = np.argsort(day, kind="stable")
    target = np.ones(len(user), dtype=bool) if target is None else np.asarray(target)
    return TrainingSet(
        users=IdMap([f"u{code:04d}" for code in range(n_users)]),
        items=IdMap([f"i{code:04d}" for code in range(n_items)]),
        user=user[order].astype(np.int32),
        item=item[order].astype(np.int32),
        time=day[order].astype(np.float64) * SECONDS_PER_DAY,
        weight=np.ones(len(user), dtype=np.float32),
        target=target[order],
        validation_start=END - valid_days * SECONDS_PER_DAY,
        end=END,
        repeats=repeats,
        user_features=_block(n_users, user_groups),
        item_features=_block(n_items, item_groups),
    )


def two_tastes(*, repeats=False, features=True, seed=0) -> TrainingSet:
    """60 users and 40 items in two groups; users take from their own group only, some items far more often.

    User 59 and item 39 never appear: all that is known of them is their group. Each user's favourite, item
    `favourite_of(user)`, is taken ten times.
    """
    rng = np.random.default_rng(seed)
    users, items = np.arange(59), np.arange(39)
    rows = []
    for user in users:
        own = items[items % 2 == user % 2]
        chance = 1.0 / (1.0 + np.arange(len(own)))
        drawn = rng.choice(own, size=12, p=chance / chance.sum())
        rows += [(user, item, rng.uniform(0, 199)) for item in drawn]
        rows += [(user, favourite_of(user), 190 + 0.5 * again) for again in range(10)]
    user, item, day = (np.array(part) for part in zip(*rows, strict=True))
    groups = (np.arange(60) % 2, np.arange(40) % 2) if features else (None, None)
    return training_set(
        user, item, day, n_users=60, n_items=40, repeats=repeats, user_groups=groups[0], item_groups=groups[1]
    )


def favourite_of(user: int) -> int:
    """An item of the user's own group that is nobody's most popular one."""
    return 20 + user % 2 + 2 * (user // 2 % 8)


def _block(n: int, groups) -> FeatureBlock:
    if groups is None:
        return FeatureBlock(csr_array((n, 0), dtype=np.float32), ())
    groups = np.asarray(groups)
    known = np.flatnonzero(groups >= 0)
    matrix = csr_array(
        (np.ones(len(known), np.float32), (known, groups[known])), shape=(n, int(groups.max()) + 1), dtype=np.float32
    )
    return FeatureBlock(matrix, tuple(f"group={code}" for code in range(matrix.shape[1])))

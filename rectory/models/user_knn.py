"""What the people most like this user took.

Source: Herlocker, Konstan, Borchers and Riedl, "An Algorithmic Framework for Performing Collaborative Filtering",
SIGIR 1999; for what was taken rather than rated.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csr_array, diags_array

from rectory.arrays import Array, Float32Array, Int32Array
from rectory.features.training_set import TrainingSet
from rectory.models.item_to_item import strongest_per_row
from rectory.models.neighbours import Likeness, LikenessModel, recent_history, taken, with_diagonal
from rectory.models.protocol import Reason, TopK
from rectory.models.topk import excluding_self, pairs_of, rank_blocks
from rectory.params.candidates import UserKnnParams


class UserKnn(LikenessModel[UserKnnParams]):
    """Likeness to the nearest users, summing to 1, times what these took, recent items weighing more."""

    params_class = UserKnnParams

    def _likeness(self, train: TrainingSet, chosen: dict[str, Any] | None) -> Likeness:
        most = max(self._params.neighbours) if chosen is None else chosen["neighbours"]
        return _Users(train, self._params.max_users, most)

    def similar(self, items: Int32Array, k: int) -> TopK:
        """Items that the same people took, by the cosine of their columns, then popular ones."""
        columns = csr_array(self._weights.T)
        norm = np.sqrt(np.asarray(columns.power(2).sum(axis=1)).ravel())
        columns.data = columns.data / np.where(norm > 0, norm, 1.0).astype(np.float32)[pairs_of(columns)[0]]
        across = csr_array(columns.T)

        def scores(start: int, stop: int) -> Float32Array:
            found = np.tile(self._floor, (stop - start, 1))
            found += (columns[items[start:stop]] @ across).toarray()
            return found

        n_items = len(self._popular)
        return rank_blocks(scores, len(items), n_items, k, exclude=excluding_self(items, n_items))

    def explain(self, user: int, item: int) -> list[Reason]:
        """What the user's own history, like users and popularity say."""
        near = self._rows[[user]]
        part = self._weights[:, [item]].toarray().ravel()[near.indices] * near.data
        own, others = near.indices == user, (near.indices != user) & (part != 0)
        reasons = [Reason("popular with everyone", float(self._floor[item]))]
        if part[own].any():
            reasons.append(Reason("taken before", float(part[own].sum())))
        if others.any():
            text = f"taken by {np.count_nonzero(others)} of the {len(near.indices) - own.sum()} most alike users"
            reasons.append(Reason(text, float(part[others].sum())))
        return sorted(reasons, key=lambda reason: -reason.contribution)


class _Users:
    """Likeness of one training set's users, for each kind of it."""

    def __init__(self, train: TrainingSet, max_users: int, most_neighbours: int) -> None:
        self._train = train
        self._most = most_neighbours
        self._taken = taken(train)
        self._pool, active = latest_users(train, max_users)
        self._like: dict[str, csr_array] = {}
        self.facts: dict[str, Any] = {"users_kept": len(self._pool)}
        self.notes: list[str] = []
        if len(self._pool) < active:
            self.notes.append(
                f"Neighbours are the {len(self._pool):,} users of {active:,} that were active last (max_users): "
                "likeness of all with all would take too long."
            )

    def parts(self, chosen: dict[str, Any]) -> tuple[csr_array, csr_array]:
        how = chosen["likeness"]
        if how not in self._like:
            self._like[how] = most_like_users(self._taken, self._pool, how, self._most)
        near = with_diagonal(strongest_per_row(self._like[how], chosen["neighbours"]), chosen["self_weight"])
        total = np.asarray(near.sum(axis=1)).ravel()
        near.data = near.data / np.where(total > 0, total, 1.0).astype(np.float32)[pairs_of(near)[0]]
        history = recent_history(self._train, chosen["half_life_days"], chosen["step_decay"])
        # The most taken item of each user is one vote, so that a long history has as loud a voice as a short one.
        largest = history.max(axis=1).toarray()
        history.data = history.data / np.where(largest > 0, largest, 1.0)[pairs_of(history)[0]]
        return near, history


def latest_users(train: TrainingSet, most: int) -> tuple[Array, int]:
    """Codes, ascending, of the `most` users whose last interaction is the newest; number of users with any."""
    last = np.full(train.n_users, -np.inf)
    np.maximum.at(last, train.user, train.time)
    active = int(np.isfinite(last).sum())
    return np.sort(np.argsort(-last, kind="stable")[: min(most, active)]), active


def most_like_users(users_items: csr_array, pool: Array, how: str, neighbours: int) -> csr_array:
    """The users most like each user, by what they took.

    Args:
        users_items: (n_users, n_items) 1 where the user took the item.
        pool: codes of the users that may be neighbours.
        how: `cosine` of the rows; `pearson`: their correlation, over all items: what two have in common because both
            took much does not count.
        neighbours: kept for each user, the user not among them.
    Returns:
        (n_users, n_users) float32, positive, nothing on the diagonal, columns in order.
    """
    n_users, n_items = users_items.shape
    size = np.diff(users_items.indptr).astype(np.float64)
    mean = size / n_items if how == "pearson" else np.zeros(n_users)
    # Of a row of zeros and ones: the sum of squares about the mean.
    spread = size - n_items * mean**2
    scale = np.where(spread > 0, 1.0 / np.sqrt(np.where(spread > 0, spread, 1.0)), 0.0)
    rows = csr_array(diags_array(scale) @ users_items)
    columns = csr_array(rows[pool].T)
    shared = mean * scale * np.sqrt(n_items)

    def likeness(start: int, stop: int) -> Float32Array:
        common = (rows[start:stop] @ columns).toarray()
        found = np.where(common > 0, common - np.outer(shared[start:stop], shared[pool]), 0.0)
        own = (np.arange(start, stop)[:, None] == pool[None, :]).nonzero()
        found[own] = 0.0
        return found.astype(np.float32)

    top = rank_blocks(likeness, n_users, len(pool), neighbours)
    row, place = np.nonzero(top.scores > 0)
    pairs = (top.scores[row, place], (row, pool[top.items[row, place]]))
    like = csr_array(pairs, shape=(n_users, n_users))
    like.sort_indices()
    return like

"""The validation score: one definition for every model, so that scores of different models can be compared."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from rectory.arrays import Array, Float64Array, Int32Array
from rectory.features.training_set import TrainingSet
from rectory.metrics.hits import hit_matrix
from rectory.metrics.ranking import ndcg
from rectory.models.protocol import Fitted, Recommender

METRIC = "ndcg@10"
K = 10


class Validation:
    """nDCG@10 on the rows of the validation window that are targets.

    Binary relevance, ideal list cut at min(10, relevant). Where the data does not allow repeats, what a user had
    before the window is neither relevant nor recommended. Users without a relevant item are counted out; users who
    are new in the window stay in.

    Args:
        train: the whole training set, with the validation window.
        max_users: above it, that many users are drawn.
        seed: of the draw, so that every candidate of a run sees the same users.

    users: (n,) codes. relevant: (n, n_items) what each took in the window. exclude: (n, n_items) what may not be
    recommended to each; None where repeats are allowed.
    """

    def __init__(self, train: TrainingSet, max_users: int, seed: int) -> None:
        before = train.before_validation()
        later = slice(len(before.user), None)
        hits = train.target[later]
        user, item = train.user[later][hits], train.item[later][hits]
        seen = None if train.repeats else before.counts()
        if seen is not None and len(user):
            new = np.asarray(~_contains(seen, user, item))
            user, item = user[new], item[new]
        users = np.unique(user)
        if len(users) > max_users:
            # The first of one permutation: a smaller draw is part of a larger one.
            users = np.sort(np.random.default_rng(seed).permutation(users)[:max_users])
        row = np.searchsorted(users, user)
        sampled = (row < len(users)) & (users[np.minimum(row, len(users) - 1)] == user) if len(users) else row < 0
        ones = np.ones(int(sampled.sum()), dtype=np.float32)
        relevant = csr_array((ones, (row[sampled], item[sampled])), shape=(len(users), train.n_items))
        relevant.sum_duplicates()
        self.users = users.astype(np.int32)
        self.relevant = relevant
        self._counts = np.diff(relevant.indptr)
        self.exclude = None if seen is None else seen[users]

    def score(self, model: Recommender) -> float:
        """Mean over the users; 0 when the window has no user to score. The model's observer, if any, hears of it."""
        values = self.heard(model)
        return float(np.mean(values)) if len(values) else 0.0

    def heard(self, model: Recommender) -> Float64Array:
        """(n,) the score of each of `users`; the model's observer, if any, hears of it."""
        values = self.per_user(model)
        if isinstance(model, Fitted) and model.observer is not None:
            model.observer(values)
        return values

    def per_user(self, model: Recommender) -> Float64Array:
        """(n,) the score of each of `users`."""
        if len(self.users) == 0:
            return np.zeros(0)
        return self.of_lists(model.recommend(self.users, K, exclude=self.exclude).items)

    def of_lists(self, items: Int32Array) -> Float64Array:
        """(n,) the score of each user's list; items: (n, 10) codes, best first."""
        return ndcg(hit_matrix(items, self.relevant), self._counts)


def _contains(matrix: csr_array, rows: Array, columns: Array) -> Array:
    """(n,) bool: whether each (row, column) is stored."""
    width = matrix.shape[1]
    stored = np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr)) * width + matrix.indices
    return np.isin(rows.astype(np.int64) * width + columns, stored)

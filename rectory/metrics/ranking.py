"""Ranking metrics for each user, with binary relevance.

All take `hits`, (n, k) bool: place j of user i's list holds a relevant item (see `hits.hit_matrix`), and, where the
formula needs it, `relevant`, (n,) int: how many items are relevant to each user, inside the list or not. They return
(n,) float64 in [0, 1]. h_j is 1 where place j (counted from 1) is a hit and 0 otherwise, H = sum of h_j, R = relevant.
A user with R = 0 gets 0: such users are to be left out before, they say nothing about a ranking.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rectory.arrays import Array, BoolArray, Float64Array

Metric = Callable[[BoolArray, Array], Float64Array]


def ndcg(hits: BoolArray, relevant: Array) -> Float64Array:
    """Normalised discounted cumulative gain: sum_j h_j / log2(j + 1), over the best that min(k, R) hits could give.

    The ideal is cut at min(k, R), so a perfect list scores 1 also for a user with fewer than k relevant items. This is
    RecTools' `NDCG(k, divide_by_achievable=True)`. Source: Jarvelin and Kekalainen, TOIS 2002.
    """
    k = hits.shape[1]
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discount)])[np.minimum(relevant, k)]
    # A plain sum along the short axis, no matrix product: the result does not depend on the machine's BLAS.
    return _share((hits * discount).sum(axis=1), ideal)


def recall(hits: BoolArray, relevant: Array) -> Float64Array:
    """H / R: the share of the relevant items that the list holds. With R > k it cannot reach 1."""
    return _share(hits.sum(axis=1), relevant)


def precision(hits: BoolArray, relevant: Array) -> Float64Array:  # noqa: ARG001 - one signature for all
    """H / k: the share of the k places that are hits; places that a short list leaves empty are misses."""
    return np.asarray(hits.sum(axis=1) / hits.shape[1], dtype=np.float64)


def f1(hits: BoolArray, relevant: Array) -> Float64Array:
    """2 H / (k + R): the harmonic mean of precision and recall."""
    return _share(2 * hits.sum(axis=1), hits.shape[1] + np.asarray(relevant))


def average_precision(hits: BoolArray, relevant: Array) -> Float64Array:
    """sum_j h_j * (hits up to j) / j, over min(k, R). Its mean over users is MAP@k.

    The divisor is cut at k as the ideal of nDCG is, so that a perfect list scores 1; RecTools' `MAP` divides by R.
    """
    k = hits.shape[1]
    precision_at = np.cumsum(hits, axis=1) / np.arange(1, k + 1)
    return _share((precision_at * hits).sum(axis=1), np.minimum(relevant, k))


def reciprocal_rank(hits: BoolArray, relevant: Array) -> Float64Array:  # noqa: ARG001 - one signature for all
    """1 / (place of the first hit), 0 without a hit. Its mean over users is MRR@k."""
    if not hits.shape[1]:
        return np.zeros(len(hits))
    return np.asarray(np.where(hits.any(axis=1), 1.0 / (hits.argmax(axis=1) + 1), 0.0), dtype=np.float64)


def hit_rate(hits: BoolArray, relevant: Array) -> Float64Array:  # noqa: ARG001 - one signature for all
    """1 if the list holds any relevant item, else 0."""
    return np.asarray(hits.any(axis=1), dtype=np.float64)


RANKING: dict[str, Metric] = {
    "ndcg": ndcg,
    "recall": recall,
    "precision": precision,
    "f1": f1,
    "map": average_precision,
    "mrr": reciprocal_rank,
    "hit_rate": hit_rate,
}
"""Name in reports -> function; `ndcg@10` is RANKING["ndcg"] on the first ten places."""


def _share(part: Array, whole: Array) -> Float64Array:
    """part / whole, 0 where whole is 0."""
    whole = np.asarray(whole, dtype=np.float64)
    return np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)

"""Top-10 lists for all users, seen items left out: ours, LightFM's `predict` user by user, implicit's top-k."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from benchmarks.fitting import Bare
from benchmarks.ratios import alternating, median_ratio, median_seconds
from rectory.arrays import Array
from rectory.models.bundle import Bundle
from rectory.models.lightfm_hybrid import LightFMHybrid

K = 10
_ROUNDS = 9
_SAMPLE = 20
_MOST_QUERIES = 100_000


@dataclass(frozen=True)
class Contestant:
    """users_per_second: median. ours: how many times faster ours is, median over the rounds of their / our seconds."""

    name: str
    users_per_second: float
    ours: float


@dataclass(frozen=True)
class RankingComparison:
    """sampled: users that `predict` was asked for in each round; its speed for all is theirs.
    agreement: share of implicit's list places with an item that our list for that user has too."""

    users: int
    items: int
    rounds: int
    sampled: int
    ours_users_per_second: float
    others: tuple[Contestant, ...]
    agreement: float

    @property
    def against_fastest(self) -> float:
        return min(other.ours for other in self.others)

    @property
    def met(self) -> bool:
        return self.against_fastest >= 1.0


def compare_rankings(bundle: Bundle, bare: Bare, seed: int, budget_seconds: float) -> RankingComparison:
    """Time all in turns, in this process.

    The others get their queries, factors and filter ready-made; ours starts from user codes.
    """
    import threadpoolctl  # type: ignore[import-untyped]
    from implicit.cpu.topk import topk

    model = bundle.model
    assert isinstance(model, LightFMHybrid)
    users = np.arange(min(len(bundle.users), _MOST_QUERIES), dtype=np.int32)
    seen = csr_matrix(bundle.seen)[users]
    queries, factors = np.ascontiguousarray(model._queries[users]), model._factors
    sample = np.random.default_rng(seed).choice(users, min(_SAMPLE, len(users)), replace=False)

    def ours() -> Array:
        return bundle.recommend_codes(users, K, exclude_seen=True).items

    def implicit() -> Array:
        return np.asarray(topk(factors, queries, K, filter_query_items=seen)[0])

    def implicit_one_blas_thread() -> Array:
        # implicit spreads batches over threads and itself advises that BLAS should not do so as well.
        with threadpoolctl.threadpool_limits(1, "blas"):
            return implicit()

    def predict() -> None:
        for user in sample:
            predicted_top(bare, seen, int(user))

    contestants = {
        "ours": ours,
        "implicit top-k": implicit,
        "implicit top-k, 1 BLAS thread": implicit_one_blas_thread,
        "LightFM.predict by user": predict,
    }
    agreement = _agreement(ours(), implicit())  # Warms both up, too.
    seconds = alternating(contestants, _ROUNDS, budget_seconds)
    # Extrapolated: as if the sample's mean user were every user.
    seconds["LightFM.predict by user"] = [s * len(users) / len(sample) for s in seconds["LightFM.predict by user"]]
    speed = {name: len(users) / median_seconds(seconds, name) for name in contestants}
    others = tuple(Contestant(name, speed[name], median_ratio(seconds, name, "ours")) for name in list(contestants)[1:])
    return RankingComparison(
        users=len(users),
        items=len(factors),
        rounds=len(seconds["ours"]),
        sampled=len(sample),
        ours_users_per_second=speed["ours"],
        others=others,
        agreement=agreement,
    )


def predicted_top(bare: Bare, seen: csr_matrix, user: int) -> Array:
    """(K,) item codes, best first, by `LightFM.predict` and a partial sort."""
    n_items = bare.item_rows.shape[0]
    scores = bare.model.predict(
        user, np.arange(n_items, dtype=np.int32), item_features=bare.item_rows, user_features=bare.user_rows
    )
    scores[seen.indices[seen.indptr[user] : seen.indptr[user + 1]]] = -np.inf
    k = min(K, n_items)
    near = np.argpartition(scores, n_items - k)[n_items - k :]
    return near[np.argsort(-scores[near], kind="stable")]


def _agreement(ours: Array, theirs: Array) -> float:
    return float((theirs[:, :, None] == ours[:, None, :]).any(axis=2).mean())

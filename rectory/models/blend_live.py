"""The blend for one user at one moment: sources asked about the history as it is now, features made anew."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.sparse import csr_array

from rectory.arrays import Array, Float32Array, Float64Array, Int32Array
from rectory.models.blend_history import ITEM, PAIR, USER, History, pair_columns
from rectory.models.blend_proposals import Proposals, scored_by
from rectory.models.live_history import LiveHistory, SupportsHistory, listed, top_of
from rectory.models.nearest import SupportsQuery, top_by_product
from rectory.models.popularity import Popularity
from rectory.models.protocol import NO_ITEM, Recommender, TopK
from rectory.models.recency import decay
from rectory.models.topk import rank_pairs

_POOL = 1000
"""Items of a source that does not read histories that are looked at."""


class Proposing:
    """Asks the sources of a blend for one history at a time.

    What does not change with a history is worked out once: the order of lists that everyone shares.
    """

    def __init__(self, sources: Mapping[str, Recommender], depths: Mapping[str, int]) -> None:
        self._sources, self._depths = sources, depths
        # Asked once: what a model can is slow to find out.
        self._scored = scored_by(sources)
        self._readers = {name: source for name, source in sources.items() if isinstance(source, SupportsHistory)}
        self._factored = {name: source for name, source in sources.items() if isinstance(source, SupportsQuery)}
        self._shared: dict[str, tuple[Int32Array, Float32Array]] = {}

    def propose(self, history: LiveHistory, exclude: Int32Array | None) -> Proposals:
        """As `blend_proposals.propose` for one user."""
        found: list[tuple[Int32Array, Float32Array]] = []
        every: dict[str, Float32Array] = {}
        queries: dict[str, Float32Array] = {}
        for name, source in self._sources.items():
            depth = self._depths[name]
            if (factored := self._factored.get(name)) is not None:
                queries[name] = factored.query_for(history)
                found.append(listed(top_by_product(factored, queries[name], depth, exclude, None)))
            elif hasattr(source, "history_scores"):
                every[name] = source.history_scores(history)
                found.append(listed(top_of(every[name].copy(), depth, exclude, None)))
            elif name in self._readers:
                found.append(listed(self._readers[name].recommend_for_history(history, depth, exclude=exclude)))
            else:
                found.append(self._same_for_all(name, source, history.user, depth, exclude))
        items = np.unique(np.concatenate([codes for codes, _ in found])).astype(np.int32)
        ranks = np.zeros((len(items), len(found)), dtype=np.int32)
        heights = np.full((len(items), len(found)), np.nan, dtype=np.float32)
        for column, (codes, scores) in enumerate(found):
            place = np.searchsorted(items, codes)
            ranks[place, column] = np.arange(1, len(codes) + 1)
            heights[place, column] = _within(scores)
        scored = [self._scores(name, items, history.user, every=every, queries=queries) for name in self._scored]
        scores = np.column_stack(scored).astype(np.float32) if scored else np.empty((len(items), 0), np.float32)
        return Proposals(np.zeros(len(items), dtype=np.int64), items, ranks, heights, scores)

    def _scores(
        self,
        name: str,
        items: Int32Array,
        user: int,
        *,
        every: Mapping[str, Float32Array],
        queries: Mapping[str, Float32Array],
    ) -> Float32Array:
        """(m,) of a source that can score any pair."""
        if name in every:
            return every[name][items]
        if name in queries:
            return self._factored[name].factors[items] @ queries[name]
        users = np.full(len(items), user, dtype=np.int32)
        return np.asarray(self._sources[name].score_pairs(users, items), dtype=np.float32)  # type: ignore[attr-defined]

    def _same_for_all(
        self, name: str, source: Recommender, user: int, depth: int, exclude: Int32Array | None
    ) -> tuple[Int32Array, Float32Array]:
        known = f"{name} {NO_ITEM if isinstance(source, Popularity) else user}"
        if known not in self._shared:
            if len(self._shared) >= 10_000:
                self._shared.clear()
            self._shared[known] = listed(source.recommend(np.array([user], dtype=np.int32), _POOL))
        codes, scores = self._shared[known]
        if exclude is not None:
            kept = ~np.isin(codes, exclude)
            codes, scores = codes[kept], scores[kept]
        return codes[:depth], scores[:depth]


def facts_for(history: History, taken: LiveHistory, items: Int32Array, window_days: float) -> Float32Array:
    """(m, n_facts) as `History.columns` gives them, for one user's history as it is now.

    Facts of pairs and of the user are made anew; those of items are the night's, and so is the user's place among
    others by activity.

    Args:
        items: (m,) codes. window_days: length of the windows that the ranker learnt from.
    """
    ends = np.cumsum([0, len(PAIR), len(ITEM), len(USER), 2 * len(history.group_names)])
    found = np.full((len(items), int(ends[-1])), np.nan, dtype=np.float32)
    found[:, ends[1] : ends[2]] = history.items[items]
    found[:, ends[2] : ends[3]] = history.users[taken.user]
    if not len(taken):
        found[:, ends[3] :] = 0.0
        return found
    age = taken.age_days
    own, columns, days = pair_columns(taken.items, taken.time, taken.weight, age, window_days)
    place = np.minimum(np.searchsorted(own, items), len(own) - 1)
    had = own[place] == items
    found[had, : ends[1]] = columns[place[had]]
    _, variety, idle, again, unknown = range(int(ends[2]), int(ends[3]))
    found[:, variety] = len(own) / len(taken)
    found[:, idle] = np.log1p(age.min())
    found[:, again] = np.count_nonzero(days > 1) / len(own)
    found[:, unknown] = 0.0
    if history.group_names:
        recent = np.bincount(np.searchsorted(own, taken.items), taken.weight * decay(age, window_days), len(own))
        since = np.expm1(columns[:, PAIR.index("pair_idle")].astype(np.float64))
        share = recent / max(float(recent.sum()), 1e-12)
        found[:, ends[3] :] = _affinities(history, own, share, 1.0 / (1.0 + since), items)
    return found


def _affinities(
    history: History, own: Int32Array, share: Float64Array, fresh: Float64Array, items: Int32Array
) -> Float64Array:
    """(m, 2 * n_groups): for each declared feature, how much of the history shares each item's values, and how lately
    any of it did.

    Args:
        own: the history's items. share: of each in it. fresh: 1 / (1 + days since each was taken).
    """
    matrix, n = history.features, len(history.group_names)
    column, value, place = _entries(matrix, own, share)
    profile, lately = np.bincount(column, value, matrix.shape[1]), np.zeros(matrix.shape[1])
    np.maximum.at(lately, column, fresh[place])
    column, value, pair = _entries(matrix, items, np.ones(len(items)))
    group = history.groups[column]
    kept = group >= 0
    cell = pair[kept] * n + group[kept]
    likes = np.bincount(cell, (profile[column] * value)[kept], len(items) * n)
    newest = np.zeros(len(items) * n)
    np.maximum.at(newest, cell, lately[column[kept]])
    return np.hstack([likes.reshape(len(items), n), newest.reshape(len(items), n)])


def _entries(matrix: csr_array, rows: Array, weights: Array) -> tuple[Array, Array, Array]:
    """Column, weighted value and place in `rows` of each stored entry of some rows."""
    starts = matrix.indptr[rows]
    lengths = matrix.indptr[rows + 1] - starts
    at = np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(int(lengths.sum()))
    return matrix.indices[at], matrix.data[at] * np.repeat(weights, lengths), np.repeat(np.arange(len(rows)), lengths)


def _within(scores: Float32Array) -> Float32Array:
    """Scores of one list moved to [0, 1]; a list of equal scores is all 1."""
    if not len(scores):
        return scores
    spread = float(scores[0] - scores[-1])
    return (scores - scores[-1]) / np.float32(spread) if spread > 0 else np.ones(len(scores), dtype=np.float32)


def ranked(items: Int32Array, score: Float64Array, k: int) -> TopK:
    """(1, k) list of scored items."""
    return rank_pairs(np.zeros(len(items), dtype=np.int64), items, score, 1, k)

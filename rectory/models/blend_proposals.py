"""First stage: what the sources propose for each user, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
from scipy.sparse import csr_array

from rectory.arrays import Array, Float32Array, Float64Array, Int32Array
from rectory.models.protocol import NO_ITEM, Recommender, ScoresPairs


@dataclass(frozen=True)
class Proposals:
    """Distinct pairs that at least one source proposed, ascending by (row, item).

    row: (m,) place of the user. item: (m,) code.
    ranks: (m, n_sources) place in each source's list from 1, 0 where it did not propose the pair.
    heights: (m, n_sources) score within its list, 1 for the first and 0 for the last; nan where not proposed.
    scores: (m, n_scored) of the sources that can score any pair, proposed by them or not.
    """

    row: Array
    item: Int32Array
    ranks: Int32Array
    heights: Float32Array
    scores: Float32Array

    def moved(self, by: int) -> Proposals:
        """The same with rows counted from `by`."""
        return replace(self, row=self.row + by)

    def where(self, kept: Array) -> Proposals:
        """Some of the pairs. kept: (m,) bool."""
        return Proposals(*(getattr(self, name.name)[kept] for name in fields(self)))

    def of_sources(self, columns: list[int], scored: list[int]) -> Proposals:
        """What is known of the same pairs from these sources alone.

        Args:
            columns: places of the sources. scored: places of those among them that can score any pair.
        """
        return replace(
            self, ranks=self.ranks[:, columns], heights=self.heights[:, columns], scores=self.scores[:, scored]
        )

    @classmethod
    def joined(cls, parts: list[Proposals]) -> Proposals:
        """Blocks one after another."""
        return cls(*(np.concatenate([getattr(part, name.name) for part in parts]) for name in fields(cls)))


def nearness(ranks: Array) -> Float64Array:
    """(m,) 1 at the top of a list, falling as the discount of nDCG does; 0 where the source did not propose."""
    return np.where(ranks > 0, 1.0 / np.log2(np.maximum(ranks, 1) + 1.0), 0.0)


def propose(
    sources: Mapping[str, Recommender], users: Int32Array, depths: Mapping[str, int], exclude: csr_array | None
) -> Proposals:
    """Ask every source for its best items.

    Args:
        users: (n,) codes, -1 for a user of whom nothing is known.
        depths: source -> items it may propose for each user.
        exclude: (n, n_items), stored entries are not proposed.
    """
    keys, places, heights = [], [], []
    width = 1 << 32
    for name, source in sources.items():
        top = source.recommend(users, depths[name], exclude=exclude)
        rows, ranks = np.nonzero(top.items != NO_ITEM)
        keys.append(rows * width + top.items[rows, ranks])
        places.append((ranks + 1).astype(np.int32))
        heights.append(_within_lists(top.scores)[rows, ranks])
    pairs, place = np.unique(np.concatenate(keys), return_inverse=True)
    all_ranks = np.zeros((len(pairs), len(sources)), dtype=np.int32)
    all_heights = np.full((len(pairs), len(sources)), np.nan, dtype=np.float32)
    start = 0
    for column, ranks in enumerate(places):
        rows = place[start : start + len(ranks)]
        all_ranks[rows, column], all_heights[rows, column] = ranks, heights[column]
        start += len(ranks)
    row, item = pairs // width, (pairs % width).astype(np.int32)
    scored = [source.score_pairs(users[row], item) for source in sources.values() if isinstance(source, ScoresPairs)]
    scores = np.column_stack(scored) if scored else np.empty((len(pairs), 0), dtype=np.float32)
    return Proposals(row, item, all_ranks, all_heights, scores)


def scored_by(sources: Mapping[str, Recommender]) -> list[str]:
    """Names of the sources that can score any pair."""
    return [name for name, source in sources.items() if isinstance(source, ScoresPairs)]


def feature_names(sources: Iterable[str], scored: Iterable[str], facts: Iterable[str]) -> list[str]:
    """Columns of `describe`. facts: what the history says of a pair."""
    names = [f"rank_{name}" for name in sources] + [f"height_{name}" for name in sources]
    return [*names, *(f"{part}_{name}" for name in scored for part in ("score", "order")), *facts]


def describe(proposals: Proposals, facts: Float32Array) -> Float32Array:
    """(m, n_features) float32 for the ranker: everything relative to the user's other proposals or to a maximum.

    Args:
        facts: (m, n_facts) what the history says of each pair.
    """
    columns: list[Array] = [nearness(proposals.ranks), proposals.heights]
    columns += [_within_rows(score, proposals.row) for score in proposals.scores.T]
    return np.column_stack([*columns, facts]).astype(np.float32)


def _within_lists(scores: Float32Array) -> Float32Array:
    """(n, k) scores moved to [0, 1] in each list; a list of equal scores is all 1."""
    kept = np.where(np.isfinite(scores), scores, np.nan)
    low = np.nanmin(kept, axis=1, keepdims=True, initial=np.inf)
    spread = np.nanmax(kept, axis=1, keepdims=True, initial=-np.inf) - low
    with np.errstate(invalid="ignore"):
        return np.where(spread > 0, (kept - low) / np.where(spread > 0, spread, 1.0), 1.0).astype(np.float32)


def _within_rows(score: Float32Array, row: Array) -> Float32Array:
    """(m, 2): standardised within the row, and the order within the row as a share (0 first)."""
    row = row - row[:1]  # a block of rows far down needs no counts of those before it
    count = np.maximum(np.bincount(row), 1)
    mean = np.bincount(row, score) / count
    centred = score - mean[row]
    deviation = np.sqrt(np.bincount(row, centred**2) / count)
    order = np.empty(len(row))
    order[np.lexsort((-score, row))] = np.arange(len(row))
    first = np.searchsorted(row, np.arange(len(count)))
    return np.column_stack([centred / np.maximum(deviation[row], 1e-9), (order - first[row]) / count[row]])

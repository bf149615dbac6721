"""What a user took lately, times what goes with what, above what is popular: the answers of every such model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from scipy.sparse import csr_array, vstack

from rectory.arrays import Array, Float32Array, Int32Array
from rectory.files import read_arrays, read_json, read_sparse, write_arrays, write_json, write_sparse
from rectory.models.protocol import Fitted, Reason, TopK
from rectory.models.search import Found, search_by_turns
from rectory.models.topk import excluding_self, pairs_of, rank_blocks

Parts = tuple[csr_array, csr_array]
"""Of a try: (n_users, n_items) what each user took, as it counts; (n_items, n_items) what it speaks for."""
_CELLS_AT_ONCE = 1 << 23
"""Scores that are made at once for single pairs: 32 MiB."""
_KEPT_ENTRIES = 1 << 24
"""Entries of products that a search keeps: some 200 MiB."""
FAINT = 1e-3
"""Weight of popularity beside likeness of items: it fills up and breaks ties, whatever weight suits users."""
_PADDED_CELLS = 1 << 22


class ItemToItem(Fitted):
    """score(user, item) = history[user] . weights[:, item] + popularity_weight * popular[item].

    Subclasses fit, and hand over what they found with `_take`. Adding popularity fills lists up, breaks ties, answers
    unknown users, and keeps items that nobody took at the end.
    """

    _reason = "goes with {item}"
    """Words for a part of the score; `{item}` is an item of the user's history."""
    _products: _Products | None = None
    """While a search asks for the same users again and again."""

    def _search(
        self,
        grid: Mapping[str, Sequence[Any]],
        fill: Collection[str],
        parts: Callable[[dict[str, Any]], Parts],
        score: Callable[[Parts, dict[str, Any]], float],
    ) -> Found:
        """`search_by_turns`; tries that differ in popularity alone share their parts, and the product of these.

        Args:
            fill: keys of the grid that are about popularity.
            parts: of a try, without those keys.
            score: of a try with its parts, whole.
        """
        parts_of = lru_cache(maxsize=1)(lambda asked: parts(dict(asked)))

        def of_try(tried: dict[str, Any]) -> float:
            return score(parts_of(tuple((key, value) for key, value in tried.items() if key not in fill)), tried)

        self._products = _Products()
        try:
            return search_by_turns(grid, of_try)
        finally:
            self._products = None

    def _take(self, history: csr_array, weights: csr_array, popular: Float32Array, popularity_weight: float) -> Self:
        """Become the model of these parts.

        Args:
            history: (n_users, n_items) what each user took, as it counts.
            weights: (n_items, n_items) from the item taken (row) to the item it speaks for (column).
            popular: (n_items,) in [0, 1].
            popularity_weight: of `popular` in a score.
        """
        self._history, self._weights = history, weights
        self._popular, self._popularity_weight = popular, popularity_weight
        # The last row is the user of whom nothing is known, so that code -1 finds it.
        nobody = csr_array((1, history.shape[1]), dtype=np.float32)
        self._rows = csr_array(vstack([history, nobody], format="csr"))
        self._floor = (popularity_weight * popular).astype(np.float32)
        return self

    @property
    def weights(self) -> csr_array:
        """(n_items, n_items) from the item taken (row) to the item it speaks for (column)."""
        return self._weights

    def recommend(
        self, users: Int32Array, k: int, *, exclude: csr_array | None = None, items: Int32Array | None = None
    ) -> TopK:
        rows, products = self._rows[users], self._products

        def scores(start: int, stop: int) -> Float32Array:
            if products is None:
                return self._scores(rows[start:stop])
            of = (self._history, self._weights, users)
            return self._above(self._floor, products.block(of, start, lambda: self._reached(rows[start:stop])))

        return rank_blocks(
            scores,
            len(users),
            len(self._popular),
            k,
            exclude=exclude,
            items=items,
        )

    def scores_for(self, items: Int32Array, weights: Array) -> Float32Array:
        """(n_items,) scores of a history: what the items, each weighing so much, speak for, above what is popular."""
        matrix = self._weights
        starts = matrix.indptr[items]
        lengths = matrix.indptr[items + 1] - starts
        at = np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(int(lengths.sum()))
        parts = matrix.data[at] * np.repeat(weights, lengths)
        return (self._floor + np.bincount(matrix.indices[at], parts, len(self._floor))).astype(np.float32)

    def similar(self, items: Int32Array, k: int) -> TopK:
        """What goes with each item, then popular ones."""
        taken = excluding_self(items, len(self._popular))
        faint = (FAINT * self._popular).astype(np.float32)
        return rank_blocks(
            lambda start, stop: self._scores(taken[start:stop], faint),
            len(items),
            len(self._popular),
            k,
            exclude=taken,
        )

    def score_pairs(self, users: Int32Array, items: Int32Array) -> Float32Array:
        return pairs_from_blocks(
            users, items, len(self._popular), lambda some, asked: self._scores(self._rows[some])[:, asked]
        )

    def explain(self, user: int, item: int) -> list[Reason]:
        """One reason for each item of the history that speaks for `item`, and popularity."""
        taken = self._rows[[user]]
        weight = self._weights[:, [item]].toarray().ravel()[taken.indices] * taken.data
        reasons = [
            Reason(self._reason, float(part), int(code))
            for code, part in zip(taken.indices, weight, strict=True)
            if part != 0
        ]
        reasons.append(Reason("popular with everyone", float(self._floor[item])))
        return sorted(reasons, key=lambda reason: -reason.contribution)

    def _scores(self, taken: csr_array, floor: Float32Array | None = None) -> Float32Array:
        """(n, n_items) scores for rows of history above `floor`; None: popularity as it was chosen."""
        return self._above(self._floor if floor is None else floor, self._reached(taken))

    def _reached(self, taken: csr_array) -> csr_array:
        return csr_array(taken @ self._weights)

    @staticmethod
    def _above(floor: Float32Array, reached: csr_array) -> Float32Array:
        scores = np.tile(floor, (reached.shape[0], 1))
        scores[pairs_of(reached)] += reached.data
        return scores

    def _save_parts(self, folder: Path) -> None:
        """history.npz, weights.npz, popular.npz, popularity.json."""
        write_sparse(folder / "history.npz", self._history)
        write_sparse(folder / "weights.npz", self._weights)
        write_arrays(folder / "popular.npz", {"scores": self._popular})
        write_json(folder / "popularity.json", {"weight": self._popularity_weight})

    def _load_parts(self, folder: Path) -> Self:
        return self._take(
            read_sparse(folder / "history.npz"),
            read_sparse(folder / "weights.npz"),
            read_arrays(folder / "popular.npz")["scores"],
            read_json(folder / "popularity.json")["weight"],
        )


class _Products:
    """History times weights of the users that were asked for last, block by block, as far as there is room."""

    def __init__(self) -> None:
        self._of: tuple[object, ...] = (None, None, None)
        self._blocks: dict[int, csr_array] = {}
        self._room = 0

    def block(self, of: tuple[object, object, object], start: int, make: Callable[[], csr_array]) -> csr_array:
        """The block that begins with user `start`. of: the very objects that it comes from: history, weights, users."""
        if any(one is not other for one, other in zip(self._of, of, strict=True)):
            self._of, self._blocks, self._room = of, {}, _KEPT_ENTRIES
        if start in self._blocks:
            return self._blocks[start]
        product = make()
        if product.nnz <= self._room:
            self._room -= product.nnz
            self._blocks[start] = product
        return product


def strongest_per_row(matrix: csr_array, k: int) -> csr_array:
    """The k largest entries of each row, of equal ones those that are stored first; columns in order."""
    lengths = np.diff(matrix.indptr)
    kept = np.repeat(lengths <= k, lengths)
    for rows, longest in _of_like_length(lengths, np.flatnonzero(lengths > k)):
        place = np.arange(longest)
        at = np.minimum(matrix.indptr[rows][:, None] + place, len(matrix.data) - 1)
        values = np.where(place < lengths[rows][:, None], matrix.data[at], -np.inf)
        least = np.partition(values, longest - k, axis=1)[:, longest - k, None]
        strong = values >= least
        tied = np.flatnonzero(strong.sum(axis=1) > k)
        equal = values[tied] == least[tied]
        room = k - np.sum(values[tied] > least[tied], axis=1, keepdims=True)
        strong[tied] ^= equal & (np.cumsum(equal, axis=1) > room)
        kept[at[strong]] = True
    row, column = pairs_of(matrix)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row[kept], minlength=matrix.shape[0]))])
    strongest = csr_array((matrix.data[kept], column[kept], indptr), shape=matrix.shape)
    strongest.sort_indices()
    return strongest


def _of_like_length(lengths: Array, rows: Array) -> Iterator[tuple[Array, int]]:
    """`rows` in groups of which each row is at least half as long as the longest, with that length.

    So padding them to a matrix costs at most as much again.
    """
    rows = rows[np.argsort(lengths[rows], kind="stable")]
    start = 0
    while start < len(rows):
        shortest = int(lengths[rows[start]])
        stop = int(np.searchsorted(lengths[rows], 2 * shortest, side="right"))
        stop = min(stop, start + max(1, _PADDED_CELLS // (2 * shortest)))
        yield rows[start:stop], int(lengths[rows[stop - 1]])
        start = stop


def pairs_from_blocks(
    users: Int32Array, items: Int32Array, n_items: int, scores: Callable[[Int32Array, Int32Array], Float32Array]
) -> Float32Array:
    """(n,) score of each pair, from all scores of each user, made once.

    Args:
        scores: distinct user codes (m,) and item codes (l,) -> (m, l).
    """
    distinct, row = np.unique(users, return_inverse=True)
    order = np.argsort(row, kind="stable")
    result = np.empty(len(users), dtype=np.float32)
    step = max(1, _CELLS_AT_ONCE // max(1, n_items))
    for start in range(0, len(distinct), step):
        first, last = np.searchsorted(row[order], [start, start + step])
        pairs = order[first:last]
        asked, place = np.unique(items[pairs], return_inverse=True)
        result[pairs] = scores(distinct[start : start + step], asked)[row[pairs] - start, place]
    return result

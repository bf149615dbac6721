"""A bundle's lists against a test window."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import Any, Protocol

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from rectory.arrays import Array, Float64Array, Int32Array
from rectory.data.ids import IdMap
from rectory.evaluation.gaps import SEED, AttributeGap, attribute_gaps
from rectory.evaluation.relevance import Window
from rectory.evaluation.slices import SLICE
from rectory.metrics.beyond import (
    catalogue_coverage,
    exposure,
    gini,
    intra_list_diversity,
    novelty,
    popularity_share,
    self_information,
)
from rectory.metrics.bootstrap import Interval, mean_intervals
from rectory.metrics.hits import hit_matrix
from rectory.metrics.ranking import RANKING
from rectory.models.protocol import Recommender, TopK
from rectory.params.sections import EvaluateParams

_SCORES_AT_ONCE = 1 << 25  # 128 MiB of float32 scores in a model that scores all items of a block of users
_LISTS_AT_ONCE = 20_000
_TIMED_USERS = 300


class Ranked(Protocol):
    """What of a bundle is evaluated."""

    @property
    def model(self) -> Recommender: ...
    @property
    def users(self) -> IdMap: ...
    @property
    def items(self) -> IdMap: ...


class Answering(Protocol):
    """What of a bundle is timed."""

    @property
    def users(self) -> IdMap: ...
    @property
    def items(self) -> IdMap: ...
    def recommend_codes(self, users: Int32Array, k: int) -> TopK: ...


@dataclass(frozen=True)
class Holdout:
    """One bundle on one test window.

    metrics: "ndcg@10" -> mean over users with its interval. Coverage and Gini belong to all lists together and have no
        spread over users: their low and high repeat the value.
    slices: slice name -> ranking metrics over its users; of slices of users also what their lists are like (novelty,
        diversity, popularity share). Coverage and Gini grow with the number of lists and compare no slices.
    gaps: declared user attribute -> largest gap between its groups.
    per_user: user_id, a column for each metric that users have, "<metric>|<slice>" where a slice counts only some of
        the relevant items (nan: the user has none), and a bool column "slice:<name>" where it is a set of users.
    notes: metric -> why it is missing.
    meanings: slice -> what it holds in this log.
    """

    users: int
    metrics: dict[str, Interval]
    slices: dict[str, dict[str, Interval]]
    per_user: pd.DataFrame
    notes: dict[str, str]
    gaps: dict[str, AttributeGap]
    meanings: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """For metrics/test/<candidate>.json: equal lists give equal dicts, there is no timing in it."""
        return {
            "users": self.users,
            "metrics": _plain(self.metrics),
            "slices": {name: _plain(metrics) for name, metrics in self.slices.items()},
            "gaps": {attribute: gap.to_dict() for attribute, gap in self.gaps.items()},
            "meanings": self.meanings,
            "notes": self.notes,
        }

    def plot(self, candidate: str) -> pd.DataFrame:
        """candidate, metric, value, low, high: one row a metric."""
        rows = [(candidate, name, one.value, one.low, one.high) for name, one in sorted(self.metrics.items())]
        return pd.DataFrame(rows, columns=["candidate", "metric", "value", "low", "high"])


def evaluate(bundle: Ranked, window: Window, params: EvaluateParams, metric: str | None = None) -> Holdout:
    """Rank for every user of the window and measure.

    The bundle may be older than the window and have other users and items: users that it does not know are answered as
    unknown, items that it does not know are misses, items that the window does not know are places without a hit. What
    is left out of lists where repeats are excluded is what the user had before *this* window, for every bundle alike.

    Args:
        metric: ranking metric that gaps between groups are measured in; None: nDCG at the first k.
    """
    lists = ranked_lists(bundle, window, max(params.k))
    table = _ranking_table(lists, window.relevant, params.k)
    in_parts = {name: _ranking_table(lists, part, params.k) for name, part in window.parts.items()}
    in_parts = {
        name: part for name, part in in_parts.items() if part.notna().any(axis=1).sum() >= params.min_slice_users
    }
    masks = {name: mask for name, mask in window.masks.items() if mask.sum() >= params.min_slice_users}
    style, notes = _style_table(lists, window, params.k)
    samples = params.bootstrap_samples
    both = pd.concat([table, style], axis=1)
    slices = {name: _intervals(part, samples) for name, part in in_parts.items()}
    slices |= {name: _intervals(both[mask], samples) for name, mask in masks.items()}
    columns = [pd.DataFrame({"user_id": window.users}), both]
    columns += [part.add_suffix(f"|{name}") for name, part in in_parts.items()]
    columns += [pd.DataFrame({f"{SLICE}{name}": mask for name, mask in masks.items()}, index=table.index)]
    per_user = pd.concat(columns, axis=1)
    return Holdout(
        users=len(window.users),
        metrics=_intervals(both, samples) | _catalogue(lists, window, params.k),
        slices=slices,
        per_user=per_user,
        notes=notes,
        gaps=attribute_gaps(per_user, metric or f"ndcg@{params.k[0]}", params),
        meanings={name: text for name, text in window.meanings.items() if name in slices},
    )


def rank_users(bundle: Ranked, window: Window, ks: tuple[int, ...]) -> pd.DataFrame:
    """user_id and each ranking metric, as in `Holdout.per_user`, without slices and intervals."""
    table = _ranking_table(ranked_lists(bundle, window, max(ks)), window.relevant, ks)
    return pd.concat([pd.DataFrame({"user_id": window.users}), table], axis=1)


def ranked_lists(bundle: Ranked, window: Window, k: int) -> Int32Array:
    """(n, k) item codes of the window, best first; -1 for an empty place or an item that the window does not know."""
    users = bundle.users.encode(window.users)
    to_window = np.append(window.items.encode(bundle.items.ids), np.int32(-1))  # code -1 finds the last entry
    to_bundle = None if window.repeats else bundle.items.encode(window.items.ids)
    # Today's catalogue, for an older champion as well: what it knows and the window does not has left it.
    shown = None if window.available is None else np.append(window.available, False)[to_window[:-1]]
    allowed = None if shown is None else np.flatnonzero(shown).astype(np.int32)
    lists = np.empty((len(users), k), dtype=np.int32)
    for rows in _blocks(len(users), len(bundle.items)):
        exclude = None if to_bundle is None else _recoded(window.consumed[rows], to_bundle, len(bundle.items))
        lists[rows] = to_window[bundle.model.recommend(users[rows], k, exclude=exclude, items=allowed).items]
    return lists


def milliseconds_per_user(bundle: Answering, users: Array, k: int) -> float:
    """Wall time of batch scoring for each of `users` (ids; the first 300 are timed): the median of three rounds."""
    codes = bundle.users.encode(users[:_TIMED_USERS])
    if not len(codes):
        return 0.0
    bundle.recommend_codes(codes[:1], k)  # caches that a model builds on first use are not charged to users
    rounds = []
    for _ in range(3):
        began = time.perf_counter()
        for rows in _blocks(len(codes), len(bundle.items)):
            bundle.recommend_codes(codes[rows], k)
        rounds.append(time.perf_counter() - began)
    return 1000 * median(rounds) / len(codes)


def _blocks(n_users: int, n_items: int) -> list[slice]:
    """Rows that are scored together, so that memory does not grow with the number of users."""
    size = max(64, _SCORES_AT_ONCE // max(n_items, 1))
    return [slice(start, min(start + size, n_users)) for start in range(0, n_users, size)]


def _recoded(matrix: csr_array, codes: Int32Array, n_columns: int) -> csr_array:
    """(n, n_columns) with column j moved to codes[j], or dropped where that is -1."""
    column = codes[matrix.indices]
    known = column >= 0
    ends = np.concatenate([[0], np.cumsum(known)])[matrix.indptr]
    recoded = csr_array((matrix.data[known], column[known], ends), shape=(matrix.shape[0], n_columns))
    recoded.sort_indices()
    return recoded


def _ranking_table(lists: Int32Array, relevant: csr_array, ks: tuple[int, ...]) -> pd.DataFrame:
    """(n, metrics) float64; nan rows for users without a relevant item."""
    hits, counts = hit_matrix(lists, relevant), np.diff(relevant.indptr)
    columns: dict[str, Float64Array] = {}
    for k in ks:
        for name, metric in RANKING.items():
            columns[f"{name}@{k}"] = np.where(counts > 0, metric(hits[:, :k], counts), np.nan)
    return pd.DataFrame(columns)


def _measured(table: pd.DataFrame) -> int:
    return int(table.iloc[:, 0].notna().sum())


def _style_table(lists: Int32Array, window: Window, ks: tuple[int, ...]) -> tuple[pd.DataFrame, dict[str, str]]:
    """(n, metrics) of what lists are like beside being right, and notes on what cannot be said."""
    information = self_information(window.users_with_item, window.history_users)
    columns: dict[str, Float64Array] = {}
    notes: dict[str, str] = {}
    for k in ks:
        cut = lists[:, :k]
        columns[f"novelty@{k}"] = novelty(cut, information)
        columns[f"popularity_share@{k}"] = popularity_share(cut, window.head)
        if not window.features.nnz:
            notes[f"diversity@{k}"] = "left out: the items have no declared features to compare them by"
            continue
        pieces = range(0, len(cut), _LISTS_AT_ONCE)
        columns[f"diversity@{k}"] = np.concatenate(
            [intra_list_diversity(cut[start : start + _LISTS_AT_ONCE], window.features) for start in pieces]
        )
    for name in [name for name, column in columns.items() if np.isnan(column).all()]:
        notes[name] = "left out: no list has enough items"
        del columns[name]
    return pd.DataFrame(columns, index=range(len(lists))), notes


def _catalogue(lists: Int32Array, window: Window, ks: tuple[int, ...]) -> dict[str, Interval]:
    metrics = {}
    for k in ks:
        shown = exposure(lists[:, :k], len(window.items))[: window.recommendable]
        if window.available is not None:
            shown = shown[window.available[: window.recommendable]]
        for name, value in (("coverage", catalogue_coverage(shown)), ("gini", gini(shown))):
            rounded = round(value, 10)
            metrics[f"{name}@{k}"] = Interval(rounded, rounded, rounded, len(lists))
    return metrics


def _intervals(table: pd.DataFrame, samples: int) -> dict[str, Interval]:
    """One interval for each column over its users; columns that miss the same users are resampled together."""
    groups: dict[bytes, list[str]] = {}
    missing = table.isna()
    for name in table.columns:
        groups.setdefault(missing[name].to_numpy().tobytes(), []).append(str(name))
    found: dict[str, Interval] = {}
    for names in groups.values():
        values = table[names].dropna().to_numpy()
        if len(values):
            found |= dict(zip(names, mean_intervals(values, samples, SEED), strict=True))
    return found


def _plain(metrics: dict[str, Interval]) -> dict[str, dict[str, float | int]]:
    return {name: interval.to_dict() for name, interval in metrics.items()}

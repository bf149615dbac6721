"""Ranking metrics against a hand-worked example and against RecTools."""

from __future__ import annotations

from math import log2

import numpy as np
import pandas as pd
import pytest
from rectools import Columns
from rectools import metrics as rectools_metrics
from scipy.sparse import csr_array

from rectory.metrics.hits import hit_matrix
from rectory.metrics.ranking import RANKING

# User 0: hits at places 1 and 3 of 4, three relevant. User 1: one hit at place 4, one relevant. User 2: no hit.
HITS = np.array([[1, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]], dtype=bool)
RELEVANT = np.array([3, 1, 2])
BY_HAND = {
    "ndcg": [(1 + 1 / log2(4)) / (1 + 1 / log2(3) + 1 / log2(4)), 1 / log2(5), 0],
    "recall": [2 / 3, 1, 0],
    "precision": [2 / 4, 1 / 4, 0],
    "f1": [2 * (1 / 2 * 2 / 3) / (1 / 2 + 2 / 3), 2 * (1 / 4) / (1 / 4 + 1), 0],
    "map": [(1 + 2 / 3) / 3, 1 / 4, 0],
    "mrr": [1, 1 / 4, 0],
    "hit_rate": [1, 1, 0],
}


@pytest.mark.parametrize("name", RANKING)
def test_metric_equals_the_hand_worked_example(name: str) -> None:
    np.testing.assert_allclose(RANKING[name](HITS, RELEVANT), BY_HAND[name], atol=1e-15)


@pytest.mark.parametrize("name", RANKING)
def test_perfect_list_with_more_relevant_items_than_places(name: str) -> None:
    expected = {"recall": 3 / 5, "f1": 6 / 8}.get(name, 1.0)
    assert RANKING[name](np.ones((1, 3), dtype=bool), np.array([5]))[0] == pytest.approx(expected)


@pytest.mark.parametrize("name", RANKING)
def test_user_without_relevant_items_gets_zero_not_nan(name: str) -> None:
    assert RANKING[name](np.zeros((1, 3), dtype=bool), np.array([0]))[0] == 0


@pytest.fixture(scope="module")
def lists() -> tuple[np.ndarray, csr_array]:
    """Random full lists of 10 of 60 items for 200 users, 1 to 25 relevant items each."""
    draw = np.random.default_rng(7)
    items = np.argsort(draw.random((200, 60)), axis=1)[:, :10].astype(np.int32)
    relevant = np.zeros((200, 60))
    for row, size in enumerate(draw.integers(1, 26, 200)):
        relevant[row, draw.choice(60, size, replace=False)] = 1
    return items, csr_array(relevant)


@pytest.mark.parametrize("k", [1, 3, 10])
@pytest.mark.parametrize("name", RANKING)
def test_metric_equals_rectools(name: str, k: int, lists: tuple[np.ndarray, csr_array]) -> None:
    items, relevant = lists
    n = len(items)
    second = {
        "ndcg": rectools_metrics.NDCG(k, divide_by_achievable=True),
        "recall": rectools_metrics.Recall(k),
        "precision": rectools_metrics.Precision(k),
        "f1": rectools_metrics.F1Beta(k, beta=1),
        "map": rectools_metrics.MAP(k),
        "mrr": rectools_metrics.MRR(k),
        "hit_rate": rectools_metrics.HitRate(k),
    }[name]
    reco = pd.DataFrame(
        {
            Columns.User: np.repeat(np.arange(n), 10),
            Columns.Item: items.ravel(),
            Columns.Rank: np.tile(np.arange(1, 11), n),
        }
    )
    user, item = relevant.nonzero()
    truth = pd.DataFrame({Columns.User: user, Columns.Item: item})
    expected = second.calc_per_user(reco, truth).reindex(range(n)).to_numpy()
    counts = np.diff(relevant.indptr)
    if name == "map":  # RecTools divides by all relevant items, not by those that fit into the list.
        expected = expected * counts / np.minimum(counts, k)
    hits = hit_matrix(items, relevant)
    np.testing.assert_allclose(RANKING[name](hits[:, :k], counts), expected, atol=1e-12)

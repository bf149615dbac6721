"""Coverage, novelty, diversity, popularity share and Gini: by hand and against second implementations."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from rectools import Columns
from rectools.metrics import IntraListDiversity, MeanInvUserFreq
from rectools.metrics.distances import PairwiseHammingDistanceCalculator
from scipy.sparse import csr_array

from rectory.metrics.beyond import (
    catalogue_coverage,
    exposure,
    gini,
    intra_list_diversity,
    novelty,
    popularity_share,
    self_information,
)

LISTS = np.array([[0, 1, 2], [0, 2, -1], [-1, -1, -1]])


def test_exposure_counts_lists_and_coverage_is_the_share_of_items_shown() -> None:
    shown = exposure(LISTS, 5)
    assert shown.tolist() == [2, 1, 2, 0, 0]
    assert catalogue_coverage(shown) == 3 / 5
    assert catalogue_coverage(np.zeros(0, dtype=int)) == 0


@pytest.mark.parametrize(
    ("exposures", "expected"),
    [([3, 3, 3], 0.0), ([0, 0, 0, 8], 3 / 4), ([1, 3], 1 / 4), ([0, 0], 0.0), ([], 0.0)],
)
def test_gini_by_hand(exposures: list[int], expected: float) -> None:
    assert gini(np.array(exposures, dtype=int)) == pytest.approx(expected)


def test_gini_equals_the_mean_difference_of_all_pairs() -> None:
    x = np.random.default_rng(1).poisson(2, 50)
    by_pairs = np.abs(x[:, None] - x[None, :]).sum() / (2 * len(x) ** 2 * x.mean())
    assert gini(x) == pytest.approx(by_pairs)


def test_novelty_by_hand_and_nan_for_an_empty_list() -> None:
    information = self_information(np.array([8, 4, 1, 0]), 8)
    assert information.tolist() == [0, 1, 3, 3]
    np.testing.assert_allclose(novelty(LISTS, information), [4 / 3, 3 / 2, np.nan])


def test_novelty_equals_rectools() -> None:
    draw = np.random.default_rng(3)
    had = np.unique(draw.integers(0, [40, 30], size=(300, 2)), axis=0)
    items = np.argsort(draw.random((20, 30)), axis=1)[:, :5]
    before = pd.DataFrame({Columns.User: had[:, 0], Columns.Item: had[:, 1]})
    reco = pd.DataFrame(
        {
            Columns.User: np.repeat(np.arange(20), 5),
            Columns.Item: items.ravel(),
            Columns.Rank: np.tile(np.arange(1, 6), 20),
        }
    )
    expected = MeanInvUserFreq(k=5).calc_per_user(reco, before).reindex(range(20))
    information = self_information(np.bincount(had[:, 1], minlength=30), len(np.unique(had[:, 0])))
    np.testing.assert_allclose(novelty(items, information), expected)


def test_popularity_share_counts_filled_places_only() -> None:
    head = np.array([True, False, False, True])
    np.testing.assert_allclose(popularity_share(LISTS, head), [1 / 3, 1 / 2, np.nan])


def test_diversity_by_hand() -> None:
    # Items 0 and 1 alike, 2 at right angles, 3 halfway between 0 and 2, 4 without features.
    features = csr_array(np.array([[2.0, 0], [1, 0], [0, 3], [1, 1], [0, 0]]))
    lists = np.array([[0, 1, -1], [0, 2, -1], [0, 1, 2], [0, 3, 4], [4, 0, -1]])
    expected = [0, 1, 1 - 1 / 3, 1 - 1 / np.sqrt(2), np.nan]
    np.testing.assert_allclose(intra_list_diversity(lists, features), expected, atol=1e-12)


def test_diversity_equals_all_pairs_by_numpy() -> None:
    draw = np.random.default_rng(4)
    dense = draw.poisson(0.4, (40, 12)).astype(float)
    dense[:, 0] += 1
    items = np.argsort(draw.random((30, 40)), axis=1)[:, :6]
    unit = dense / np.linalg.norm(dense, axis=1, keepdims=True)
    upper = np.triu_indices(6, 1)
    expected = [1 - (unit[row] @ unit[row].T)[upper].mean() for row in items]
    np.testing.assert_allclose(intra_list_diversity(items, csr_array(dense)), expected)


def test_diversity_of_one_label_each_equals_rectools_hamming() -> None:
    # With exactly one of several labels per item, cosine distance is 0 or 1, as is half the Hamming distance.
    labels = np.random.default_rng(5).integers(0, 4, 30)
    one_hot = np.eye(4)[labels]
    items = np.argsort(np.random.default_rng(6).random((10, 30)), axis=1)[:, :5]
    reco = pd.DataFrame(
        {
            Columns.User: np.repeat(np.arange(10), 5),
            Columns.Item: items.ravel(),
            Columns.Rank: np.tile(np.arange(1, 6), 10),
        }
    )
    distances = PairwiseHammingDistanceCalculator(pd.DataFrame(one_hot))
    expected = IntraListDiversity(k=5, distance_calculator=distances).calc_per_user(reco) / 2
    np.testing.assert_allclose(intra_list_diversity(items, csr_array(one_hot)), expected, atol=1e-12)

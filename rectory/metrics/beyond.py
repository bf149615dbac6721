"""What lists are like beside being right: coverage, novelty, diversity, popularity, exposure.

`items` is (n, k) item codes, best first; negative codes fill up short lists and count nowhere.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from rectory.arrays import Array, BoolArray, Float64Array


def exposure(items: Array, n_items: int) -> Array:
    """(n_items,) int: how many lists hold each item."""
    return np.bincount(items[items >= 0].ravel(), minlength=n_items)


def catalogue_coverage(exposures: Array) -> float:
    """Share of the recommendable items that appear in any list.

    Args:
        exposures: (m,) lists that hold each recommendable item, from `exposure`; 0 without any such item.
    """
    return float(np.count_nonzero(exposures) / len(exposures)) if len(exposures) else 0.0


def gini(exposures: Array) -> float:
    """Gini index of exposure: 0 when every item is shown equally often, near 1 when one item takes all places.

    With exposures x sorted upwards: G = 2 * sum_i i x_i / (m * sum_i x_i) - (m + 1) / m, i from 1;
    0 if nothing is shown.
    """
    m, total = len(exposures), int(exposures.sum())
    if not m or not total:
        return 0.0
    ordered = np.sort(exposures).astype(np.float64)
    # The least value is 0; the sum of the two terms may fall below by a rounding error.
    return max(0.0, float(2 * (np.arange(1, m + 1) * ordered).sum() / (m * total) - (m + 1) / m))


def self_information(users_with_item: Array, n_users: int) -> Float64Array:
    """(n_items,) -log2(share of the users who had the item), in bits.

    An item that nobody had counts as had by one user, as in RecTools' `MeanInvUserFreq`: as novel as the rarest.

    Args:
        users_with_item: (n_items,) number of distinct users.
        n_users: users with any history.
    """
    return np.asarray(np.log2(max(n_users, 1)) - np.log2(np.maximum(users_with_item, 1)), dtype=np.float64)


def novelty(items: Array, information: Float64Array) -> Float64Array:
    """(n,) mean self-information of each list's items, in bits; nan for an empty list."""
    return _mean_in_list(items, information)


def popularity_share(items: Array, head: BoolArray) -> Float64Array:
    """(n,) share of each list's filled places that hold a head item; nan for an empty list.

    Args:
        head: (n_items,) bool: among the most popular.
    """
    return _mean_in_list(items, head.astype(np.float64))


def intra_list_diversity(items: Array, features: csr_array) -> Float64Array:
    """(n,) 1 - mean cosine of all pairs of a list's items, in [0, 1] for non-negative features.

    Items without features are left out of the pairs: nothing is known of their likeness. nan where fewer than two items
    are left. With unit vectors f the sum of the cosines of all pairs is (|sum f|^2 - m) / 2, so no pair is ever formed.

    Args:
        features: (n_items, n_values), a row without a value is an item without features.
    """
    squares = np.asarray(features.multiply(features).sum(axis=1), dtype=np.float64).ravel()
    norms = np.sqrt(squares)
    described = norms > 0
    scale = np.divide(1.0, norms, out=np.zeros_like(norms), where=described)
    unit = csr_array(
        (features.data * np.repeat(scale, np.diff(features.indptr)), features.indices, features.indptr),
        shape=features.shape,
    )
    used = (items >= 0) & described[items]
    m = used.sum(axis=1)
    lists = csr_array(
        (np.ones(int(m.sum())), items[used], np.concatenate([[0], np.cumsum(m)])), shape=(len(items), len(norms))
    )
    total = lists @ unit
    length = np.asarray(total.multiply(total).sum(axis=1), dtype=np.float64).ravel()
    pairs = m * (m - 1)
    cosine = np.divide(length - m, pairs, out=np.full(len(items), np.nan), where=pairs > 0)
    # Rounding may step past the ends for lists of equal items.
    return np.asarray(np.clip(1.0 - cosine, 0.0, 2.0), dtype=np.float64)


def _mean_in_list(items: Array, value: Float64Array) -> Float64Array:
    filled = items >= 0
    places = filled.sum(axis=1)
    total = np.where(filled, value[items], 0.0).sum(axis=1)
    return np.divide(total, places, out=np.full(len(items), np.nan), where=places > 0)

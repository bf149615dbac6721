"""What must hold for every list, every relevance and every pair of metric arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.sparse import csr_array

from rectory.metrics.beyond import catalogue_coverage, exposure, gini, intra_list_diversity
from rectory.metrics.bootstrap import mean_interval, paired_gain
from rectory.metrics.hits import hit_matrix
from rectory.metrics.ranking import RANKING

HITS = arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2, max_side=8))
VALUES = arrays.arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 1, width=16))


@given(hits=HITS, extra=st.integers(0, 5))
def test_every_metric_lies_between_zero_and_one(hits: np.ndarray, extra: int) -> None:
    relevant = hits.sum(axis=1) + extra
    for name, metric in RANKING.items():
        values = metric(hits, relevant)
        assert values.shape == (len(hits),), name
        assert ((values >= 0) & (values <= 1 + 1e-12)).all(), name


@given(hits=HITS, data=st.data())
def test_moving_a_hit_up_never_hurts(hits: np.ndarray, data: st.DataObject) -> None:
    row = data.draw(st.integers(0, len(hits) - 1))
    upper, lower = sorted(data.draw(st.integers(0, hits.shape[1] - 1)) for _ in range(2))
    better = hits.copy()
    if hits[row, lower] and not hits[row, upper]:
        better[row, [upper, lower]] = [True, False]
    relevant = np.maximum(hits.sum(axis=1), 1)
    for name, metric in RANKING.items():
        assert metric(better, relevant)[row] >= metric(hits, relevant)[row] - 1e-12, name


@given(data=st.data())
def test_hits_equal_set_membership(data: st.DataObject) -> None:
    n, k, m = (data.draw(st.integers(1, 6)) for _ in range(3))
    items = data.draw(arrays.arrays(np.int32, (n, k), elements=st.integers(-1, m - 1)))
    relevant = data.draw(arrays.arrays(bool, (n, m)))
    hits = hit_matrix(items, csr_array(relevant))
    for row in range(n):
        earlier: set[int] = set()
        for place in range(k):
            item = int(items[row, place])
            assert hits[row, place] == (item >= 0 and bool(relevant[row, item]) and item not in earlier)
            earlier.add(item)


@given(items=arrays.arrays(np.int32, (5, 4), elements=st.integers(-1, 6)))
def test_coverage_gini_and_diversity_keep_their_bounds(items: np.ndarray) -> None:
    shown = exposure(items, 7)
    assert 0 <= catalogue_coverage(shown) <= 1
    assert 0 <= gini(shown) < 1
    diversity = intra_list_diversity(items, csr_array(np.arange(14).reshape(7, 2) % 3))
    assert np.all(np.isnan(diversity) | ((diversity >= 0) & (diversity <= 1 + 1e-12)))


@settings(max_examples=40, deadline=None)
@given(values=VALUES, seed=st.integers(0, 1000))
def test_interval_holds_its_value_within_the_data(values: np.ndarray, seed: int) -> None:
    interval = mean_interval(values, 200, seed)
    assert values.min() - 1e-9 <= interval.low <= interval.high <= values.max() + 1e-9
    assert values.min() - 1e-9 <= interval.value <= values.max() + 1e-9


@settings(max_examples=40, deadline=None)
@given(values=VALUES, shift=st.floats(0, 1, width=16))
def test_a_constant_gain_is_certain_and_swapping_turns_its_sign(values: np.ndarray, shift: float) -> None:
    gain = paired_gain(values + shift, values, 100, seed=1).absolute
    back = paired_gain(values, values + shift, 100, seed=1).absolute
    assert gain.low == pytest.approx(shift, abs=1e-9)
    assert gain.high == pytest.approx(shift, abs=1e-9)
    assert back.value == pytest.approx(-gain.value, abs=1e-9)

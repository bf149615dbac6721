"""An interval that holds over all looks, against a simulation and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from rectory.metrics.bootstrap import Z
from rectory.metrics.sequential import always_valid_mean


def test_it_is_centred_and_wider_than_a_single_look() -> None:
    values = np.random.default_rng(1).normal(0.3, 1.0, 400)
    found = always_valid_mean(values, 0.05, 100)
    assert found.value == pytest.approx(values.mean(), abs=1e-9)
    single = Z * values.std(ddof=1) / 20
    assert single < (found.high - found.low) / 2 < 3 * single
    assert found.users == 400


def test_looking_again_and_again_it_misses_rarely_where_single_looks_miss_often() -> None:
    draw = np.random.default_rng(7)
    looks = range(100, 2001, 100)
    missed = {"always": 0, "single": 0}
    worlds = 200
    for _ in range(worlds):
        values = draw.normal(0.0, 1.0, 2000)
        found = {n: always_valid_mean(values[:n], 0.05, 500) for n in looks}
        missed["always"] += any(not one.low <= 0 <= one.high for one in found.values())
        missed["single"] += any(abs(values[:n].mean()) > Z * values[:n].std(ddof=1) / np.sqrt(n) for n in looks)
    assert missed["always"] <= 0.05 * worlds
    assert missed["single"] > 0.15 * worlds


def test_nothing_can_be_said_of_one_value_or_of_holes() -> None:
    with pytest.raises(ValueError, match="at least two"):
        always_valid_mean(np.ones(1), 0.05, 100)
    with pytest.raises(ValueError, match="finite"):
        always_valid_mean(np.array([1.0, np.nan]), 0.05, 100)

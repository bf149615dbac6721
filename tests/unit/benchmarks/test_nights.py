"""Warm starts over nights and seeds: what is compared, and that the test window is left alone."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import nights
from benchmarks.nights import Found, Plan, measure
from benchmarks.unseen import priced_shop
from rectory.errors import UsageError
from rectory.features.training_set import TrainingSet
from rectory.params.candidates import LightFMHybridParams

PARAMS = LightFMHybridParams(kind="lightfm_hybrid", components=8)
PLAN = Plan(nights=2, days_apart=6.0, seeds=2, links=1, half_life_days=30.0, epochs=2)


@pytest.fixture(scope="module")
def shop() -> TrainingSet:
    return priced_shop().train


def test_a_chain_of_one_is_one_warm_start_and_no_other_seed_gives_its_scores(shop: TrainingSet) -> None:
    said: list[str] = []
    found = measure(shop, PARAMS, PLAN, said.append)
    assert found.full.shape == (2, 2)
    assert (found.chain == found.warm).all()
    assert found.noise > 0
    assert len(said) == 4
    assert (measure(shop, PARAMS, replace(PLAN, links=2), said.append).chain != found.warm).all()


def test_no_row_of_the_test_window_is_looked_at(shop: TrainingSet, monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[float] = []
    until = TrainingSet.until

    def noting(self: TrainingSet, end: float, validation_start: float) -> TrainingSet:
        ends.append(end)
        return until(self, end, validation_start)

    monkeypatch.setattr(TrainingSet, "until", noting)
    measure(shop, PARAMS, replace(PLAN, nights=1, seeds=1), lambda _: None)
    assert max(ends) == shop.end
    assert min(ends) == pytest.approx(shop.validation_start - 86_400.0)


def test_changes_are_means_over_nights() -> None:
    full = np.array([[0.2, 0.2], [0.4, 0.4]])
    mean, error, each = Found(full, full, full * [[0.9, 0.9], [1.1, 1.1]], full).change("warm")
    assert mean == pytest.approx(0.0)
    assert error == pytest.approx(0.1)
    assert each == pytest.approx([-0.1, 0.1])


def test_a_log_that_is_too_short_and_a_project_without_a_run_are_told(shop: TrainingSet, tmp_path) -> None:
    with pytest.raises(UsageError, match="too short for 40 nights 6 days apart"):
        measure(shop, PARAMS, replace(PLAN, nights=40), lambda _: None)
    with pytest.raises(UsageError, match=re.escape("no run with a lightfm_hybrid")):
        nights._newest_hybrid(tmp_path)

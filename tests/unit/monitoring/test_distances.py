"""Our distances are Evidently's own, and behave like distances."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

from rectory.monitoring.distances import CEILINGS, jensen_shannon, null_scale, psi, wasserstein
from rectory.monitoring.evidently_report import evidently_distances
from rectory.monitoring.inputs import compare_inputs
from tests.unit.monitoring.quiet_log import quiet_plan


def test_evidently_reports_the_same_distances_and_a_page(tmp_path: Path) -> None:
    plan = quiet_plan(11, planted="price")
    page = tmp_path / "drift.html"

    def report(*given: object) -> dict[str, float]:
        return evidently_distances(*given, page=page)  # type: ignore[arg-type]

    ours, theirs = compare_inputs(plan, 0.05).columns, compare_inputs(plan, 0.05, report).columns
    assert [one["column"] for one in ours] == [one["column"] for one in theirs]
    assert {one["method"] for one in ours} == {"wasserstein", "jensenshannon", "psi"}
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["distance"] == pytest.approx(other["distance"], abs=1e-6), mine["column"]
    assert page.stat().st_size > 100_000
    assert b"<html" in page.read_bytes()[:2000].lower()


def test_wasserstein_counts_in_standard_deviations() -> None:
    random = np.random.default_rng(0)
    sample = random.normal(5, 3, 4000)
    assert wasserstein(sample, sample + sample.std()) == pytest.approx(1.0)
    other = random.exponential(2, 900)
    assert wasserstein(sample, other) == pytest.approx(wasserstein_distance(sample, other) / sample.std())


def test_jensen_shannon_is_scipys_and_ends_at_its_ceiling() -> None:
    left, right = np.array([5, 0, 3]), np.array([1, 7, 2])
    assert jensen_shannon(left, right) == pytest.approx(jensenshannon(left, right))
    assert jensen_shannon(np.array([4, 0]), np.array([0, 9])) == pytest.approx(CEILINGS["jensenshannon"])


def test_psi_by_hand() -> None:
    assert psi(np.array([50, 50]), np.array([25, 75])) == pytest.approx(0.25 * np.log(2) + 0.25 * np.log(1.5))


@pytest.mark.parametrize("measure", [jensen_shannon, psi])
def test_equal_mixes_are_at_distance_zero(measure: object) -> None:
    assert measure(np.array([3, 0, 5]), np.array([30, 0, 50])) == pytest.approx(0.0)  # type: ignore[operator]


def test_chance_explains_about_the_distance_that_it_is_said_to() -> None:
    random = np.random.default_rng(1)
    mixes = random.multinomial(1000, np.full(10, 0.1), size=(200, 2))
    found = np.mean([jensen_shannon(left, right) for left, right in mixes])
    assert found == pytest.approx(null_scale("jensenshannon", 10, 1000, 1000), rel=0.15)

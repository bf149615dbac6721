"""The generator makes equal logs a piece at a time, the steps digest them, and the fitted growth is what was put in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import scale, synthetic
from benchmarks.scale import Cost, fitted_exponent, growth
from rectory.data.card import load_card
from rectory.data.readers import fetch
from rectory.data.validation import validate
from rectory.errors import CapacityError
from rectory.params.sections import ValidateParams
from rectory.workspace import Workspace


def test_a_step_that_grows_with_the_square_has_exponent_two() -> None:
    sizes = [1e6, 5e6, 20e6]
    assert fitted_exponent(sizes, [n * n for n in sizes]) == pytest.approx(2)
    assert fitted_exponent(sizes, [3.0 * n for n in sizes]) == pytest.approx(1)
    costs = [Cost("square", n, n * n, n * n, n) for n in (10, 100)] + [
        Cost("fixed", n, 5.0, 5.0, 1.0) for n in (10, 100)
    ]
    found = {one.step: one for one in growth(costs)}
    assert found["square"].cpu_seconds == pytest.approx(2) and found["square"].memory == pytest.approx(1)
    assert found["fixed"].seconds == pytest.approx(0, abs=1e-9)
    assert "the data steps" not in found, "none of them was measured"
    assert found["all"].memory == pytest.approx(1), "the most at a time, not the sum"


def test_ranks_follow_zipf() -> None:
    ranks = synthetic.zipf_ranks(np.random.default_rng(1), 1000, 1.0, 200_000)
    counts = np.bincount(ranks, minlength=1000)
    assert ranks.min() == 0 and ranks.max() == 999
    assert counts[0] / counts[9] == pytest.approx(10, rel=0.1)


def test_a_piece_is_the_same_whoever_makes_it_and_later_pieces_are_later() -> None:
    first, second = (synthetic.piece(5000, number, 2, 100, seed=3).to_pandas() for number in (0, 1))
    pd.testing.assert_frame_equal(second, synthetic.piece(5000, 1, 2, 100, seed=3).to_pandas())
    assert not first["customer"].equals(second["customer"])
    read = [part["at"][part["at"] != "yesterday"] for part in (first, second)]
    assert read[0].is_monotonic_increasing and read[0].iloc[-1] < read[1].iloc[0]


@pytest.mark.parametrize("ending", ["csv.gz", "parquet"])
def test_the_log_is_read_and_its_bad_rows_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setattr(synthetic, "PIECE_ROWS", 4000)
    synthetic.write_log(tmp_path, 10_000, ending=ending)
    workspace = Workspace(tmp_path, tmp_path)
    card = load_card(workspace.card("synthetic"))
    assert fetch(card, workspace, 0.8, say=lambda _: None).rows == {"interactions": 10_000, "items": synthetic.ITEMS}
    found = validate(card, workspace.raw, ValidateParams())
    faults = found.report["tables"]["interactions"]["quarantined"]
    assert set(faults) <= {"missing user id", "unreadable timestamp", "duplicate row"}
    assert faults["missing user id"] + faults["unreadable timestamp"] < 30
    assert found.tables["interactions"]["user_id"].nunique() > 300


def test_a_step_beyond_the_limit_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "_POLL_SECONDS", 0.01)
    synthetic.write_log(tmp_path, 1000)
    (tmp_path / "params.yaml").write_text("dataset: synthetic\ntrain: {candidates: {p: {kind: popularity}}}\n")
    with pytest.raises(CapacityError, match=r"fetch of 1,000 rows needed more than 0\.01 GiB"):
        scale._measure(("fetch",), 1000, tmp_path, print, limit_gib=0.01)
    cost = scale._measure(("fetch",), 1000, tmp_path, print, limit_gib=4)
    assert cost.seconds > 0.1 and 0.05 < cost.peak_gib < 2 and cost.step == "fetch"

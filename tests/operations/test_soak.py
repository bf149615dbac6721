"""Two simulated days through `rectory up`, a fault in most flows: the soak as `make soak` runs it, only shorter."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.soak.books import rows_of_the_day, seat
from benchmarks.soak.prober import Probed
from benchmarks.soak.shop import Shop
from tests.shop import ROOT


def test_the_shop_knows_what_is_true_of_its_files(tmp_path: Path) -> None:
    """Its books balance, and a poisoned file is owed until it is sent again."""
    shop = Shop(tmp_path / "project", seed=3)
    before = len(shop.truth.good)
    shop.day(1, ["poisoned_file", "same_file_twice"])
    assert len(shop.truth.good) == before
    shop.day(2, ["same_file_twice"])
    truth = shop.truth
    assert len(truth.good) > before
    assert truth.lines == len(truth.good) + truth.bad + truth.test_orders
    sizes = [
        path.read_bytes().count(b"\n") - 1 for path in shop.exports.glob("sales-*.csv") if "again" not in path.stem
    ]
    assert sum(sizes) == truth.lines


def test_the_books_find_what_is_lost_doubled_or_foreign_and_an_empty_seat(tmp_path: Path) -> None:
    from collections import Counter

    truth = Shop(tmp_path / "project", seed=4).truth
    found = Counter(truth.good)
    assert rows_of_the_day(found, truth) == []
    lost, doubled = np.random.default_rng(1).choice(sorted(truth.good), 2, replace=False).tolist()
    del found[lost[0], lost[1], int(lost[2])]
    found[doubled[0], doubled[1], int(doubled[2])] += 1
    found["somebody", "0001", 0] = 1
    assert [text.partition(",")[0] for text in rows_of_the_day(found, truth)] == [
        "1 rows are lost",
        "1 rows are there twice",
        "1 rows were never good",
    ]
    good = Probed(looks=9, loads=1, seen=["1"])
    assert seat(good) == []
    assert "nobody holds the seat" in seat(Probed(looks=9, loads=1, failed=["nobody holds the seat"]))[0]
    assert seat(Probed(looks=9, loads=1, longest_gap=100.0))
    assert seat(Probed())


@pytest.mark.server
@pytest.mark.slow
def test_two_days_under_fire_lose_nothing_and_every_decision_is_explained() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.soak", "--days", "2", "--seed", "2", "--fault-share", "0.6", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=3600,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    soaked = json.loads(done.stdout)
    assert soaked["days"] == 2
    assert len(soaked["faults"]) >= 3
    assert soaked["last_ingest"]["rows_kept"] == 30 * 90 + 2 * 95
    assert soaked["probed"]["looks"] > 50
    assert soaked["probed"]["loads"] > 1
    assert soaked["audit"]["promoted"] >= 1
    assert soaked["audit"]["decisions"] >= 1

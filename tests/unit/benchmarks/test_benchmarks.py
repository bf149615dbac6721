"""The bench computes what it says. How fast anything is, is no matter of tests."""

from __future__ import annotations

import io
import json
import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy.sparse import csr_array

from benchmarks import project, tables
from benchmarks.fitting import compare_fits
from benchmarks.flow import Overhead, Step, compute_seconds, read_steps
from benchmarks.machine import Machine
from benchmarks.ranking import K, compare_rankings, predicted_top
from benchmarks.ratios import alternating, median_ratio
from benchmarks.results import DatasetResult, FlowResult, as_json
from benchmarks.warming import WarmStart
from rectory.data.ids import IdMap
from rectory.features.training_set import SECONDS_PER_DAY, FeatureBlock, TrainingSet
from rectory.metrics.bootstrap import Interval
from rectory.models.bundle import Bundle
from rectory.models.lightfm_hybrid import LightFMHybrid
from rectory.params.candidates import LightFMHybridParams


def test_a_borrowed_project_leaves_seats_and_events_of_its_source_alone(tmp_path: Path) -> None:
    state = tmp_path / ".rectory"
    (state / "live").mkdir(parents=True)
    (state / "locks").mkdir()
    (state / "events.db").write_bytes(b"theirs")
    (tmp_path / "params.yaml").write_text("dataset: shop\n")
    with closing(sqlite3.connect(state / "mlflow.db")) as store, store:
        store.execute("create table seats (version text)")
        store.execute("insert into seats values ('1')")
    with project.borrowed_project(tmp_path) as borrowed:
        assert (borrowed / "params.yaml").read_text() == "dataset: shop\n"
        assert sorted(one.name for one in (borrowed / ".rectory").iterdir()) == ["live", "mlflow.db"]
        with closing(sqlite3.connect(borrowed / ".rectory" / "mlflow.db")) as store, store:
            assert store.execute("select version from seats").fetchall() == [("1",)]
            store.execute("update seats set version = '2'")
        (borrowed / ".rectory" / "events.db").write_bytes(b"ours")
    assert not borrowed.exists() and (state / "events.db").read_bytes() == b"theirs" and (state / "live").is_dir()
    with closing(sqlite3.connect(state / "mlflow.db")) as store:
        assert store.execute("select version from seats").fetchall() == [("1",)]


class Clock:
    """Time that passes only when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def passing(self, *seconds: float):
        left = iter(seconds)

        def work() -> None:
            self.now += next(left)

        return work


def test_ratio_is_the_median_of_the_rounds_own_ratios():
    clock = Clock()
    slow, fast = clock.passing(2.0, 30.0, 9.0), clock.passing(1.0, 10.0, 2.0)
    seconds = alternating({"slow": slow, "fast": fast}, 3, 1000.0, clock)
    assert seconds == {"slow": [2.0, 30.0, 9.0], "fast": [1.0, 10.0, 2.0]}
    assert median_ratio(seconds, "slow", "fast") == 3.0


def test_contestants_take_turns():
    turns: list[str] = []
    alternating({"a": lambda: turns.append("a"), "b": lambda: turns.append("b")}, 3, 1000.0)
    assert "".join(turns) == "ababab"


def test_no_round_starts_that_would_end_beyond_the_budget():
    clock = Clock()
    assert alternating({"a": clock.passing(*[4.0] * 9)}, 9, 10.0, clock)["a"] == [4.0, 4.0]
    assert alternating({"a": clock.passing(*[4.0] * 9)}, 9, 1.0, clock)["a"] == [4.0]


def steps(**seconds: float) -> list[Step]:
    return [Step(*name.partition("__")[::2], took, took, 100.0 + took) for name, took in seconds.items()]


def test_compute_adds_single_steps_to_the_longest_chain():
    run = steps(fetch=1.0, train__slow=10.0, evaluate__slow=2.0, train__quick=1.0, evaluate__quick=1.0, report=3.0)
    assert compute_seconds(run, workers=2) == 1.0 + 3.0 + 12.0
    both = steps(train__slow=10.0, evaluate__slow=2.0, behave__slow=3.0)
    assert compute_seconds(both, workers=2) == 10.0 + 3.0, "evaluate and behave wait for train alone"
    assert compute_seconds(both, workers=1) == 10.0 + 2.0 + 3.0


def test_compute_is_no_less_than_the_candidates_shared_out_evenly():
    run = steps(fetch=1.0, train__a=4.0, train__b=4.0, train__c=4.0)
    assert compute_seconds(run, workers=2) == 1.0 + 6.0
    assert compute_seconds(run, workers=1) == 1.0 + 12.0
    assert compute_seconds(steps(fetch=1.0), workers=2) == 1.0


@pytest.mark.parametrize(
    ("wall", "compute", "aim", "met"), [(40.0, 30.0, 15.0, True), (50.0, 30.0, 15.0, False), (329.0, 300.0, 30.0, True)]
)
def test_overhead_may_be_ten_percent_or_fifteen_seconds(wall, compute, aim, met):
    overhead = Overhead(wall, compute)
    assert (overhead.seconds, overhead.aim_seconds, overhead.met) == (wall - compute, pytest.approx(aim), met)


def test_steps_are_read_in_the_order_in_which_they_ended_candidates_together(tmp_path):
    """Whatever steps a flow has: a list of them here would be one step behind."""
    (tmp_path / "timings").mkdir()
    ended = ("split", "train-pop-7", "evaluate-pop-7", "train-slow", "evaluate-slow", "a_new_step", "report")
    for at, name in enumerate(ended):
        step = name.partition("-")[0]
        facts = {"step": step, "seconds": 1.0, "cpu_seconds": 0.5, "peak_memory_mb": 10.0, "python": "3.11"}
        (tmp_path / "timings" / f"{name}.json").write_text(json.dumps(facts))
        os.utime(tmp_path / "timings" / f"{name}.json", (at, at))
    assert [step.label for step in read_steps(tmp_path)] == [
        *("split", "train pop-7", "train slow", "evaluate pop-7", "evaluate slow", "a_new_step", "report")
    ]


def test_throw_away_project_shares_the_downloads_and_nothing_else(tmp_path):
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "mine.yaml").write_text("name: mine\n")
    (tmp_path / "params.yaml").write_text("dataset: mine\n")
    (tmp_path / ".rectory").mkdir()
    (tmp_path / ".rectory" / "mlflow.db").write_text("models")
    with project.throw_away_project(tmp_path) as folder:
        assert (folder / "datasets" / "mine.yaml").is_file()
        assert [path.name for path in (folder / ".rectory").iterdir()] == ["downloads"]
        (folder / ".rectory" / "downloads" / "package.whl").write_text("data")
    assert not folder.exists()
    assert (tmp_path / ".rectory" / "downloads" / "package.whl").read_text() == "data"


@pytest.fixture(scope="module")
def compared():
    """Both comparisons on 40 users and 30 items."""
    rng = np.random.default_rng(3)
    n = 400
    train = TrainingSet(
        users=IdMap([f"u{code:02d}" for code in range(40)]),
        items=IdMap([f"i{code:02d}" for code in range(30)]),
        user=rng.integers(0, 40, n).astype(np.int32),
        item=rng.integers(0, 30, n).astype(np.int32),
        time=np.sort(rng.uniform(0, 100, n)) * SECONDS_PER_DAY,
        weight=np.ones(n, dtype=np.float32),
        target=np.ones(n, dtype=bool),
        validation_start=80 * SECONDS_PER_DAY,
        end=100 * SECONDS_PER_DAY,
        repeats=False,
        user_features=FeatureBlock(csr_array((40, 0), dtype=np.float32), ()),
        item_features=FeatureBlock(csr_array((30, 0), dtype=np.float32), ()),
    )
    params = LightFMHybridParams(kind="lightfm_hybrid", components=8, half_lives_days=[30], max_epochs=2, patience=1)
    model = LightFMHybrid(params, seed=1, validation_users=40).fit(train)
    fit, bare = compare_fits(train, params, 1, {"half_life_days": 30.0, "epochs": 2}, budget_seconds=5.0)
    bundle = Bundle.of("lightfm", "lightfm_hybrid", model, train, titles=None, dataset="tiny")
    return train, fit, bare, bundle, compare_rankings(bundle, bare, 1, budget_seconds=5.0)


def test_fits_are_compared_at_equal_epochs_on_all_pairs(compared):
    train, fit, bare, _, _ = compared
    assert (fit.epochs, fit.epochs_found, fit.components) == (2, 2, 8)
    assert fit.pairs == train.counts().nnz
    assert bare.model.user_embeddings.shape == (bare.user_rows.shape[1], 8)


def test_all_rank_the_same_users_and_agree(compared):
    *_, ranking = compared
    assert (ranking.users, ranking.items, ranking.agreement) == (40, 30, 1.0)
    assert ranking.against_fastest == min(other.ours for other in ranking.others)


def test_predicted_lists_leave_seen_items_out(compared):
    _, _, bare, bundle, _ = compared
    listed = predicted_top(bare, bundle.seen, 5)
    assert len(set(listed.tolist())) == K
    assert not set(listed.tolist()) & set(bundle.seen[[5]].indices.tolist())


def test_tables_and_json_hold_every_number(compared):
    _, fit, _, _, ranking = compared
    flow = FlowResult(
        steps=steps(fetch=1.5, train__lightfm=20.25, report=3.5),
        workers=2,
        command=Overhead(61.0, 25.25),
        flow=Overhead(31.0, 25.25),
        server_seconds=8.75,
        again_seconds=19.5,
        again_reused=True,
    )
    machine = Machine("a processor", 2, 8.0, "Linux", "3.11.7", {"numpy": "1"}, "abc", True, 0.1)
    lost = WarmStart(
        "hybrid", 100, 3, 40.0, 9.0, 6.0, 300.0, 200.0, "ndcg@10", 0.25, 0.24, Interval(-0.04, -0.06, 0.0, 50)
    )
    result = DatasetResult("tiny", flow, fit, ranking, [lost, replace(lost, gain=Interval(-0.01, -0.05, 0.03, 50))])
    console = Console(width=160, record=True, file=io.StringIO())
    tables.show(machine, [result], console)
    shown = console.export_text()
    for text in ("train lightfm", "20.2", "120", "8.8", "5.8 (23%)", "35.8 (142%)", "missed", "19.5", "a processor"):
        assert text in shown
    assert f"{ranking.ours_users_per_second:,.0f}" in shown
    told = json.loads(json.dumps(as_json(machine, [result])))["datasets"]["tiny"]
    assert told["overhead"]["flow"]["met"] and not told["overhead"]["command"]["met"]
    assert told["again"] == {"seconds": 19.5, "reused": True, "met": True}
    assert [one["met"] for one in told["warm_start"]] == [False, True], "the mean may lie one percent below"
    assert told["warm_start"][0]["ratio"] == 0.15
    assert "-4.00% [-6.00%, +0.00%]" in shown
    assert told["fit"]["ratio"] == fit.ratio and told["ranking"]["against_fastest"] == ranking.against_fastest

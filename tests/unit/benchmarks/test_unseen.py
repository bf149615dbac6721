"""Made-up logs look as they are said to, are split in time, and the blend holds its own on them."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.unseen import LOGS, Log, compare, compare_refits, priced_shop, sparse_log
from rectory.params.candidates import BlendParams


@pytest.fixture(scope="module")
def sparse() -> Log:
    return sparse_log()


@pytest.fixture(scope="module")
def shop() -> Log:
    return priced_shop()


def test_the_sparse_log_has_no_tables_no_repeats_few_events_and_new_users(sparse: Log) -> None:
    test, users = sparse.asked
    events = np.bincount(sparse.whole.user)
    pairs = sparse.whole.user.astype(np.int64) * sparse.whole.n_items + sparse.whole.item
    assert np.median(events[events > 0]) == 2
    assert 0.12 < np.mean(users < 0) < 0.22
    assert len(np.unique(pairs)) == len(pairs)
    assert not sparse.whole.item_features.names
    assert not sparse.whole.user_features.names
    assert test.exclude is not None


def test_the_priced_shop_has_repeats_and_item_features_and_nothing_of_users(shop: Log) -> None:
    owners = {name.partition("=")[0] for name in shop.whole.item_features.names}
    assert owners == {"category", "price"}
    assert not shop.whole.user_features.names
    assert shop.train.counts().max() > 2
    assert shop.asked[0].exclude is None


def test_no_row_of_the_test_window_is_in_training(shop: Log, sparse: Log) -> None:
    for log in (shop, sparse):
        assert log.train.time.max() < log.whole.validation_start == log.train.end
        assert log.train.validation_start < log.train.end
        assert 0.05 < 1 - len(log.train.user) / len(log.whole.user) < 0.15


SOURCES = {
    "own": {"kind": "personal_frequency", "half_lives_days": [30]},
    "recent": {"kind": "popularity", "windows_days": [30]},
}
SMALL = BlendParams.model_validate({"kind": "blend", "sources": SOURCES, "windows": 2, "trees": 20})


def test_refits_are_held_against_each_other_and_what_they_come_from(shop: Log) -> None:
    found = compare_refits(shop, SMALL)
    assert set(found.scores) == {"as it was measured", "a new ranker", "its own ranker"}
    assert found.gain is not None and found.gain.low <= found.gain.value <= found.gain.high
    newest = min(found.scores["a new ranker"].value, found.scores["its own ranker"].value)
    assert newest > found.scores["as it was measured"].value, "the newest window is worth knowing"


def test_a_comparison_names_the_best_source_and_the_gain_over_it(shop: Log) -> None:
    found = compare(shop, SMALL)
    assert set(found.scores) == {"blend", "own", "recent"}
    assert found.best == "own"
    assert found.gain.value == pytest.approx(found.scores["blend"].value - found.scores["own"].value, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", LOGS)
def test_the_blend_is_not_shown_to_be_worse_than_its_best_source(name: str) -> None:
    found = compare(LOGS[name](0), BlendParams(kind="blend"))
    assert found.gain.high >= 0, f"{found.gain} against {found.best}; {found.chosen}"

"""What is recommended: exposure, changed lists, moved scores, and which run is the previous one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rectory.monitoring.history import append_history, read_history
from rectory.monitoring.recommended import compact, compare_recommendations, exchange, gini


def lists(
    seed: int, *, version: str = "1", as_of: str = "2024-03-01", top: int = 200, shift: float = 0
) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    users = 120
    items = np.stack([random.permutation(top)[:10] for _ in range(users)])
    return pd.DataFrame(
        {
            "user_id": np.repeat([f"u{user}" for user in range(users)], 10),
            "rank": np.tile(np.arange(1, 11, dtype=np.int32), users),
            "item_id": [f"i{item}" for item in items.ravel()],
            "score": random.normal(shift, 1, users * 10).astype(np.float32),
            "model_version": version,
            "as_of": pd.Timestamp(as_of, tz="UTC").isoformat(),
        }
    )


def statuses(now: pd.DataFrame, previous: pd.DataFrame | None) -> dict[str, str]:
    found = compare_recommendations(now, previous, catalogue=200)
    return {one["column"]: one["status"] for one in found.columns}


def test_equal_lists_raise_no_alarm() -> None:
    assert set(statuses(lists(1), lists(1)).values()) == {"ok"}


def test_lists_that_collapse_to_a_few_items_are_drift() -> None:
    found = statuses(lists(1, top=10), lists(1))
    assert found["exposure_gini"] == "drift"


def test_other_lists_of_one_model_are_an_alarm_and_of_another_model_are_not() -> None:
    assert statuses(lists(1), lists(2))["list_change"] == "drift"
    assert statuses(lists(1, version="2"), lists(2))["list_change"] == "ok"
    assert compare_recommendations(lists(1, version="2"), lists(2), 200).notes


def test_moved_scores_of_one_model_are_an_alarm() -> None:
    assert statuses(lists(1, shift=3), lists(1))["score"] == "drift"


def test_the_first_run_says_that_there_is_nothing_to_compare_with() -> None:
    found = compare_recommendations(lists(1), None, 200)
    assert all(one["distance"] is None and one["status"] == "ok" for one in found.columns)
    assert "next run" in found.notes[0]


@pytest.mark.parametrize(("counts", "size", "expected"), [([5, 5, 5], 3, 0.0), ([9], 10, 0.9), ([1, 3], 2, 0.25)])
def test_gini_by_hand(counts: list[int], size: int, expected: float) -> None:
    assert gini(np.array(counts), size) == pytest.approx(expected)


def test_a_run_checked_twice_is_compared_with_the_run_before_it(tmp_path: Path) -> None:
    kept, lock = tmp_path / "scores.parquet", tmp_path / "scores.lock"
    first, second = lists(1), lists(2, as_of="2024-03-08")
    assert exchange(first, kept, lock) is None
    assert exchange(first, kept, lock) is None
    for _ in range(2):
        previous = exchange(second, kept, lock)
        assert previous is not None
        pd.testing.assert_frame_equal(previous.reset_index(drop=True), compact(first))


def test_a_backfill_never_sees_nor_removes_later_lists(tmp_path: Path) -> None:
    kept, lock = tmp_path / "scores.parquet", tmp_path / "scores.lock"
    exchange(lists(1), kept, lock)
    exchange(lists(2, as_of="2024-03-08"), kept, lock)
    before = kept.read_bytes()
    assert exchange(lists(3, as_of="2024-01-01"), kept, lock) is None
    assert kept.read_bytes() == before


def test_compact_keeps_the_same_users_whatever_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rectory.monitoring.recommended._USERS", 30)
    scores = lists(1)
    shuffled = scores.sample(frac=1, random_state=0)
    assert set(compact(scores)["user_id"]) == set(compact(shuffled)["user_id"])
    assert compact(scores)["user_id"].nunique() == 30


def test_history_grows_by_a_line_and_survives_a_half_line(tmp_path: Path) -> None:
    history, lock = tmp_path / "state" / "drift.jsonl", tmp_path / "state" / "drift.lock"
    append_history(history, lock, {"dataset": "a", "status": "ok"})
    with history.open("a") as handle:
        handle.write('{"dataset": "a", "sta')
    append_history(history, lock, {"dataset": "a", "status": "drift"})
    append_history(history, lock, {"dataset": "b", "status": "ok"})
    assert [line["status"] for line in read_history(history, "a")] == ["ok", "drift"]
    assert len(read_history(history)) == 3

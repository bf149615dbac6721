"""Windows in time: they never overlap, hold every row, and are never silently empty."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rectory.data.splits import temporal_split
from rectory.errors import DataError
from rectory.params.sections import SplitParams

DAY = 86_400


def log_at(seconds: list[int]) -> pd.DataFrame:
    seconds = sorted(seconds)
    return pd.DataFrame(
        {
            "user_id": [f"u{n % 3}" for n in range(len(seconds))],
            "item_id": [f"i{n % 4}" for n in range(len(seconds))],
            "timestamp": pd.to_datetime(pd.Series(seconds, dtype="int64"), unit="s", utc=True),
        }
    )


def sizes(seconds: list[int], **params: Any) -> tuple[int, int, int]:
    split = temporal_split(log_at(seconds), SplitParams(**params))
    return len(split.train), len(split.valid), len(split.test)


def test_shares_are_of_the_rows_and_of_the_rest() -> None:
    assert sizes(list(range(100)), test_share=0.1, valid_share=0.1) == (81, 9, 10)


def test_days_replace_shares() -> None:
    # Half-day steps, newest at day 49.5: the test window begins exactly seven days before it.
    assert sizes([n * DAY // 2 for n in range(100)], test_days=7, valid_days=3) == (79, 6, 15)


def test_history_drops_what_is_older() -> None:
    split = temporal_split(log_at([n * DAY for n in range(100)]), SplitParams(test_share=0.1, history_days=20))
    assert len(split.train) + len(split.valid) == 20
    assert split.facts["rows_before_history"] == 70


def test_rows_of_one_moment_stay_together_on_the_nearer_side() -> None:
    assert sizes([1, 2, 3, 4, 5, 6, 7, 8, 8, 10], test_share=0.2, valid_share=0.2) == (6, 1, 3)
    assert sizes([0] * 8 + [1] * 8 + [2] * 2, test_share=0.2, valid_share=0.2) == (8, 8, 2)


@pytest.mark.parametrize(
    ("seconds", "params", "words"),
    [
        ([], {}, "two different timestamps"),
        ([5], {}, "two different timestamps"),
        ([5] * 50, {}, "two different timestamps"),
        ([1, 2], {}, "train window.*lower split.test_share"),
        ([1] * 10 + [2] * 10, {}, "train window"),
        ([1, 2, 3], {"test_days": 1}, "train window.*test_days=1"),
        ([0, 100 * DAY, 200 * DAY], {"test_days": 1, "valid_days": 1}, "valid window.*raise split.valid_share or"),
        ([n * DAY for n in range(20)], {"test_days": 2, "valid_days": 30}, "train window.*valid_days=30"),
        ([n * DAY for n in range(20)], {"test_days": 2, "history_days": 0.5}, "train window.*history_days"),
    ],
)
def test_a_window_that_would_be_empty_is_refused_with_the_key_to_change(
    seconds: list[int], params: dict[str, Any], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        sizes(seconds, **params)


@given(
    seconds=st.lists(st.integers(0, 60), min_size=1, max_size=80),
    test=st.floats(0.01, 0.49),
    valid=st.floats(0.01, 0.49),
    days=st.booleans(),
)
def test_windows_never_overlap_and_together_are_the_log(
    seconds: list[int], test: float, valid: float, days: bool
) -> None:
    log = log_at(seconds)
    shares = {"test_share": test, "valid_share": valid}
    params = SplitParams(**({"test_days": test * 60 / DAY, "valid_days": valid * 60 / DAY} if days else shares))
    try:
        split = temporal_split(log, params)
    except DataError:
        # Shares may only fail for want of three different moments.
        assume(days or log["timestamp"].nunique() < 3)
        return
    assert split.train["timestamp"].max() < split.valid["timestamp"].min()
    assert split.valid["timestamp"].max() < split.test["timestamp"].min()
    together = pd.concat([split.train, split.valid, split.test], ignore_index=True)
    pd.testing.assert_frame_equal(together, log)
    assert pd.Timestamp(split.facts["test_start"]) <= split.test["timestamp"].min()
    assert pd.Timestamp(split.facts["valid_start"]) <= split.valid["timestamp"].min()
    assert pd.Timestamp(split.facts["test_start"]) > split.valid["timestamp"].max()
    assert sum(split.facts["rows"].values()) == len(log)

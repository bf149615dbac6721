"""What was recommended, what then happened: worked out by hand, and on a planted difference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rectory.evaluation.outcomes import (
    forget_before,
    keep_lists,
    kept_lists,
    outcomes_of_lists,
    sampled_users,
    weigh,
)

DAY = pd.Timedelta(days=1)
START = pd.Timestamp("2025-03-01", tz="UTC")


def lists(items: dict[str, list[str]]) -> pd.DataFrame:
    rows = [(user, place, item) for user, row in items.items() for place, item in enumerate(row, start=1)]
    return pd.DataFrame(rows, columns=["user_id", "rank", "item_id"])


def taken(*rows: tuple[str, str, float]) -> pd.DataFrame:
    """user, item, days after START."""
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "days"])
    return frame.assign(timestamp=START + pd.to_timedelta(frame.pop("days"), unit="D"))


def test_a_list_counts_from_its_moment_to_the_next_and_users_are_paired(tmp_path: Path) -> None:
    for version, offered in (("2", ["a", "b"]), ("1", ["c", "d"])):
        keep_lists(tmp_path, version, START, lists({"u": offered, "v": offered}))
        keep_lists(tmp_path, version, START + 2 * DAY, lists({"u": offered[::-1], "v": offered}))
    log = taken(
        ("u", "a", -1.0),  # Before anything was offered.
        ("u", "c", 1.0),  # First period: only the previous one's list has it, in the first place.
        ("u", "b", 3.0),  # Second period: the champion's first place.
        ("v", "z", 3.0),  # Nobody had it.
        ("w", "a", 1.0),  # Was offered nothing.
    )
    found = outcomes_of_lists(kept_lists(tmp_path), "2", "1", log, metric="ndcg", k=2)
    assert found["user_id"].tolist() == ["u", "v"]
    assert found["champion"].tolist() == pytest.approx([0.5, 0.0])
    assert found["previous"].tolist() == pytest.approx([0.5, 0.0])


def test_moments_at_which_only_one_of_them_was_scored_do_not_count(tmp_path: Path) -> None:
    keep_lists(tmp_path, "2", START, lists({"u": ["a"]}))
    found = outcomes_of_lists(kept_lists(tmp_path), "2", "1", taken(("u", "a", 1.0)), metric="hit_rate", k=1)
    assert found.empty
    assert weigh("lists", "hit_rate@1", found, 0.05, 100) is None


def evidence(tmp_path: Path, users: int, hit: float, base: float) -> object:
    draw = np.random.default_rng(3)
    table = pd.DataFrame(
        {
            "user_id": [str(number) for number in range(users)],
            "champion": (draw.random(users) < hit).astype(float),
            "previous": (draw.random(users) < base).astype(float),
        }
    )
    return weigh("lists", "hit_rate@10", table, 0.05, 100)


@pytest.mark.parametrize(
    ("users", "hit", "base", "worse"),
    [(2000, 0.2, 0.4, True), (2000, 0.4, 0.4, False), (2000, 0.5, 0.4, False), (30, 0.0, 0.9, False)],
)
def test_only_a_clear_loss_of_enough_users_is_worse(
    tmp_path: Path, users: int, hit: float, base: float, worse: bool
) -> None:
    found = evidence(tmp_path, users, hit, base)
    assert found is not None
    assert found.worse(0.0, 100) is worse  # type: ignore[attr-defined]


def test_a_loss_that_is_allowed_is_not_worse(tmp_path: Path) -> None:
    found = evidence(tmp_path, 2000, 0.3, 0.4)
    assert found is not None
    assert found.worse(0.0, 100)  # type: ignore[attr-defined]
    assert not found.worse(0.5, 100)  # type: ignore[attr-defined]


def met_one_each(users: int, hit: float, base: float, seed: int) -> pd.DataFrame:
    """A third met both models, a third the champion alone, a third the previous one alone."""
    draw = np.random.default_rng(seed)
    third = np.arange(users) % 3
    champion, previous = ((draw.random(users) < share).astype(float) for share in (hit, base))
    champion[third == 2] = np.nan
    previous[third == 1] = np.nan
    return pd.DataFrame({"user_id": np.arange(users).astype(str), "champion": champion, "previous": previous})


def test_users_who_met_only_one_of_the_models_count_for_that_one() -> None:
    table = met_one_each(3000, 0.2, 0.4, 1)
    found = weigh("live", "ctr", table, 0.05, 100)
    assert found is not None and found.users == 2000
    assert (found.champion, found.previous) == (table["champion"].mean(), table["previous"].mean())
    assert found.difference.value == pytest.approx(found.champion - found.previous)
    # Of independent users the variance of a difference of means is the sum of theirs.
    spread = np.sqrt(table["champion"].var() / 2000 + table["previous"].var() / 2000)
    assert found.difference.high - found.difference.low == pytest.approx(2 * 1.96 * spread, rel=0.08)
    assert found.worse(0.0, 2000) and not found.worse(0.0, 2001)


def test_equal_models_that_met_different_users_are_hardly_ever_called_worse() -> None:
    """By both intervals: fewer than one in twenty, 2.5 in a hundred at a single look are the bootstrap's share."""
    found = [weigh("live", "ctr", met_one_each(600, 0.3, 0.3, seed), 0.05, 100) for seed in range(100)]
    assert sum(one is not None and one.worse(0.0, 100) for one in found) <= 1
    missed = [one for one in found if one is not None and not one.difference.low <= 0 <= one.difference.high]
    assert 0 < len(missed) <= 12


def test_a_model_that_nobody_met_is_no_evidence() -> None:
    assert weigh("live", "ctr", met_one_each(300, 0.3, 0.3, 1).assign(previous=np.nan), 0.05, 100) is None


def test_old_lists_go_and_equal_ones_replace_each_other(tmp_path: Path) -> None:
    for day in (0, 1, 1, 5):
        keep_lists(tmp_path, "1", START + day * DAY, lists({"u": ["a"]}))
    assert [one.as_of for one in kept_lists(tmp_path)] == [START, START + DAY, START + 5 * DAY]
    assert forget_before(tmp_path, START + 2 * DAY) == 2
    assert [one.version for one in kept_lists(tmp_path)] == ["1"]


def test_the_same_users_are_kept_whatever_their_order() -> None:
    users = np.array([f"{number:04d}" for number in range(500)], dtype=object)
    some = sampled_users(users, 100)
    assert len(some) == 100
    assert some.tolist() == sampled_users(users[::-1], 100).tolist()

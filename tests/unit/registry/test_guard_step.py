"""The step guard on a real log: lists of champion and previous, and what users then took."""

from __future__ import annotations

import pandas as pd
import pytest

from rectory.evaluation.outcomes import keep_lists, kept_lists
from rectory.files import read_json, read_parquet
from rectory.params import Params
from rectory.workspace import Workspace
from tasks import guard, score, shadow
from tests.unit.registry.conftest import Bench

USERS = 150


def lists_of(rows: pd.DataFrame, users: list[str]) -> pd.DataFrame:
    """What each user will take, as a list: nobody could recommend better."""
    first = rows[rows["user_id"].isin(users)].drop_duplicates(["user_id", "item_id"])
    rank = first.groupby("user_id").cumcount() + 1
    return first.assign(rank=rank)[rank <= 10][["user_id", "rank", "item_id"]]


@pytest.fixture
def two(bench: Bench) -> tuple[str, str]:
    """Versions of the champion and of the one before."""
    before, now = bench.register(), bench.register(data="cd34.dir")
    bench.store.promote(before, "first", by="test")
    bench.store.promote(now, "second", by="test")
    return now.version, before.version


def keep(workspace: Workspace, good: str, bad: str) -> None:
    """Lists of a moment in the last quarter of the log: one model foresaw everything, the other nothing."""
    log = read_parquet(workspace.tables / "interactions.parquet", ["user_id", "item_id", "timestamp"])
    moment = log["timestamp"].quantile(0.75)
    later = log[log["timestamp"] > moment]
    users = sorted(later["user_id"].unique())[:USERS]
    foreseen = lists_of(later, users)
    folder = workspace.kept_lists("shop")
    keep_lists(folder, good, moment, foreseen)
    keep_lists(folder, bad, moment, foreseen.assign(item_id="nobody wants it"))


def test_a_champion_that_foresaw_nothing_is_worse_beyond_doubt(
    params: Params, workspace: Workspace, two: tuple[str, str]
) -> None:
    champion, previous = two
    keep(workspace, good=previous, bad=champion)
    found = guard.run(params, workspace)
    assert found.worse
    written = read_json(workspace.guarded)
    assert (written["champion"], written["previous"]) == two
    (evidence,) = written["evidence"]
    assert evidence["users"] == USERS and evidence["difference"]["high"] < 0 and evidence["always"]["high"] < 0
    assert "does worse than" in found.text


def test_a_champion_that_foresaw_all_stays_and_so_does_one_nobody_has_tried(
    params: Params, workspace: Workspace, two: tuple[str, str]
) -> None:
    assert "Nobody has taken anything yet" in guard.run(params, workspace).text
    keep(workspace, good=two[0], bad=two[1])
    found = guard.run(params, workspace)
    assert not found.worse and "not shown to do worse" in found.text


def test_too_few_users_are_no_verdict(params: Params, workspace: Workspace, two: tuple[str, str]) -> None:
    keep(workspace, good=two[1], bad=two[0])
    strict = params.model_copy(update={"guard": params.guard.model_copy(update={"min_users": USERS + 1})})
    found = guard.run(strict, workspace)
    assert not found.worse and f"{USERS + 1} users are asked" in found.text


def test_there_is_nobody_to_go_back_to(
    params: Params, workspace: Workspace, bench: Bench, two: tuple[str, str]
) -> None:
    keep(workspace, good=two[1], bad=two[0])
    bench.store.block(bench.store.version(two[1]), "it was bad too", by="ann")
    found = guard.run(params, workspace)
    assert not found.worse and "is blocked" in found.text


def test_scoring_keeps_both_lists_for_the_same_users(
    params: Params, workspace: Workspace, two: tuple[str, str]
) -> None:
    score.run(params, workspace)
    few = params.model_copy(update={"guard": params.guard.model_copy(update={"users": 100, "k": 5})})
    done = shadow.run(few, workspace)
    assert done.versions == two and done.users == 100
    kept = {one.version: read_parquet(one.path) for one in kept_lists(workspace.kept_lists("shop"))}
    assert set(kept) == set(two)
    assert set(kept[two[0]]["user_id"]) == set(kept[two[1]]["user_id"])
    assert kept[two[0]]["rank"].max() == kept[two[1]]["rank"].max() == 5

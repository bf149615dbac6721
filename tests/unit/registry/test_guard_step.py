"""The guard on a real log: lists of champion and previous, live answers of both, and what users then did."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from flows import events
from flows.guard import act_on
from rectory.evaluation.outcomes import keep_lists, kept_lists
from rectory.files import read_json, read_parquet
from rectory.params import Params
from rectory.registry import audit
from rectory.registry.store import ModelStore, blocked
from rectory.serving.event_log import EventLog
from rectory.serving.store import URL_VARIABLE, Store
from rectory.serving.types import Answer, Event, Request, Shown
from rectory.workspace import Workspace
from tasks import guard, score, shadow
from tests.unit.registry.conftest import Bench, copied

USERS = 150


def lists_of(rows: pd.DataFrame, users: list[str]) -> pd.DataFrame:
    """What each user will take, as a list: nobody could recommend better."""
    first = rows[rows["user_id"].isin(users)].drop_duplicates(["user_id", "item_id"])
    rank = first.groupby("user_id").cumcount() + 1
    return first.assign(rank=rank)[rank <= 10][["user_id", "rank", "item_id"]]


@pytest.fixture(scope="module")
def starting(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Has a champion and one before."""
    project = copied(finished_run, tmp_path_factory.mktemp("two") / "project")
    bench = Bench.of(project)
    before, now = bench.register(), bench.register(data="cd34.dir")
    bench.store.promote(before, "first", by="test")
    bench.store.promote(now, "second", by="test")
    return project


@pytest.fixture
def two(store: ModelStore) -> tuple[str, str]:
    """Versions of the champion and of the one before."""
    now, before = store.champion(), store.previous()
    assert now is not None and before is not None
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
    assert found.worse and found.decided_on == "batch"
    written = read_json(workspace.guarded)
    assert (written["champion"], written["previous"]) == two
    (evidence,) = written["evidence"]
    assert evidence["users"] == USERS and evidence["difference"]["high"] < 0 and evidence["always"]["high"] < 0
    assert "does worse than" in found.text


def test_a_champion_that_foresaw_all_stays_and_so_does_one_nobody_has_tried(
    params: Params, workspace: Workspace, two: tuple[str, str]
) -> None:
    assert "nobody has taken anything yet" in guard.run(params, workspace).text
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


DAY = 86_400.0


def answered(
    workspace: Workspace, rates: dict[str, float], users: int, *, ago: float = 2 * 3600.0, kind: str = "click"
) -> None:
    """A real event log: each version answered each user four times, and this share of users took what it showed."""
    log = EventLog(Store.of(workspace))
    log.open()
    now, followed = time.time(), []
    for version, rate in rates.items():
        for user in range(users):
            for look in range(4):
                name, made = f"{version}-{user}-{look}-{ago}", now - ago - 60.0 * look
                shown = (Shown("a", 1.0, "personal"), Shown("b", 0.5, "personal"))
                log.record(Request(f"u{user}"), Answer(name, version, shown, "personal", 1.0), made, {})
                # Whole users, so that one is like another only by chance.
                if (user * 7919 + int(version)) % 100 < 100 * rate:
                    followed.append(Event(name, f"u{user}", "b", kind, made + 5, made + 5, 1.0, name))
    log.append(followed).result()
    log.close()


@pytest.fixture
def act(project: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], Any]:
    """What the flow does with the step's file, without a Prefect server to tell."""
    monkeypatch.setattr(events, "emit", lambda *_: None)
    return lambda found: act_on(found, project)


def test_a_champion_that_does_worse_live_is_rolled_back_and_blocked(
    params: Params, workspace: Workspace, bench: Bench, two: tuple[str, str], act: Callable[[dict[str, Any]], Any]
) -> None:
    champion, previous = two
    answered(workspace, {champion: 0.1, previous: 0.4}, users=300)
    found = guard.run(params, workspace)
    assert (found.worse, found.decided_on) == (True, "live")
    written = read_json(workspace.guarded)
    (evidence,) = written["evidence"]
    assert evidence["source"] == "live" and evidence["metric"] == "ctr" and evidence["users"] == 300
    assert (evidence["champion"], evidence["previous"]) == (pytest.approx(0.1), pytest.approx(0.4))
    seated = act(written)
    assert (seated.version, seated.replaced) == (previous, champion)
    now = bench.store.champion("shop")
    assert now is not None and now.version == previous
    assert "rolled back by guard" in (blocked(bench.store.version(champion)) or "")
    line = audit.read(workspace, 1)[0]
    assert line["event"] == "rolled back" and line["by"] == "guard"
    assert line["reason"].startswith("Live evidence decides")
    again = guard.run(params, workspace)
    assert not again.worse and "blocked" in again.text


@pytest.mark.parametrize("rates", [(0.3, 0.3), (0.4, 0.1), (0.29, 0.3)])
def test_a_champion_that_does_as_well_live_stays(
    workspace: Workspace,
    bench: Bench,
    two: tuple[str, str],
    act: Callable[[dict[str, Any]], Any],
    rates: tuple[float, float],
) -> None:
    params = bench.params
    answered(workspace, dict(zip(two, rates, strict=True)), users=300)
    found = guard.run(params, workspace)
    assert (found.worse, found.decided_on) == (False, None) and "not shown to do worse" in found.text
    assert act(read_json(workspace.guarded)) is None
    champion = bench.store.champion("shop")
    assert champion is not None and champion.version == two[0]


def test_too_few_live_users_are_no_verdict(params: Params, workspace: Workspace, two: tuple[str, str]) -> None:
    answered(workspace, {two[0]: 0.0, two[1]: 0.9}, users=99)
    found = guard.run(params, workspace)
    assert not found.worse and "100 users are asked" in found.text
    answered(workspace, {two[0]: 0.0}, users=500, ago=3 * DAY)
    assert not guard.run(params, workspace).worse, "users of both are asked for"
    assert read_json(workspace.guarded)["evidence"][0]["users"] == 99


def test_a_version_that_nobody_was_answered_by_is_no_evidence(
    params: Params, workspace: Workspace, two: tuple[str, str]
) -> None:
    answered(workspace, {two[0]: 0.0}, users=300)
    found = guard.run(params, workspace)
    assert not found.worse and "too few users were answered" in found.text
    assert read_json(workspace.guarded)["evidence"] == []


def test_answers_that_have_not_had_their_time_and_old_ones_do_not_count(
    params: Params, workspace: Workspace, two: tuple[str, str]
) -> None:
    answered(workspace, {two[0]: 0.0}, users=300, ago=60.0)
    answered(workspace, {two[1]: 0.9}, users=300, ago=20 * DAY)
    assert not guard.run(params, workspace).worse
    wide = {"live_minutes": 0.5, "live_days": 30.0}
    asked = params.model_copy(update={"guard": params.guard.model_copy(update=wide)})
    assert guard.run(asked, workspace).decided_on == "live"


def test_conversion_counts_only_what_is_worth_money(params: Params, workspace: Workspace, two: tuple[str, str]) -> None:
    answered(workspace, {two[0]: 0.1}, users=300, kind="purchase")
    answered(workspace, {two[1]: 0.9}, users=300, kind="click")
    asked = params.model_copy(update={"guard": params.guard.model_copy(update={"live": "conversion"})})
    assert not guard.run(asked, workspace).worse
    assert guard.run(params, workspace).decided_on == "live"


def test_either_evidence_rolls_back_and_the_text_says_which(
    params: Params, workspace: Workspace, two: tuple[str, str]
) -> None:
    answered(workspace, {two[0]: 0.3, two[1]: 0.3}, users=300)
    keep(workspace, good=two[1], bad=two[0])
    found = guard.run(params, workspace)
    assert found.decided_on == "batch" and found.text.startswith("Batch evidence decides")
    assert "Live evidence:" in found.text
    assert [one["source"] for one in read_json(workspace.guarded)["evidence"]] == ["live", "batch"]


def test_without_an_event_log_or_with_live_off_only_the_lists_count(
    params: Params, workspace: Workspace, two: tuple[str, str]
) -> None:
    keep(workspace, good=two[1], bad=two[0])
    alone = guard.run(params, workspace)
    assert alone.decided_on == "batch" and "Live" not in alone.text and not workspace.event_log.exists()
    before = read_json(workspace.guarded)
    answered(workspace, {two[0]: 0.0, two[1]: 0.9}, users=300)
    off = params.model_copy(update={"guard": params.guard.model_copy(update={"live": None})})
    guard.run(off, workspace)
    assert read_json(workspace.guarded) == before


def test_an_event_log_that_cannot_be_read_is_told_and_the_lists_count(
    params: Params, workspace: Workspace, two: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keep(workspace, good=two[1], bad=two[0])
    (tmp_path / "empty.db").touch()
    monkeypatch.setenv(URL_VARIABLE, f"sqlite:///{tmp_path / 'empty.db'}")
    found = guard.run(params, workspace)
    assert found.decided_on == "batch" and "live evidence could not be read" in found.text

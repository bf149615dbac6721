"""A challenger that passed and waits for a person; a version that is blocked; files that were damaged; a race."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.answering import answer
from rectory.errors import UsageError
from rectory.files import read_json, write_json
from rectory.params import Params, dump_params
from rectory.params.load import parse_params
from rectory.registry import audit
from rectory.registry.approval import Answer
from rectory.registry.store import ModelStore, blocked
from rectory.workspace import Workspace
from tasks import promote, register
from tests.shop import ROOT
from tests.unit.registry.conftest import Bench, copied, damage, first_run, seated_project, small_params
from tests.unit.registry.test_steps import second_run

# An equal model may take the seat, so that there is a challenger that passes.
LENIENT = {"min_gain": -0.9, "beat_baselines": False, "max_milliseconds_per_user": None, "behaviour": "off"}


def lenient(params: Params, **gate: object) -> Params:
    tree = dump_params(params)
    tree["gate"] |= {**LENIENT, **gate}
    return parse_params(tree, "params.yaml")


def of_half_life(params: Params, days: int) -> Params:
    """With another recipe of the candidate that wins."""
    tree = dump_params(params)
    tree["train"]["candidates"]["personal_frequency"]["half_lives_days"] = [days]
    return parse_params(tree, "params.yaml")


def registered_again(params: Params, run: Workspace, name: str) -> Workspace:
    """A run like `run` whose challenger is registered and not judged yet."""
    other = second_run(run, name)
    register.run(params, other)
    return other


@pytest.fixture(scope="module")
def starting(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its first run has seated a champion, its second has registered a challenger of another recipe."""
    project = seated_project(finished_run, tmp_path_factory.mktemp("challenged") / "project", small_params)
    registered_again(of_half_life(small_params(project), 30), first_run(project), "second")
    return project


def challenged(params: Params, workspace: Workspace) -> tuple[str, Workspace, Params]:
    """Version of the champion, and the second run, whose challenger the gate lets pass, with its params."""
    champion = ModelStore(workspace).champion()
    assert champion is not None
    return champion.version, Workspace(workspace.root.parent / "second", workspace.project), of_half_life(params, 30)


def events(workspace: Workspace) -> list[str]:
    return [str(line["event"]) for line in audit.read(workspace)]


def test_an_empty_seat_is_filled_without_asking(finished_run: Path, tmp_path: Path) -> None:
    project = copied(finished_run, tmp_path / "empty")
    asking, workspace = lenient(small_params(project), require_approval=True), first_run(project)
    register.run(asking, workspace)
    decided = promote.run(asking, workspace)
    assert decided.promoted and decided.waiting is None


def test_a_passed_challenger_waits_and_a_yes_seats_it(params: Params, workspace: Workspace) -> None:
    asking = lenient(params, require_approval=True)
    champion, other, asking = challenged(asking, workspace)
    waits = promote.run(asking, other)
    assert not waits.promoted and waits.waiting is not None and waits.version == champion
    assert "waits for approval" in waits.text and "rectory approve" in waits.reasons[-1]
    store = ModelStore(workspace)
    assert store.aliases()["champion"] == champion
    assert store.version(waits.waiting).tags["decision"] == "waiting"
    assert promote.run(asking, other) == waits, "asked again it still waits"
    Answer(True, "ann", "looks right").write(other)
    Answer(False, "bob", "too late").write(other)
    decided = promote.run(asking, other)
    assert decided.promoted and decided.version == waits.waiting
    seated = ModelStore(workspace).champion()
    assert seated is not None and seated.version == waits.waiting
    assert seated.tags["decision"] == "promoted"
    assert "ann" in seated.tags["approval"] and "looks right" in seated.tags["approval"]
    line = next(line for line in audit.read(workspace) if line["event"] == "approved")
    assert line["by"] == "ann" and "looks right" in line["reason"] and line["version"] == waits.waiting
    before = events(workspace)
    assert promote.run(asking, other) == decided and events(workspace) == before, "decided stays decided"


def test_a_no_and_no_answer_in_time_leave_the_champion(params: Params, workspace: Workspace) -> None:
    asking = lenient(params, require_approval=True)
    champion, other, asking = challenged(asking, workspace)
    promote.run(asking, other)
    Answer(False, "ann", "not before the sale ends").write(other)
    refused = promote.run(asking, other)
    assert not refused.promoted and refused.waiting is None and refused.version == champion
    assert "rejected by ann" in refused.reasons[-1] and "not before the sale ends" in refused.reasons[-1]

    hasty = of_half_life(lenient(params, require_approval=True, approval_hours=1e-6), 60)
    third = registered_again(hasty, other, "third")
    assert promote.run(hasty, third).waiting is not None
    late = promote.run(hasty, third)
    assert not late.promoted and late.waiting is None
    assert "the time to answer is over" in late.reasons[-1]
    assert read_json(third.decision)["approval"]["by"] == "nobody"
    assert ModelStore(workspace).aliases()["champion"] == champion


def test_a_yes_to_what_was_judged_against_another_champion_seats_nobody(params: Params, workspace: Workspace) -> None:
    asking = lenient(params, require_approval=True)
    champion, other, asking = challenged(asking, workspace)
    waits = promote.run(asking, other)
    store = ModelStore(workspace)
    third = next(one for one in store.versions() if one.version not in (champion, waits.waiting))
    store.promote(third, "by hand", by="bob")
    Answer(True, "ann").write(other)
    refused = promote.run(asking, other)
    assert not refused.promoted and refused.version == third.version
    assert "judged against version" in refused.reasons[-1]
    assert ModelStore(workspace).aliases()["champion"] == third.version


def test_a_challenger_with_damaged_files_is_refused_and_the_champion_stays(
    params: Params, workspace: Workspace
) -> None:
    easy = lenient(params)
    champion, other, easy = challenged(easy, workspace)
    store = ModelStore(workspace)
    versions = {name: entry["version"] for name, entry in read_json(other.registered)["candidates"].items()}
    hurt = {name: damage(store, number) for name, number in versions.items() if number != champion}
    decided = promote.run(easy, other)
    assert not decided.promoted and decided.version == champion
    assert any("differ from what was registered" in reason for reason in decided.reasons), decided.reasons
    assert hurt[decided.challenger].name in " ".join(decided.reasons)
    rules = {reason["rule"] for reason in read_json(other.decision)["reasons"]}
    assert "artefacts" in rules
    after = ModelStore(workspace).champion()
    assert after is not None and after.version == champion
    ModelStore(workspace).bundle(after).recommend(["00001"], 3)


def test_a_version_damaged_while_it_waited_is_not_seated(params: Params, workspace: Workspace) -> None:
    asking = lenient(params, require_approval=True)
    champion, other, asking = challenged(asking, workspace)
    waits = promote.run(asking, other)
    assert waits.waiting is not None
    damage(ModelStore(workspace), waits.waiting)
    Answer(True, "ann").write(other)
    refused = promote.run(asking, other)
    assert not refused.promoted and refused.version == champion
    assert "cannot be served" in refused.reasons[-1]


def test_what_was_rolled_back_does_not_come_back_by_itself(params: Params, workspace: Workspace) -> None:
    easy = lenient(params)
    champion, other, easy = challenged(easy, workspace)
    bad = promote.run(easy, other).version
    assert bad is not None and bad != champion
    store = ModelStore(workspace)
    assert store.rollback(None, "sells worse", "ann").version == champion
    assert "sells worse" in str(blocked(store.version(bad)))
    with pytest.raises(UsageError, match="is blocked"):
        store.rollback()
    again = registered_again(easy, other, "again")
    refused = promote.run(easy, again)
    named = [reason for reason in refused.reasons if "is blocked" in reason]
    assert refused.version == champion and named and f"rectory unblock {bad}" in named[0]
    assert store.unblock(store.version(bad), "it was the season", "ann")
    assert blocked(store.version(bad)) is None and not store.unblock(store.version(bad), "again")
    once_more = registered_again(easy, other, "once-more")
    assert promote.run(easy, once_more).version == bad
    assert "unblocked" in events(workspace)


def test_seating_a_blocked_version_by_hand_ends_the_block(bench: Bench) -> None:
    one, two = bench.register(), bench.register(data="cd34.dir")
    bench.store.promote(one, "first", by="test")
    bench.store.promote(two, "second", by="test")
    bench.store.rollback(reason="bad", by="test")
    assert blocked(bench.store.version(two.version))
    assert bench.store.rollback(to=two.version, reason="it was good", by="test", block=False).version == two.version
    assert blocked(bench.store.version(two.version)) is None
    assert blocked(bench.store.version(one.version)) is None


def test_two_promotions_that_race_give_one_judgement_and_the_second_knows_the_first(
    params: Params, workspace: Workspace, tmp_path: Path
) -> None:
    """Two processes on one run, and a third on a run with the same challenger, on a real store."""
    easy = lenient(params)
    champion, second, easy = challenged(easy, workspace)
    third = registered_again(easy, second, "third")
    before = len(events(workspace))
    file = tmp_path / "params.yaml"
    write_json(file, dump_params(easy))
    command = [sys.executable, "-m", "tasks.promote", "--params", str(file), "--project", str(second.project)]
    processes = [
        subprocess.Popen(
            [*command, "--workspace", str(one.root)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for one in (second, second, third)
    ]
    for process in processes:
        _, said = process.communicate(timeout=600)
        assert process.returncode == 0, said
    decisions = [read_json(one.decision) for one in (second, third)]
    assert sorted(one["promoted"] for one in decisions) == [False, True]
    winner = next(one for one in decisions if one["promoted"])
    loser = next(one for one in decisions if not one["promoted"])
    assert winner["champion_before"]["version"] == champion
    assert loser["champion_before"]["version"] == winner["champion"]["version"]
    assert events(workspace)[before:].count("promoted") == 1
    assert events(workspace)[before:].count("judged") == 2
    seated = ModelStore(workspace).champion()
    assert seated is not None and seated.version == winner["champion"]["version"]


def test_the_commands_answer_without_a_server(
    params: Params, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    asking = lenient(params, require_approval=True)
    champion, other, asking = challenged(asking, workspace)
    write_json(workspace.params_file, dump_params(asking))
    write_json(other.root / "params.yaml", dump_params(asking))
    write_json(other.run_facts, {"run_id": other.root.name, "dataset": "shop"})
    waits = promote.run(asking, other)
    with pytest.raises(UsageError, match=f"who waits: version {waits.waiting}"):
        answer(workspace.project, "shop", champion, approve=True, by="ann", comment="")
    decided = answer(workspace.project, "shop", None, approve=True, by="ann", comment="looks right")
    assert decided.promoted and decided.version == waits.waiting
    latest = read_json(workspace.reports / "latest" / "summary.json")
    assert latest["decision"]["champion"]["version"] == waits.waiting
    with pytest.raises(UsageError, match="who waits: nobody"):
        answer(workspace.project, "shop", None, approve=False, by="ann", comment="")

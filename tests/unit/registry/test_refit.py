"""The champion's recipe, fitted again on everything: who serves, who is measured, and when nothing is fitted again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from rectory.care.gc import needed_versions
from rectory.files import read_json, read_parquet, write_json
from rectory.params import Params, dump_params, load_params
from rectory.params.load import parse_params
from rectory.params.sections import GcParams
from rectory.registry import audit
from rectory.registry.recipes import Recipe
from rectory.registry.refitting import Renewal
from rectory.registry.reproduce import reproduce
from rectory.registry.store import ModelStore, Version, blocked
from rectory.workspace import Workspace
from tasks import history, live, promote, recipe, refit, register, renew, score, train
from tests.unit.registry.conftest import damage, seated_project, small_params


def refitted(params: Params, workspace: Workspace) -> renew.Renewed:
    """The steps after a judgement, as the flows call them."""
    planned = recipe.run(params, workspace)
    if planned.recipe:
        history.run(params, workspace)
        refit.run(params, workspace, planned.recipe)
    return renew.run(params, workspace)


def champion(workspace: Workspace) -> Version:
    seated = ModelStore(workspace).champion()
    assert seated is not None
    return seated


def later(workspace: Workspace, params: Params, name: str, moment: str) -> tuple[Params, Workspace]:
    """The same data in a run as of a later moment: another refit."""
    other = Workspace(workspace.root.parent / name, workspace.project)
    shutil.copytree(workspace.root, other.root)
    shutil.rmtree(other.root / "registry")
    then = params.model_copy(update={"as_of": pd.Timestamp(moment).to_pydatetime()})
    register.run(then, other)
    return then, other


def two_candidates(project: Path) -> Params:
    """Two are enough, and each costs a second."""
    params = small_params(project)
    kept = {name: one for name, one in params.train.candidates.items() if name != "popularity_recent"}
    return params.model_copy(update={"train": params.train.model_copy(update={"candidates": kept})})


@pytest.fixture
def params(project: Path) -> Params:
    return two_candidates(project)


@pytest.fixture(scope="module")
def starting(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its run has a champion."""
    return seated_project(finished_run, tmp_path_factory.mktemp("judged") / "project", two_candidates)


@pytest.fixture
def judged(workspace: Workspace) -> Workspace:
    return workspace


def test_the_refit_serves_knows_the_newest_rows_and_names_what_was_measured(params: Params, judged: Workspace) -> None:
    before = champion(judged)
    done = refitted(params, judged)
    after = champion(judged)
    assert done.served and done.version == after.version != before.version
    assert after.refit_of == before.version and after.candidate == before.candidate
    newest = read_parquet(judged.tables / "interactions.parquet", ["timestamp"])["timestamp"].max()
    assert pd.Timestamp(before.trained_until) < newest
    assert abs(pd.Timestamp(after.trained_until) - newest) < pd.Timedelta(milliseconds=1)
    store = ModelStore(judged)
    assert store.measured(after).version == before.version and store.measured(before).version == before.version
    rows = len(read_parquet(judged.tables / "interactions.parquet", ["user_id"]))
    assert int(store.bundle(before).seen.sum()) < int(store.bundle(after).seen.sum()) == rows
    kept = store.artifact(after, "metrics.json")
    assert kept is not None and read_json(kept)["measured_on"] == before.version
    assert read_json(kept)["metrics"] == read_json(judged.metrics(before.candidate))["metrics"]
    card = store.artifact(after, "model_card.md")
    assert card is not None and "nobody has measured the refit" in card.read_text(encoding="utf-8")
    assert score.run(params, judged).model_version == after.version
    assert [line["event"] for line in audit.read(judged)] == ["judged", "promoted", "renewed"]


def test_a_second_time_nothing_is_fitted_and_nothing_changes(params: Params, judged: Workspace) -> None:
    first = refitted(params, judged)
    shutil.rmtree(judged.history)
    planned = recipe.run(params, judged)
    assert planned.recipe is None and planned.version == first.version
    again = renew.run(params, judged)
    assert again.served and again.version == first.version
    assert len(ModelStore(judged).versions()) == len(params.train.candidates) + 1
    assert [line["event"] for line in audit.read(judged)].count("renewed") == 1


def test_the_gate_measures_the_fit_that_has_not_seen_the_window(params: Params, judged: Workspace) -> None:
    before = champion(judged)
    refitted(params, judged)
    wanted = params.model_copy(update={"train": params.train.model_copy(update={"seed": params.train.seed + 1})})
    other = later(judged, wanted, "second", "2026-01-01T00:00:00Z")[1]
    decided = promote.run(wanted, other)
    decision = read_json(other.decision)
    assert not any(reason["rule"] == "comparable" for reason in decision["reasons"]), decision["reasons"]
    assert decision["champion_before"]["version"] == before.version
    if not decided.promoted:
        assert decision["champion"]["version"] == champion(judged).version


def test_previous_is_who_served_before_never_the_fit_between(params: Params, judged: Workspace) -> None:
    store = ModelStore(judged)
    assert store.previous() is None
    refitted(params, judged)
    first = champion(judged)
    assert store.previous() is None, "the measured fit served for a moment only"
    refitted(*later(judged, params, "second", "2026-01-01T00:00:00Z"))
    second = champion(judged)
    previous = store.previous()
    assert second.version != first.version and previous is not None and previous.version == first.version


def test_a_refit_that_was_rolled_back_ends_the_refits_of_its_version(params: Params, judged: Workspace) -> None:
    measured = champion(judged)
    refitted(params, judged)
    first = champion(judged)
    refitted(*later(judged, params, "second", "2026-01-01T00:00:00Z"))
    second, store = champion(judged), ModelStore(judged)
    assert store.rollback(reason="bad", by="tests").version == first.version
    assert blocked(store.version(second.version)) and not blocked(store.version(measured.version))
    after, other = later(judged, params, "third", "2026-01-02T00:00:00Z")
    done = refitted(after, other)
    assert not done.served and f"refit {second.version}" in done.text
    assert champion(judged).version == first.version
    assert store.unblock(store.version(second.version), "mended", "tests")
    assert refitted(after, other).served


def test_going_back_past_a_refit_blocks_the_version_whose_recipe_it_is_too(params: Params, judged: Workspace) -> None:
    measured, store = champion(judged), ModelStore(judged)
    refitted(params, judged)
    other = next(one for one in store.versions() if one.candidate != measured.candidate)
    store.rollback(other.version, "bad recipe", "tests")
    assert blocked(store.version(measured.version))


def test_a_seat_that_changed_hands_meanwhile_is_left_alone(params: Params, judged: Workspace) -> None:
    planned = recipe.run(params, judged)
    assert planned.recipe
    history.run(params, judged)
    refit.run(params, judged, planned.recipe)
    store = ModelStore(judged)
    other = next(one for one in store.versions() if one.candidate != champion(judged).candidate)
    store.promote(other, "by hand")
    done = renew.run(params, judged)
    assert not done.served and "holds the seat" in done.text
    assert champion(judged).version == other.version


def test_a_recipe_that_would_be_another_today_waits_for_the_gate(params: Params, judged: Workspace) -> None:
    changed = params.model_copy(update={"split": params.split.model_copy(update={"test_share": 0.3})})
    done = refitted(changed, judged)
    assert not done.served and "split" in done.text and "must pass the gate" in done.text
    assert not Renewal.read(judged).recipe


def test_the_step_takes_over_what_the_recipe_keeps(judged: Workspace) -> None:
    sources = {name: {"kind": kind} for name, kind in (("own", "personal_frequency"), ("recent", "popularity"))}
    tree = dump_params(load_params(judged.params_file))
    tree["train"]["candidates"]["blend"] |= {"sources": sources, "windows": 2, "trees": 20}
    params = parse_params(tree, "params.yaml")
    train.run(params, judged, "blend")
    fitted, chosen = judged.model("blend"), read_json(judged.fit_report("blend"))["chosen"]
    assert chosen["trees"] > 0
    asked = Recipe.of(params, "blend", chosen, fitted)
    asked.lay_out(judged, fitted)
    history.run(params, judged)
    refit.run(params, judged, asked.name)
    made, ranker = judged.refitted(asked.name), Path("model", "ranker.txt")
    assert (made / ranker).read_bytes() == (fitted / ranker).read_bytes()
    assert (made / "seen.npz").read_bytes() != (fitted / "seen.npz").read_bytes(), "it knows the newest rows"


def test_of_a_version_with_damaged_files_nothing_is_fitted(params: Params, judged: Workspace) -> None:
    before = champion(judged)
    hurt = damage(ModelStore(judged), before.version)
    done = refitted(params, judged)
    assert not done.served and "differ from what was registered" in done.text and hurt.name in done.text
    assert not Renewal.read(judged).recipe and champion(judged).version == before.version


def test_lists_of_another_sort_do_not_serve(params: Params, judged: Workspace) -> None:
    before = champion(judged)
    strict = params.model_copy(update={"gate": params.gate.model_copy(update={"max_model_mb": 1e-6})})
    done = refitted(strict, judged)
    assert not done.served and "model size" in done.text
    assert champion(judged).version == before.version


def test_live_answers_take_the_weights_of_the_measured_fit(params: Params, judged: Workspace) -> None:
    # The step looks for the run in runs/<run id>.
    measured = live.run(params, judged)
    assert measured.fitted, measured.text
    refitted(params, judged)
    prepared = live.run(params, judged)
    assert prepared.fitted and f"weights of version {measured.version}" in prepared.text
    first, second = champion(judged).lineage_key, ModelStore(judged).measured(champion(judged)).lineage_key
    assert (judged.live(first) / "mix.json").read_bytes() == (judged.live(second) / "mix.json").read_bytes()


def test_gc_keeps_what_a_refit_needs(params: Params, judged: Workspace) -> None:
    refitted(params, judged)
    store = ModelStore(judged)
    # Only the refit holds a seat.
    seat = {"champion": champion(judged).version}
    policy = GcParams(keep_days=0.0, keep_versions=1)
    kept = needed_versions(store.versions(), seat, policy, now=4e9)
    assert {one.version for one in kept} == {champion(judged).version, str(champion(judged).refit_of)}


def test_a_refit_is_rebuilt_to_the_byte(params: Params, judged: Workspace) -> None:
    refitted(params, judged)
    found = reproduce(None, judged)
    assert found.version == champion(judged).version
    assert found.identical, found.differences


def test_an_older_run_that_is_concluded_late_does_not_take_the_data_back(params: Params, judged: Workspace) -> None:
    after, other = later(judged, params, "second", "2026-01-01T00:00:00Z")
    newer = {**read_json(other.snapshot), "as_of": "2025-04-02T00:00:00+00:00"}
    write_json(other.snapshot, newer)
    assert refitted(after, other).served
    serving = champion(judged).version
    done = refitted(params, judged)
    assert not done.served and "newer data" in done.text
    assert champion(judged).version == serving


def test_a_fit_that_failed_leaves_the_champion_as_it_is(params: Params, judged: Workspace) -> None:
    before = champion(judged).version
    assert recipe.run(params, judged).recipe
    done = renew.run(params, judged)
    assert not done.served and "the fit failed" in done.text
    assert champion(judged).version == before

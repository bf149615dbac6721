"""Three nights of a shop: who continues from whom, when not, and what the lineage says of it."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rectory.files import read_json, tree_digests
from rectory.params import Params, load_params
from rectory.registry.reproduce import reproduce
from rectory.registry.store import ModelStore
from rectory.workspace import Workspace
from tests.shop import make_project

KEPT = ("lightfm_hybrid",)
NIGHTS = ("2025-03-29", "2025-03-30", "2025-03-31")


def read(project: Path, night: str, *overrides: str) -> Params:
    params = load_params(project / "params.yaml", [f"as_of={night}", "train.warm_start.full_every=3", *overrides])
    kept = {name: params.train.candidates[name] for name in KEPT}
    return params.model_copy(update={"train": params.train.model_copy(update={"candidates": kept})})


def night(project: Path, name: str, params: Params, *, register: bool = True) -> tuple[Workspace, dict[str, Any]]:
    """One run as far as register; gives its workspace and the registered entries."""
    workspace = Workspace(project / "runs" / name, project)
    for step in ("fetch", "validate", "snapshot", "split", "features"):
        importlib.import_module(f"tasks.{step}").run(params, workspace)
    done = importlib.import_module("tasks.reuse").run(params, workspace).candidates
    for candidate in params.train.candidates:
        if candidate not in done:
            importlib.import_module("tasks.train").run(params, workspace, candidate)
        importlib.import_module("tasks.evaluate").run(params, workspace, candidate)
    if not register:
        return workspace, {}
    importlib.import_module("tasks.register").run(params, workspace)
    return workspace, read_json(workspace.registered)["candidates"]


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    project = make_project(tmp_path_factory.mktemp("warm") / "project")
    sales = pd.read_csv(project / "exports" / "sales.csv", dtype=str)
    good = sales["customer"].notna() & (sales["at"] != "yesterday")
    sales[good].to_csv(project / "exports" / "sales.csv", index=False)
    return project, [night(project, f"night{at}", read(project, day))[1] for at, day in enumerate(NIGHTS)]


Again = Callable[..., tuple[Workspace, dict[str, Any]]]


@pytest.fixture
def again(nights: tuple[Path, list[dict[str, Any]]], tmp_path: Path) -> Again:
    """Another run in the same project, as far as evaluate: nothing more is registered."""
    project, _ = nights
    count = 0

    def run(day: str = NIGHTS[2], *overrides: str) -> tuple[Workspace, dict[str, Any]]:
        nonlocal count
        count += 1
        name = f"{tmp_path.name}-{count}"
        return night(project, name, read(project, day, *overrides), register=False)

    return run


def start(workspace: Workspace, candidate: str = "lightfm_hybrid") -> str:
    return str(read_json(workspace.fit_report(candidate))["start"])


def test_the_first_is_a_full_fit_and_each_next_continues_from_the_one_before(
    nights: tuple[Path, list[dict[str, Any]]],
) -> None:
    project, (first, second, third) = nights
    chains = [entry["lightfm_hybrid"]["chain"] for entry in (first, second, third)]
    one, two = (entry["lightfm_hybrid"]["version"] for entry in (first, second))
    assert chains == [[], [one], [one, two]]
    runs = [Workspace(project / "runs" / f"night{at}", project) for at in range(3)]
    assert start(runs[0]) == ""
    assert f"Continued from version {one} (full fit of version {one}, warm start 1 since): 1 epoch" in start(runs[1])
    assert f"Continued from version {two} (full fit of version {one}, warm start 2 since)" in start(runs[2])
    reports = [read_json(run.fit_report("lightfm_hybrid")) for run in runs]
    assert reports[0]["chosen"] == reports[1]["chosen"] == reports[2]["chosen"]
    assert len({entry["lightfm_hybrid"]["lineage_key"] for entry in (first, second, third)}) == 3


def test_the_version_tells_its_chain(nights: tuple[Path, list[dict[str, Any]]]) -> None:
    project, (first, second, third) = nights
    store = ModelStore(Workspace(project=project))
    version = store.version(third["lightfm_hybrid"]["version"])
    parent = store.version(second["lightfm_hybrid"]["version"])
    assert version.warm_start_of == parent.lineage_key
    assert [link.version for link in store.links(version)] == [
        entry["lightfm_hybrid"]["version"] for entry in (first, second, third)
    ]
    assert version.recipe == parent.recipe, "to the gate it is the same recipe on newer data"
    card = store.artifact(version, "model_card.md")
    assert card is not None
    text = card.read_text(encoding="utf-8")
    assert f"Continues from version {first['lightfm_hybrid']['version']}, version {parent.version}" in text
    lineage = store.artifact(version, "lineage.json")
    assert lineage is not None
    assert read_json(lineage)["parent"]["lineage_key"] == parent.lineage_key


def test_the_same_night_again_is_free_and_makes_no_twin(nights: tuple[Path, list[dict[str, Any]]]) -> None:
    """The middle night too, though there are now others that it could not have continued from."""
    project, entries = nights
    for at in (1, 2, 0):
        name = f"again-{at}"
        params = read(project, NIGHTS[at])
        workspace, once_more = night(project, name, params)
        assert once_more["lightfm_hybrid"]["version"] == entries[at]["lightfm_hybrid"]["version"]
        assert once_more["lightfm_hybrid"]["reused"]
        once = Workspace(project / "runs" / f"night{at}", project)
        assert tree_digests(workspace.model("lightfm_hybrid")) == tree_digests(once.model("lightfm_hybrid"))


def test_after_so_many_a_full_fit_follows_and_says_why(again: Again) -> None:
    workspace, _ = again("2025-04-01")
    assert "Fitted from scratch, because 2 warm starts have followed the full fit" in start(workspace)
    assert not (workspace.parent("lightfm_hybrid") / "bundle").exists()


def test_switched_off_it_finds_and_continues_none(again: Again) -> None:
    workspace, _ = again(NIGHTS[2], "train.warm_start.full_every=1")
    assert start(workspace) == ""
    assert len(read_json(workspace.fit_report("lightfm_hybrid"))["curve"]) > 1


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("train.candidates.lightfm_hybrid.components=9", "the candidate's own params changed since version"),
        (
            "features.numeric_bins=5",
            "split, features, train.seed, train.validation_users or the card's mapping changed",
        ),
        ("train.warm_start.max_new_share=0.001", "of the rows are new since version"),
    ],
)
def test_what_forbids_it_is_named(again: Again, override: str, why: str) -> None:
    workspace, _ = again("2025-04-01", "train.warm_start.full_every=9", override)
    assert why in start(workspace)


def test_who_was_taken_out_of_the_log_is_forgotten_by_a_full_fit(again: Again, nights: tuple[Path, Any]) -> None:
    project = nights[0]
    log = project / "exports" / "sales.csv"
    whole = log.read_text(encoding="utf-8")
    sales = pd.read_csv(log, dtype=str)
    gone = sales["customer"].eq("00007")
    try:
        sales[~gone].to_csv(log, index=False)
        workspace, _ = again("2025-04-01", "train.warm_start.full_every=9")
    finally:
        log.write_text(whole, encoding="utf-8")
    assert "rows that version" in start(workspace) and "are no longer in the log" in start(workspace)


def test_the_chain_is_rebuilt_link_by_link_and_a_changed_link_is_named(
    nights: tuple[Path, list[dict[str, Any]]],
) -> None:
    project, (first, second, _) = nights
    workspace = Workspace(project=project)
    one, two = (entry["lightfm_hybrid"]["version"] for entry in (first, second))
    said: list[str] = []
    result = reproduce(two, workspace, announce=said.append)
    assert result.identical, result.differences
    assert result.links == (one, two)
    assert f"version {one}, 1 of 2 in its chain" in said
    store = ModelStore(workspace)
    kept = store.artifact(store.version(one), "params.json")
    assert kept is not None
    before = kept.read_text(encoding="utf-8")
    text = json.loads(before)
    text["train"]["candidates"]["lightfm_hybrid"]["learning_rate"] = 0.1
    try:
        kept.write_text(json.dumps(text), encoding="utf-8")
        differs = reproduce(two, workspace)
    finally:
        kept.write_text(before, encoding="utf-8")
    assert not differs.identical
    assert any(line.startswith(f"version {one}, 1 of 2 in the chain: model/") for line in differs.differences)

"""What serves may know the newest days too: the champion's recipe, fitted again on everything up to as_of.

The gate measures a fit that has not seen the test window. That evidence belongs to its version and stays there; the
refit is a version of its own that names it (`refit_of`), serves in its place and is measured by nobody: docs/refit.md.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from rectory.arrays import Array
from rectory.data.card import Card, load_card
from rectory.evaluation.holdout import milliseconds_per_user
from rectory.evaluation.relevance import head_items, load_window
from rectory.files import read_json, write_json
from rectory.metrics.beyond import catalogue_coverage, exposure, popularity_share
from rectory.models.bundle import Bundle
from rectory.params import Params
from rectory.registry.environment import checkout
from rectory.registry.gate import Contender, Reason, refit_reasons
from rectory.registry.judging import folder_mb
from rectory.registry.lineage import CodeGraph, candidate_lineage, recipe, refit_lineage, run_lineage
from rectory.registry.recipes import Recipe
from rectory.registry.record import FIT_FILE, METRICS_FILE, Record, RunContext
from rectory.registry.store import ModelStore, Version
from rectory.registry.warm_start import changed_since
from rectory.workspace import Workspace

RECIPE_FILE = "recipe.json"


@dataclass(frozen=True)
class Renewal:
    """registry/renewal.json. recipe: file in recipes/ that is to be fitted, None: none is. refit_of: the version that
    the gate has measured. version: the refit, once it is registered. served: it took the seat. why: or why not."""

    recipe: str | None = None
    refit_of: str | None = None
    version: str | None = None
    served: bool = False
    why: str = ""

    @classmethod
    def read(cls, workspace: Workspace) -> Renewal:
        return cls(**read_json(workspace.renewal))

    def write(self, workspace: Workspace) -> None:
        write_json(workspace.renewal, asdict(self))


def plan(params: Params, workspace: Workspace, store: ModelStore) -> Renewal:
    """What is to be fitted again for the champion of the run's data set; writes its recipe.

    A recipe that would be another today (its params, code or packages changed) is none that was measured: it waits
    until a version of today has passed the gate.
    """
    champion = store.champion(params.dataset)
    if champion is None:
        return Renewal(why=f"{params.dataset} has no champion")
    measured = store.measured(champion)
    card, data = load_card(workspace.card(params.dataset)), _data(workspace)
    fit = store.artifact(measured, FIT_FILE)
    why = _refusal(params, card, workspace, store, measured)
    if why or fit is None:
        return Renewal(refit_of=measured.version, why=why or f"version {measured.version} has no {FIT_FILE}")
    bundle = store.bundle_folder(measured)
    asked = Recipe.of(params, measured.candidate, read_json(fit)["chosen"], bundle)
    lineage = refit_lineage(params, card, data, workspace.lock_file, asked.told, refit_of=measured.lineage_key)
    known = store.find(lineage.key)
    if known is not None and store.fault(known) is None:
        return Renewal(refit_of=measured.version, version=known.version)
    asked.lay_out(workspace, bundle)
    return Renewal(asked.name, measured.version)


def _refusal(params: Params, card: Card, workspace: Workspace, store: ModelStore, measured: Version) -> str:
    """Why a version's recipe is not fitted again; empty: it may be."""
    candidate = measured.candidate
    if candidate not in params.train.candidates:
        return f"{candidate} is no candidate any more"
    lineage = candidate_lineage(params, card, _data(workspace), workspace.lock_file, candidate, graph=CodeGraph())
    if measured.tags.get("made_by") != lineage.made_by:
        return f"{changed_since(measured, lineage, recipe(params, candidate))}; a version of today must pass the gate"
    as_of = str(read_json(workspace.snapshot)["as_of"])
    if why := store.no_refit(params.dataset, measured.version, as_of):
        return why
    # A part of it may go over into the refit.
    fault = store.fault(measured)
    return "" if fault is None else f"version {measured.version} is damaged: {fault}"


def conclude(params: Params, workspace: Workspace, store: ModelStore, planned: Renewal) -> Renewal:
    """Hold the refit against the measured fit, register it and let it serve."""
    measured = store.version(str(planned.refit_of))
    refit = store.version(planned.version) if planned.version else None
    if refit is None:
        name = str(planned.recipe)
        if not (workspace.refitted(name) / "bundle.json").is_file():
            return Renewal(planned.recipe, measured.version, why="the fit failed; the run's log says why")
        failed = [
            one.text for one in _reasons(params, workspace, store.bundle_folder(measured), name) if not one.passed
        ]
        if failed:
            return Renewal(planned.recipe, measured.version, why="; ".join(failed))
        refit = _registered(params, workspace, store, measured, name)
    of = f"{measured.candidate} version {measured.version}"
    text = f"{of}, which the gate has measured, was fitted again on everything up to {refit.trained_until}"
    why = store.renew(refit, text)
    return Renewal(planned.recipe, measured.version, refit.version, served=why is None, why=why or text)


def _reasons(params: Params, workspace: Workspace, measured: Path, name: str) -> list[Reason]:
    users = load_window(workspace, load_card(workspace.card(params.dataset)), params).users
    refit = _shape(params, workspace.refitted(name), users)
    return refit_reasons(refit, _shape(params, measured, users), params.gate)


def _shape(params: Params, folder: Path, users: Array) -> Contender:
    """What a model's lists for these users are like, by its own items and its own head: as it would serve.

    No accuracy: on the test window that says nothing of a model that was trained on it.
    """
    bundle, k = Bundle.load(folder), params.evaluate.k[0]
    lists = bundle.recommend_codes(bundle.users.encode(users), k).items
    head = head_items(np.asarray(bundle.seen.sum(axis=0)).ravel(), params.evaluate.head_share)
    return Contender(
        name=bundle.candidate,
        value=0.0,
        users=len(users),
        coverage=catalogue_coverage(exposure(lists, len(bundle.items))),
        popularity_share=float(np.nanmean(popularity_share(lists, head))),
        milliseconds_per_user=milliseconds_per_user(bundle, users, k),
        model_mb=folder_mb(folder),
    )


def _registered(params: Params, workspace: Workspace, store: ModelStore, measured: Version, name: str) -> Version:
    card, data, told = load_card(workspace.card(params.dataset)), _data(workspace), read_json(workspace.recipe(name))
    lineage = refit_lineage(params, card, data, workspace.lock_file, told, refit_of=measured.lineage_key)
    run = read_json(workspace.registered)
    facts = read_json(workspace.run_facts) if workspace.run_facts.is_file() else {}
    context = RunContext(
        params,
        card,
        workspace,
        read_json(workspace.snapshot),
        run_lineage(params, card, data, workspace.lock_file),
        checkout(),
        str(facts.get("run_id") or workspace.root.resolve().name),
    )
    files = {one: store.artifact(measured, one) for one in (METRICS_FILE, FIT_FILE)}
    metrics, fit = (read_json(path) if path is not None else {} for path in files.values())
    timing = workspace.timing(f"refit-{name}")
    record = RefitRecord(
        run=context,
        candidate=measured.candidate,
        lineage=lineage,
        metrics={**metrics, "measured_on": measured.version},
        fit=fit,
        timing=read_json(timing) if timing.is_file() else {},
        refit_of=measured.version,
        recipe=Recipe(told),
    )
    return store.register(record, run["experiment"], run["parent_run_id"]).version


def _data(workspace: Workspace) -> str:
    return str(read_json(workspace.snapshot)["hash"])


@dataclass(frozen=True, kw_only=True)
class RefitRecord(Record):
    """A refit, ready to be registered. metrics, fit: of the version that the gate has measured, `refit_of`."""

    refit_of: str
    recipe: Recipe

    @property
    def bundle(self) -> Path:
        return self.run.workspace.refitted(self.recipe.name)

    def tags(self) -> dict[str, str]:
        return {**super().tags(), "refit_of": self.refit_of}

    def numbers(self) -> dict[str, float]:
        """What it cost: what was measured was measured of another model."""
        return {name: value for name, value in super().numbers().items() if name in ("fit_seconds", "peak_memory_mb")}

    def write_artifacts(self, folder: Path) -> None:
        super().write_artifacts(folder)
        write_json(folder / RECIPE_FILE, self.recipe.told)

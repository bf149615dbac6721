"""From a run's workspace to its report folder: the page, its facts for machines, and the figure that docs embed."""

from __future__ import annotations

import shutil

from rectory.data.card import load_card
from rectory.errors import RectoryError
from rectory.files import replacing, write_json
from rectory.models.bundle import Bundle
from rectory.params import Params
from rectory.reporting import plots
from rectory.reporting.inputs import Inputs, read_inputs
from rectory.reporting.page import render_page, standalone
from rectory.reporting.samples import SampleUser, sample_users
from rectory.reporting.summary import Summary, build_summary
from rectory.reporting.views import trade_off_points
from rectory.reporting.words import ranked, winner
from rectory.workspace import Workspace


def write_report(params: Params, workspace: Workspace) -> Summary:
    """Write `workspace.report` in one move. A step that has not run leaves a section that says so."""
    inputs = read_inputs(params, workspace)
    summary = build_summary(inputs)
    samples, note = _samples(summary, inputs)
    page = render_page(summary, inputs, samples, note)
    with replacing(workspace.report) as scratch:
        scratch.mkdir(parents=True)
        (scratch / "index.html").write_text(page, encoding="utf-8")
        write_json(scratch / "summary.json", summary.model_dump(mode="json"))
        write_json(scratch / "recommendations.json", [user.to_dict() for user in samples])
        if points := trade_off_points(summary):
            drawn = plots.accuracy_against_coverage(points, summary.metric)
            (scratch / "pareto.svg").write_text(standalone(drawn), encoding="utf-8")
        drift_page = workspace.drift / "drift.html"
        if drift_page.is_file():
            shutil.copyfile(drift_page, scratch / "drift.html")
    return summary


def _samples(summary: Summary, inputs: Inputs) -> tuple[list[SampleUser], str]:
    """Sample users with the champion's lists, and a sentence that says whose lists they are."""
    workspace, params = inputs.workspace, inputs.params
    number = params.report.sample_users
    if not number or not (workspace.split / "test.parquet").is_file() or not workspace.card(params.dataset).is_file():
        return [], ""
    bundle, note = _bundle(summary, workspace)
    if bundle is None:
        return [], note
    card = load_card(workspace.card(params.dataset))
    k = int(params.gate.metric.partition("@")[2])
    return sample_users(bundle, workspace.split, card, number, k), note


def _bundle(summary: Summary, workspace: Workspace) -> tuple[Bundle | None, str]:
    """The champion's bundle: this run's own, else from the model store, else the best candidate of this run."""
    champion, note = summary.decision.champion, ""
    own = winner(summary)
    if own and workspace.model(own).is_dir():
        return Bundle.load(workspace.model(own)), f"Lists of the champion, {own}."
    if champion and champion.version:
        try:
            return _stored_bundle(workspace, champion.version), (
                f"Lists of the champion, {champion.name} (version {champion.version}, of an earlier run)."
            )
        except RectoryError as error:
            # A store that is locked or gone must not cost the run its report.
            note = f"The champion's files could not be read ({error}) "
    for name, _ in ranked(summary):
        if workspace.model(name).is_dir():
            return Bundle.load(workspace.model(name)), f"{note}Lists of {name}, the best candidate of this run."
    return None, note


def _stored_bundle(workspace: Workspace, version: str) -> Bundle:
    from rectory.registry.store import ModelStore

    store = ModelStore(workspace)
    return store.bundle(store.version(version))

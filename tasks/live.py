"""Step live: what the champion's live answers need, fitted on the validation window. It is no DVC stage."""

from __future__ import annotations

from dataclasses import dataclass

from rectory.data.card import load_card
from rectory.features.training_set import TrainingSet
from rectory.files import read_json
from rectory.models.bundle import Bundle
from rectory.params import Params
from rectory.registry.store import ModelStore, Version
from rectory.serving.fitting import MIX_FILE, fit_links, save_live
from rectory.serving.mixing import Mix
from rectory.serving.preparing import prepare
from rectory.workspace import Workspace
from tasks import main


@dataclass(frozen=True)
class Prepared:
    """version: the champion, None if there is none. fitted: now; else it was there, or cannot be made from this run."""

    version: str | None
    fitted: bool
    text: str


def run(params: Params, workspace: Workspace) -> Prepared:
    """Fit for the champion if nobody has before."""
    store = ModelStore(workspace)
    champion = store.champion(params.dataset)
    if champion is None:
        return Prepared(None, False, "no champion")
    if champion.candidate not in params.train.candidates:
        return Prepared(
            champion.version, False, f"{champion.candidate} is no candidate any more: cautious weights serve"
        )
    folder = workspace.live(champion.lineage_key)
    if (folder / MIX_FILE).is_file():
        return Prepared(champion.version, False, f"there already for version {champion.version}")
    if champion.refit_of is not None:
        return _of_refit(workspace, store, champion)
    # The run that registered it has what it was made of; a run that found it there again has not.
    made = _run_of(champion, workspace)
    needed = (made.features, made.fit_report(champion.candidate), made.model(champion.candidate))
    if gone := [path for path in needed if not path.exists()]:
        return Prepared(champion.version, False, f"{gone[0]} is gone: cautious weights serve")
    model = Bundle.load(made.model(champion.candidate)).model
    links, mix = prepare(
        TrainingSet.load(made.features),
        load_card(workspace.card(params.dataset)),
        params.train.candidates[champion.candidate],
        read_json(made.fit_report(champion.candidate))["chosen"],
        model=model,
        seed=params.train.seed,
    )
    told = save_live(folder, links, mix, model)
    return Prepared(champion.version, True, "; ".join([_told(mix), *told]))


def _of_refit(workspace: Workspace, store: ModelStore, refit: Version) -> Prepared:
    """Links over all that the refit knows, and the weights that validation chose for the fit that was measured."""
    chosen, history = workspace.live(store.measured(refit).lineage_key) / MIX_FILE, _run_of(refit, workspace).history
    if gone := [path for path in (chosen, history) if not path.exists()]:
        return Prepared(refit.version, False, f"{gone[0]} is gone: cautious weights serve")
    mix = Mix.load(chosen)
    links = fit_links(TrainingSet.load(history), mix.settings.moment_seconds, vectors="embedded" in mix.linked)
    told = save_live(workspace.live(refit.lineage_key), links, mix, store.bundle(refit).model)
    return Prepared(refit.version, True, "; ".join([f"weights of version {refit.refit_of}", *told]))


def _run_of(version: Version, workspace: Workspace) -> Workspace:
    return Workspace(workspace.runs / version.tags["rectory.run_id"], workspace.project)


def _told(mix: Mix) -> str:
    found = mix.facts.get("hit@10")
    if found is None:
        return "no validation window: cautious weights serve"
    return (
        f"validation hit@10 {found['frozen']:.3f} frozen, {found['live']:.3f} live, {'on' if mix.live else 'left off'}"
    )


if __name__ == "__main__":
    main("live", run)

"""Step refit: fit a recipe again, as an earlier fit chose it, on everything up to as_of. No search, no test."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import TypeAdapter

from rectory.features.training_set import TrainingSet
from rectory.files import read_json
from rectory.models.bundle import Bundle, read_titles
from rectory.models.catalogue import build
from rectory.models.protocol import SupportsKeptPart
from rectory.params import Params
from rectory.params.candidates import CandidateParams
from rectory.workspace import Workspace
from tasks import main


@dataclass(frozen=True)
class Refitted:
    """What was fitted, and the moment up to which it knows the log."""

    candidate: str
    kind: str
    trained_until: str


def run(params: Params, workspace: Workspace, recipe: str) -> Refitted:
    """Fit recipes/<recipe>.json on the step history's training set. Same bytes in, same bytes out."""
    told = read_json(workspace.recipe(recipe))
    candidate: CandidateParams = TypeAdapter(CandidateParams).validate_python(told["params"])
    train = TrainingSet.load(workspace.history)
    model, kept = build(candidate, told["seed"], told["validation_users"]), workspace.kept(recipe)
    if "kept" in told and isinstance(model, SupportsKeptPart):
        model.refit_keeping(train, told["chosen"], kept)
    else:
        model.refit(train, told["chosen"])
    titles = read_titles(workspace.tables)
    bundle = Bundle.of(told["candidate"], candidate.kind, model, train, titles=titles, dataset=params.dataset)
    bundle.save(workspace.refitted(recipe))
    return Refitted(bundle.candidate, bundle.kind, bundle.trained_until)


if __name__ == "__main__":
    main("refit", run, per=("recipe", "a file in the workspace's recipes/, without .json"))

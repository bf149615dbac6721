"""Step recipe: which recipe is fitted again on everything up to as_of, so that the champion knows the newest days."""

from __future__ import annotations

from dataclasses import dataclass

from rectory.params import Params
from rectory.registry.refitting import plan
from rectory.registry.store import ModelStore
from rectory.workspace import Workspace
from tasks import main


@dataclass(frozen=True)
class Planned:
    """recipe: what is to be fitted; None: nothing. version: a refit that is there already."""

    recipe: str | None
    version: str | None
    text: str


def run(params: Params, workspace: Workspace) -> Planned:
    """The champion's recipe with what its fit chose, if it is still the one that the gate has measured."""
    planned = plan(params, workspace, ModelStore(workspace))
    planned.write(workspace)
    if planned.recipe:
        text = f"version {planned.refit_of} is fitted again"
    elif planned.version:
        text = f"version {planned.refit_of} was fitted again before: version {planned.version}"
    else:
        text = f"nothing is fitted again: {planned.why}"
    return Planned(planned.recipe, planned.version, text)


if __name__ == "__main__":
    main("recipe", run)

"""Step renew: register the refit and let it serve for the version whose recipe it is. The alias moves last."""

from __future__ import annotations

from dataclasses import dataclass

from rectory.params import Params
from rectory.registry.refitting import Renewal, conclude
from rectory.registry.store import ModelStore
from rectory.workspace import Workspace
from tasks import main


@dataclass(frozen=True)
class Renewed:
    """served: `version` serves now; else `text` says why it does not."""

    served: bool
    version: str | None
    refit_of: str | None
    text: str


def run(params: Params, workspace: Workspace) -> Renewed:
    """Conclude what the step recipe has planned; a plan without a recipe ends as it began."""
    renewal = Renewal.read(workspace)
    if renewal.recipe or renewal.version:
        renewal = conclude(params, workspace, ModelStore(workspace), renewal)
        renewal.write(workspace)
    return Renewed(renewal.served, renewal.version, renewal.refit_of, renewal.why)


if __name__ == "__main__":
    main("renew", run)

"""Step reuse: bring back what was trained before. Equal lineage key, equal model: it is fetched and not made again."""

from __future__ import annotations

from dataclasses import dataclass

from rectory.data.card import load_card
from rectory.files import read_json
from rectory.params import Params
from rectory.registry.lineage import CodeGraph, candidate_lineage
from rectory.registry.store import ModelStore
from rectory.workspace import Workspace
from tasks import main


@dataclass(frozen=True)
class Reused:
    """Candidates that need no training."""

    candidates: tuple[str, ...]

    @property
    def text(self) -> str:
        return f"trained before: {', '.join(self.candidates)}" if self.candidates else "nothing was trained before"


def run(params: Params, workspace: Workspace) -> Reused:
    """Put every registered model with today's lineage key into the run, as if it had been trained there."""
    card, data = load_card(workspace.card(params.dataset)), str(read_json(workspace.snapshot)["hash"])
    store, graph = ModelStore(workspace), CodeGraph()
    found = []
    for candidate in params.train.candidates:
        key = candidate_lineage(params, card, data, workspace.lock_file, candidate, graph=graph).key
        if version := store.find(key):
            store.restore(version, workspace)
            found.append(candidate)
    return Reused(tuple(found))


if __name__ == "__main__":
    main("reuse", run)

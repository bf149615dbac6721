"""Step reuse: bring back what was trained before. Equal lineage key, equal model: it is fetched and not made again.

What is to be trained is given the registered version that it may continue from.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from rectory.data.card import load_card
from rectory.features.training_set import TrainingSet
from rectory.files import read_json
from rectory.models.warm_start import Plan, lay_out
from rectory.params import Params
from rectory.registry.lineage import CodeGraph, candidate_lineage
from rectory.registry.store import ModelStore
from rectory.registry.warm_start import Chooser, can_continue, parent_of
from rectory.workspace import Workspace
from tasks import main


@dataclass(frozen=True)
class Reused:
    """candidates: need no training. continued: candidate -> version that its training continues from."""

    candidates: tuple[str, ...]
    continued: dict[str, str]

    @property
    def text(self) -> str:
        told = f"trained before: {', '.join(self.candidates)}" if self.candidates else "nothing was trained before"
        continued = [f"{name} from version {version}" for name, version in self.continued.items()]
        return f"{told}; to be continued: {', '.join(continued)}" if continued else told


def run(params: Params, workspace: Workspace) -> Reused:
    """Put every registered model with today's lineage key into the run, as if it had been trained there.

    Where warm starts are allowed, one from today's data, params, code and lock counts whatever it continued from.
    """
    card, data = load_card(workspace.card(params.dataset)), str(read_json(workspace.snapshot)["hash"])
    store, graph = ModelStore(workspace), CodeGraph()
    chooser = Chooser(params, workspace, store, cache(lambda: TrainingSet.load(workspace.features)))
    found, continued = [], {}
    for candidate in params.train.candidates:
        lineage = candidate_lineage(params, card, data, workspace.lock_file, candidate, graph=graph)
        version, warm = store.find(lineage.key), can_continue(params, candidate)
        if version is None and warm:
            version = store.find_continued(lineage.key)
        # What a disk has damaged is trained again, not brought back.
        if version is not None and store.fault(version) is None:
            store.restore(version, workspace)
            lay_out(workspace.parent(candidate), Plan(parent_of(version)))
            found.append(candidate)
        elif warm and (parent := chooser.lay_out(candidate, lineage).parent) is not None:
            continued[candidate] = parent.version
        elif not warm:
            lay_out(workspace.parent(candidate), Plan())
    return Reused(tuple(found), continued)


if __name__ == "__main__":
    main("reuse", run)

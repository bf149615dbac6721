"""Step register: keep each candidate in the model store, with its lineage; one that is there already is reused."""

from __future__ import annotations

from dataclasses import dataclass

from rectory.data.card import load_card
from rectory.files import read_json, write_json
from rectory.models.warm_start import read_plan
from rectory.params import Params
from rectory.registry.environment import checkout
from rectory.registry.lineage import CodeGraph, candidate_lineage, own_tests, run_lineage
from rectory.registry.record import RunContext, gather
from rectory.registry.store import ModelStore
from rectory.workspace import Workspace
from tasks import main


@dataclass(frozen=True)
class RegisteredRun:
    """Candidate -> version; how many of them were new."""

    versions: dict[str, str]
    new: int
    lineage_key: str

    @property
    def text(self) -> str:
        return f"{self.new} new of {len(self.versions)} versions"


def run(params: Params, workspace: Workspace) -> RegisteredRun:
    """Register every candidate of `train.candidates`; running it again changes nothing."""
    card, snapshot = load_card(workspace.card(params.dataset)), read_json(workspace.snapshot)
    graph, data, lock = CodeGraph(), str(snapshot["hash"]), workspace.lock_file
    tests = own_tests(params, workspace.project)
    parents = {name: read_plan(workspace.parent(name)).parent for name in params.train.candidates}
    whole = run_lineage(params, card, data, lock, graph=graph, tests=tests, parents=parents)
    facts = read_json(workspace.run_facts) if workspace.run_facts.is_file() else {}
    run_id = str(facts.get("run_id") or workspace.root.resolve().name)
    context = RunContext(params, card, workspace, snapshot, whole, checkout(), run_id)
    records = [
        gather(context, name, candidate_lineage(params, card, data, lock, name, graph=graph, parent=parent))
        for name, parent in parents.items()
    ]
    store = ModelStore(workspace)
    experiment, parent = store.begin(context)
    entries = {}
    for record in records:
        done = store.register(record, experiment, parent)
        entries[record.candidate] = {
            "version": done.version.version,
            "run_id": done.version.run_id,
            "lineage_key": record.lineage.key,
            "reused": done.reused,
            "chain": done.version.chain,
        }
    store.end(parent)
    write_json(
        workspace.registered,
        {"candidates": entries, "lineage_key": whole.key, "experiment": experiment, "parent_run_id": parent},
    )
    versions = {name: str(entry["version"]) for name, entry in entries.items()}
    return RegisteredRun(versions, sum(not entry["reused"] for entry in entries.values()), whole.key)


if __name__ == "__main__":
    main("register", run)

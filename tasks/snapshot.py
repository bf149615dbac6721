"""Step snapshot: put the validated tables under DVC. It acts on the world outside, so it is no DVC stage."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from rectory.data.snapshots import add_snapshot
from rectory.files import read_json, write_json
from rectory.params import Params
from rectory.workspace import Workspace
from tasks import main


@dataclass(frozen=True)
class SnapshotResult:
    """hash: content of the tables; new: it was not known; problem: why it could not be pushed."""

    hash: str
    new: bool
    pushed: bool
    remote: str | None
    problem: str | None


def run(params: Params, workspace: Workspace) -> SnapshotResult:  # noqa: ARG001  every step is called alike
    """Write snapshot.json; a remote that cannot be reached is told, not fatal."""
    report = read_json(workspace.validation)
    snapshot = add_snapshot(workspace.tables, workspace, report["dataset"], {"summary": report["summary"]})
    facts = asdict(snapshot)
    del facts["summary"]
    write_json(workspace.snapshot, facts)
    return SnapshotResult(snapshot.hash, snapshot.new, snapshot.pushed, snapshot.remote, snapshot.problem)


if __name__ == "__main__":
    main("snapshot", run)

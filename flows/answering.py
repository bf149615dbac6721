"""A person's answer to a challenger that waits, from the command line: with or without a Prefect server."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from uuid import UUID

from flows import events
from flows.local_server import known_server
from flows.trained import Trained, waiting_runs
from rectory.errors import UsageError
from rectory.registry.approval import Answer
from rectory.registry.store import ModelStore
from rectory.workspace import Workspace
from tasks import promote, report
from tasks.promote import Promoted


def answer(project: Path, dataset: str, version: str | None, *, approve: bool, by: str, comment: str) -> Promoted:
    """Settle it at once; a flow run that is suspended for it goes on and finds it settled.

    Raises:
        UsageError: nobody waits, or not this version.
    """
    found = _waiting(project, dataset, version)
    Answer(approve, by, comment).write(found.workspace)
    params = found.params()
    decided = promote.run(params, found.workspace)
    report.run(params, found.workspace)
    with known_server(found.workspace) as server:
        if server is not None:
            from flows.sequences import tell_decision

            tell_decision(dataset, found.workspace, decided, partial(events.emit_by_hand, found.workspace))
            _resume(found.asked, approve=approve, by=by, comment=comment)
    return decided


def _waiting(project: Path, dataset: str, version: str | None) -> Trained:
    waiting = waiting_runs(project, dataset)
    chosen = [one for one in waiting if version is None or one.waiting == version]
    if chosen:
        return chosen[0]
    if version is not None:
        ModelStore(Workspace(project, project)).version(version)  # A number that does not exist is told as such.
    known = ", ".join(f"version {one.waiting} (run {one.run_id})" for one in waiting) or "nobody"
    raise UsageError(
        f"{f'version {version}' if version else 'no challenger'} does not wait for approval; who waits: {known}."
    )


def _resume(flow_run: str | None, *, approve: bool, by: str, comment: str) -> None:
    """Let the suspended flow run end; one that is gone or resumed already is no fault."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    if flow_run is None:
        return
    with get_client(sync_client=True) as client:
        try:
            state = client.read_flow_run(UUID(flow_run)).state
        except ObjectNotFound:
            return
        if state is not None and state.is_paused():
            given = {"answer": "approve" if approve else "reject", "by": by, "comment": comment}
            client.resume_flow_run(UUID(flow_run), run_input=given)

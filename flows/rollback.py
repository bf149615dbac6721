"""Flow rollback: the previous champion, or a named version, serves again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from prefect import flow

from flows import artifacts, events, sequences
from flows.naming import seat
from flows.options import RollbackOptions
from rectory.registry.store import ModelStore, Version
from rectory.workspace import Workspace


@dataclass(frozen=True)
class RollbackResult:
    """Who serves now and whom it replaced."""

    champion: str
    version: str
    replaced: str | None


@flow(name="rollback", flow_run_name=seat, timeout_seconds=timedelta(minutes=10).total_seconds())
def rollback(options: RollbackOptions) -> RollbackResult:
    """Seat another version in one step.

    Args:
        options: whom, why and who says so.
    """
    asked = sequences.asked(None)
    result = roll_back(asked.project, options)
    artifacts.leave_note(
        f"**Rolled back to {result.champion} version {result.version}** by {options.by}: {options.reason}"
        + (f"\n\nVersion {result.replaced} is blocked." if options.block and result.replaced else "")
    )
    artifacts.leave_model_link(Workspace(project=asked.project))
    return result


def roll_back(
    project: Path,
    options: RollbackOptions,
) -> RollbackResult:
    """Move the seat and tell it.

    Raises:
        UsageError: nobody to go back to, or the previous champion is blocked.
    """
    store = ModelStore(Workspace(project, project))
    left: Version | None = store.champion()
    seated = store.rollback(options.to, options.reason, options.by, block=options.block)
    replaced = left.version if left else None
    payload = {"version": seated.version, "candidate": seated.candidate, "replaces": replaced, "run_id": ""}
    events.emit(events.ROLLED_BACK, seated.dataset, {**payload, "reason": options.reason, "by": options.by})
    return RollbackResult(seated.candidate, seated.version, replaced)

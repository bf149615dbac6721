"""Flow guard: a champion that does worse than the one before, by what users did, goes without being asked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from prefect import flow

from flows import artifacts, sequences
from flows.naming import data_and_moment
from flows.options import Data, RollbackOptions
from flows.rollback import RollbackResult, roll_back
from flows.steps import run_step
from rectory.files import read_json

NAME = "guard"


@dataclass(frozen=True)
class GuardResult:
    """worse: the evidence says so. decided_on: which (live, batch). rolled_back_to: version that serves instead."""

    run_id: str
    worse: bool
    decided_on: str | None
    rolled_back_to: str | None
    text: str


@flow(name=NAME, flow_run_name=data_and_moment, timeout_seconds=timedelta(hours=1).total_seconds())
@sequences.refusable
def guard(options: Data = Data()) -> GuardResult:
    """Compare champion and previous by what followed their live answers and their lists; roll back on evidence.

    Args:
        options: which data, as of when.
    """
    asked = sequences.asked(options.dataset, options.as_of, options.overrides)
    params, workspace = asked.params, asked.begin(NAME)
    sequences.fetch(params, workspace)
    sequences.take_in(params, workspace)
    run_step("guard", params, workspace)
    found = read_json(workspace.guarded)
    artifacts.leave_guard(found)
    seated = act_on(found, asked.project)
    version = seated.version if seated else None
    return GuardResult(workspace.root.name, found["worse"], found["decided_on"], version, found["text"])


def act_on(found: dict[str, Any], project: Path) -> RollbackResult | None:
    """Roll back if what the step found says so; the reason, with its evidence, goes into the audit log."""
    if not found["worse"]:
        return None
    return roll_back(project, RollbackOptions(reason=found["text"][:2000], by=NAME, to=found["previous"]))

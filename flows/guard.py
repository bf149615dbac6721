"""Flow guard: a champion that does worse than the one before, by what then happened, goes without being asked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from prefect import flow

from flows import artifacts, sequences
from flows.naming import data_and_moment
from flows.options import Data, RollbackOptions
from flows.rollback import roll_back
from flows.steps import run_step
from rectory.files import read_json

NAME = "guard"


@dataclass(frozen=True)
class GuardResult:
    """worse: the evidence says so. rolled_back_to: version that serves instead."""

    run_id: str
    worse: bool
    rolled_back_to: str | None
    text: str


@flow(name=NAME, flow_run_name=data_and_moment, timeout_seconds=timedelta(hours=1).total_seconds())
@sequences.refusable
def guard(options: Data = Data()) -> GuardResult:
    """Compare the lists of champion and previous with what users took since; roll back on evidence.

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
    if not found["worse"]:
        return GuardResult(workspace.root.name, False, None, found["text"])
    back = RollbackOptions(reason=found["text"][:2000], by=NAME, to=found["previous"])
    seated = roll_back(asked.project, back)
    return GuardResult(workspace.root.name, True, seated.version, found["text"])

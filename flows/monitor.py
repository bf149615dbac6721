"""Flow monitor: has the newest data moved away from what the champion was trained on?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from prefect import flow

from flows import artifacts, events, sequences
from flows.naming import data_and_moment
from flows.options import Data
from flows.steps import run_step
from rectory.files import read_json


@dataclass(frozen=True)
class MonitorResult:
    """status: ok, warn or drift. moved: columns that have drifted."""

    run_id: str
    status: str
    moved: list[str]


@flow(name="monitor", flow_run_name=data_and_moment, timeout_seconds=timedelta(hours=2).total_seconds())
@sequences.refusable
def monitor(options: Data = Data()) -> MonitorResult:
    """Fetch and validate the newest data and compare them with what the champion knows; show the live metrics.

    Args:
        options: which data, as of when.
    """
    asked = sequences.asked(options.dataset, options.as_of, options.overrides)
    params, workspace = asked.params, asked.begin("monitor")
    sequences.fetch(params, workspace)
    sequences.take_in(params, workspace)
    for step in ("split", "serving", "drift", "observe"):
        run_step(step, params, workspace)
    found = read_json(workspace.drift / "drift.json")
    artifacts.leave_drift(found)
    if workspace.observed.is_file():
        artifacts.leave_live(read_json(workspace.observed))
    moved = [str(column["column"]) for column in found["columns"] if column["status"] == "drift"]
    if found["status"] == "drift" and found["champion"] is not None:
        payload = {"run_id": workspace.root.name, "columns": moved, "reason": "; ".join(found["reasons"][:5])}
        events.emit(events.DRIFT, params.dataset, {**payload, "champion": found["champion"]})
    return MonitorResult(workspace.root.name, found["status"], moved)

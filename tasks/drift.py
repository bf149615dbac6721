"""Step drift: has the log, or what is recommended, moved away from what the champion was trained on?"""

from __future__ import annotations

from dataclasses import dataclass

from rectory.monitoring.check import check_drift
from rectory.params import Params
from rectory.workspace import Workspace
from tasks import main


@dataclass(frozen=True)
class Drift:
    """status: ok, warn or drift; moved: columns that are not ok; calibrated: thresholds were learned from this log."""

    status: str
    moved: tuple[str, ...]
    calibrated: bool


def run(params: Params, workspace: Workspace) -> Drift:
    """Write drift/drift.json and drift/drift.html, append to the history."""
    result = check_drift(params, workspace)
    moved = tuple(column["column"] for column in result["columns"] if column["status"] != "ok")
    return Drift(result["status"], moved, result["calibrated"])


if __name__ == "__main__":
    main("drift", run)

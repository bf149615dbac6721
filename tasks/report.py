"""Report: the run's facts as a page and as summary.json, published to reports/<run id> and reports/latest."""

from __future__ import annotations

from dataclasses import dataclass

from rectory.params import Params
from rectory.reporting.build import write_report
from rectory.reporting.publish import publish
from rectory.workspace import Workspace
from tasks import main


@dataclass(frozen=True)
class Reported:
    """Where the page is that people open, and whether a candidate was promoted."""

    page: str
    run_id: str
    promoted: bool


def run(params: Params, workspace: Workspace) -> Reported:
    """Write the report folder of this run and publish it."""
    summary = write_report(params, workspace)
    page = publish(workspace, summary.run_id)
    return Reported(str(page), summary.run_id, summary.decision.promoted)


if __name__ == "__main__":
    main("report", run)

"""What a run leaves on its Prefect page: the candidates, the decision, the drift, and where the report lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from rectory.files import read_json
from rectory.workspace import Workspace

if TYPE_CHECKING:
    from flows.finished import Finished


def leave(workspace: Workspace) -> None:
    """Write the run's artifacts; keys are the same for every run, so the UI shows their history."""
    summary = read_json(workspace.report / "summary.json")
    create_table_artifact(key="candidates", table=_rows(summary), description="Candidates on the test window")
    create_markdown_artifact(key="decision", markdown=_decision(summary), description="The gate's decision")
    create_markdown_artifact(key="drift", markdown=_drift(summary), description="Drift since the champion was trained")
    page = (workspace.reports / "latest" / "index.html").resolve()
    create_markdown_artifact(key="report", markdown=f"`{page}`\n\ndata `{summary['snapshot']['hash']}`")


def leave_reused(earlier: Finished) -> None:
    """Say which run had done the work."""
    create_markdown_artifact(
        key="decision", markdown=f"Nothing changed since run `{earlier.run_id}`: its results were reused, no training."
    )


def _rows(summary: dict[str, Any]) -> list[dict[str, Any]]:
    def cell(metric: dict[str, float]) -> str:
        return f"{metric['value']:.4f} [{metric['low']:.4f}, {metric['high']:.4f}]"

    return [
        {
            "candidate": name,
            "version": facts["version"],
            "baseline": facts["baseline"],
            **{metric: cell(value) for metric, value in facts["metrics"].items()},
        }
        for name, facts in summary["candidates"].items()
    ]


def _decision(summary: dict[str, Any]) -> str:
    decision = summary["decision"]
    champion = decision["champion"] or {"name": "nobody", "version": "-"}
    head = f"**{'Promoted' if decision['promoted'] else 'Kept'}: {champion['name']}** (version {champion['version']})"
    reasons = [reason["text"] if isinstance(reason, dict) else str(reason) for reason in decision["reasons"]]
    return "\n".join([head, "", *(f"- {reason}" for reason in reasons)])


def _drift(summary: dict[str, Any]) -> str:
    drift = summary["drift"]
    rows = [
        f"| {column['column']} | {_number(column['distance'])} | {_number(column['threshold'])} | {column['status']} |"
        for column in drift["columns"]
    ]
    return "\n".join(
        [f"**{drift['status']}**", "", "| column | distance | threshold | status |", "|---|---|---|---|", *rows]
    )


def _number(value: float | None) -> str:
    """A column that could not be compared has no distance."""
    return "-" if value is None else f"{value:.4f}"

"""What flows leave on their Prefect pages: tables, the decision, drift, progress, and where report and models lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from rectory.files import read_json
from rectory.params import Params
from rectory.registry.store import MODEL_NAME, ModelStore
from rectory.workspace import Workspace

if TYPE_CHECKING:
    from flows.finished import Finished

Facts = dict[str, Any]


def leave(workspace: Workspace) -> None:
    """Write a whole run's artifacts; keys are the same for every run, so the UI shows their history."""
    summary = read_json(workspace.report / "summary.json")
    leave_candidates(summary)
    leave_decision(workspace)
    if workspace.drift.is_dir():
        leave_drift(read_json(workspace.drift / "drift.json"))
    leave_links(workspace)


def leave_candidates(summary: Facts) -> None:
    """Table of the candidates on the test window."""
    create_table_artifact(key="candidates", table=_rows(summary), description="Candidates on the test window")


def leave_decision(workspace: Workspace) -> None:
    """The decision in words, and the gate's rules as a table."""
    decision = read_json(workspace.decision)
    create_markdown_artifact(key="decision", markdown=_decision(decision), description="The gate's decision")
    tried = [(decision["challenger"]["name"], decision["reasons"])]
    tried += [(one["challenger"], one["reasons"]) for one in decision.get("attempts", [])]
    table = [
        {"challenger": name, "rule": one["rule"], "passed": "yes" if one["passed"] else "no", "reason": one["text"]}
        for name, reasons in tried
        for one in reasons
    ]
    create_table_artifact(key="gate", table=table, description="Each rule of the gate")


def leave_drift(drift: Facts) -> None:
    """The drift check in words and numbers."""
    create_markdown_artifact(key="drift", markdown=_drift(drift), description="Drift since the champion was trained")


def leave_live(found: Facts) -> None:
    """Metrics of the live service by version, and how far what is shown has moved."""
    create_markdown_artifact(key="live", markdown=live_text(found), description="The live service, window by window")


def live_text(found: Facts) -> str:
    """A table, newest window first."""
    rows = [
        f"| {one['window']} | {one['version']} | {one['answers']} | {one['users']} | {_rate(one['ctr'])} "
        f"| {_rate(one['conversion'])} | {'-' if one['coverage'] is None else format(one['coverage'], '.1%')} |"
        for one in found["windows"]
    ]
    moved, head = found["exposure"], f"Windows of {found['days']:g} days."
    if moved["distance"] is not None:
        head += (
            f" What is shown has moved by {moved['distance']:.3f} from the window before (Jensen-Shannon; by chance "
            f"alone about {moved['by_chance']:.3f})."
        )
    columns = "| window | version | answers | users | CTR | conversion | coverage |"
    return "\n".join([head, "", columns, "|---|---|---|---|---|---|---|", *rows])


def leave_links(workspace: Workspace) -> None:
    """Where the report and the champion's version lie."""
    page = (workspace.reports / "latest" / "index.html").resolve()
    snapshot = read_json(workspace.snapshot)["hash"] if workspace.snapshot.is_file() else "unknown"
    create_markdown_artifact(key="report", markdown=f"`{page}`\n\ndata `{snapshot}`")
    create_link_artifact(key="report-page", link=page.as_uri(), link_text="Report", description="Opens offline")
    leave_model_link(workspace)


def leave_model_link(workspace: Workspace) -> None:
    """The champion's version in MLflow: a link where a server is configured, else how to look at it."""
    store = ModelStore(workspace)
    champion, uri = store.champion(), store.connection.uri
    if champion is None:
        return
    if uri.startswith(("http://", "https://")):
        link = f"{uri.rstrip('/')}/#/models/{MODEL_NAME}/versions/{champion.version}"
        create_link_artifact(key="mlflow", link=link, link_text=f"{champion.candidate} version {champion.version}")
        return
    text = (
        f"Champion: {champion.candidate}, version {champion.version}, run `{champion.run_id}`.\n\n"
        f"`MLFLOW_TRACKING_URI={uri} mlflow ui`"
    )
    create_markdown_artifact(key="mlflow", markdown=text)


def leave_data(workspace: Workspace) -> None:
    """Rows in, kept, quarantined and filtered, and the checks."""
    found = read_json(workspace.validation)
    counts = ("rows_in", "rows_kept", "rows_quarantined", "rows_filtered")
    table = [{"table": name, **{key: facts[key] for key in counts}} for name, facts in found["tables"].items()]
    create_table_artifact(key="data", table=table, description=f"Rows of {found['dataset']} as of {found['as_of']}")
    checks = "\n".join(f"- {one['status']}: **{one['name']}** {one['text']}" for one in found["checks"])
    create_markdown_artifact(key="checks", markdown=checks or "No checks.", description="Checks on the whole table")


def leave_registered(params: Params, workspace: Workspace) -> None:
    """Table of what was trained, before anybody has judged it."""
    metric, rows = params.gate.metric, []
    for name, entry in read_json(workspace.registered)["candidates"].items():
        found = read_json(workspace.metrics(name))["metrics"].get(metric)
        shown = _interval(found) if found else "-"
        reused = "yes" if entry["reused"] else "no"
        rows.append({"candidate": name, "version": entry["version"], metric: shown, "trained before": reused})
    create_table_artifact(key="candidates", table=rows, description="Candidates on the test window, not judged yet")


def leave_scores(workspace: Workspace) -> None:
    """Who was scored by whom."""
    done = read_json(workspace.scores_summary)
    table = [{key: done[key] for key in ("candidate", "model_version", "users", "k", "rows", "as_of", "seconds")}]
    create_table_artifact(key="scores", table=table, description="Lists for every user")
    create_markdown_artifact(key="scores-file", markdown=f"`{workspace.scores.resolve()}`")


def leave_dates(done: dict[str, str], skipped: dict[str, str]) -> None:
    """Which dates were run and which were there."""
    rows = [{"date": day, "run": run, "done": "now"} for day, run in done.items()]
    rows += [{"date": day, "run": run, "done": "before"} for day, run in skipped.items()]
    table = sorted(rows, key=lambda row: row["date"])
    create_table_artifact(key="dates", table=table, description="One run as of the end of each date")


def leave_guard(found: Facts) -> None:
    """What users did with what champion and previous recommended, and on which evidence that was decided."""
    word = f"**Rolled back on {found['decided_on']} evidence.** " if found["worse"] else ""
    create_markdown_artifact(
        key="guard", markdown=f"{word}{found['text']}", description="Champion against the one before"
    )
    if found["evidence"]:
        table = [
            {
                "source": one["source"],
                "metric": one["metric"],
                "users": one["users"],
                "champion": f"{one['champion']:.4f}",
                "previous": f"{one['previous']:.4f}",
                "difference": _interval(one["difference"]),
                "over all looks": _interval(one["always"]),
            }
            for one in found["evidence"]
        ]
        create_table_artifact(key="guard-evidence", table=table, description="By user")


def leave_reused(earlier: Finished) -> None:
    """Say which run had done the work."""
    leave_note(f"Nothing changed since run `{earlier.run_id}`: its results were reused, no training.")


def leave_note(text: str) -> None:
    """A run that had nothing to decide says why."""
    create_markdown_artifact(key="decision", markdown=text)


@contextmanager
def progress(key: str, description: str) -> Iterator[Callable[[float], None]]:
    """A bar on the flow run's page; give the share that is done, in [0, 1]."""
    bar: Any = create_progress_artifact(progress=0.0, key=key, description=description)

    def advance(share: float) -> None:
        update_progress_artifact(artifact_id=bar, progress=round(100 * share, 1))

    yield advance


def _rows(summary: Facts) -> list[Facts]:
    return [
        {
            "candidate": name,
            "version": facts["version"],
            "baseline": facts["baseline"],
            **{metric: _interval(value) for metric, value in facts["metrics"].items()},
        }
        for name, facts in summary["candidates"].items()
    ]


def _interval(found: Facts) -> str:
    return f"{found['value']:.4f} [{found['low']:.4f}, {found['high']:.4f}]"


def _rate(found: Facts | None) -> str:
    return "-" if found is None else f"{found['value']:.2%} [{found['low']:.2%}, {found['high']:.2%}]"


def _decision(decision: Facts) -> str:
    champion = decision["champion"] or {"name": "nobody", "version": "-"}
    word = "Promoted" if decision["promoted"] else "Waits for approval, kept" if decision.get("waiting") else "Kept"
    head = f"**{word}: {champion['name']}** (version {champion['version']})"
    reasons = [reason["text"] if isinstance(reason, dict) else str(reason) for reason in decision["reasons"]]
    return "\n".join([head, "", *(f"- {reason}" for reason in reasons)])


def _drift(drift: Facts) -> str:
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

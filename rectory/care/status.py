"""The state of an installation at a glance, and the same for Prometheus. Nothing heavy is imported."""

from __future__ import annotations

import json
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rectory.files import replacing
from rectory.installation import running
from rectory.registry import glance
from rectory.workspace import Workspace

_STUCK_SECONDS = 6 * 3600
_PREFECT_TIMEOUT_SECONDS = 0.5


def status(workspace: Workspace, decisions: int = 5) -> dict[str, Any]:
    """As `glance.status`, and {ages, next_runs, stuck, disk, installation}.

    ages: {champion_seconds, data_seconds, drift_check_seconds}; None where there is nothing to be old.
    next_runs: [{run, at}], None: no scheduler could be asked.
    stuck: [text], each with what to do. disk: {free_bytes, <folder>: bytes}.
    """
    found = glance.status(workspace, decisions)
    champion, drift = found["champion"], found["drift"]
    installation = running(workspace)
    return {
        **found,
        "ages": {
            "champion_seconds": _age(champion["trained_at"]) if champion else None,
            "data_seconds": _age(found["data"]["as_of"]) if found["data"] else None,
            "drift_check_seconds": _age(str(drift.get("checked_at", ""))) if drift else None,
        },
        "next_runs": next_runs(installation.prefect if installation else os.environ.get("PREFECT_API_URL")),
        "stuck": stuck(workspace),
        "disk": disk(workspace),
        "installation": {"up": installation is not None, "services": installation.services if installation else {}},
    }


def next_runs(api: str | None, limit: int = 5) -> list[dict[str, str]] | None:
    """The next scheduled flow runs that Prefect knows; None: there is no server, or it is silent for half a second."""
    if not api:
        return None
    asked = {
        "sort": "EXPECTED_START_TIME_ASC",
        "limit": limit,
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
    }
    headers = {"Content-Type": "application/json"}
    if login := os.environ.get("PREFECT_API_AUTH_STRING"):
        import base64

        headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    request = urllib.request.Request(  # noqa: S310  an API address, http or https
        f"{api.rstrip('/')}/flow_runs/filter", json.dumps(asked).encode(), headers
    )
    try:
        with urllib.request.urlopen(request, timeout=_PREFECT_TIMEOUT_SECONDS) as answer:  # noqa: S310
            return [{"run": one["name"], "at": one["expected_start_time"]} for one in json.load(answer)]
    except (OSError, ValueError, KeyError, urllib.error.URLError):
        return None


def stuck(workspace: Workspace) -> list[str]:
    """What seems to hang or was left by a process that died."""
    found = []
    now = time.time()
    for folder in sorted(workspace.runs.glob("2*")) if workspace.runs.is_dir() else []:
        facts = _facts(folder / "run.json")
        if facts is None or facts.get("reused") or (workspace.reports / folder.name / "summary.json").is_file():
            continue
        if facts.get("kind") != "run":
            continue
        last = max((path.stat().st_mtime for path in (folder, *folder.glob("*/")) if path.exists()), default=now)
        if now - last > _STUCK_SECONDS:
            found.append(
                f"run {folder.name} began {facts.get('started_at', '?')} and never ended; `rectory gc` removes it."
            )
    found += [
        f"{scratch} was left by a process that died; `rectory gc` removes it." for scratch in leftovers(workspace)
    ]
    if workspace.installation.is_file() and running(workspace) is None:
        found.append(f"{workspace.installation} speaks of an installation that is gone; `rectory up` starts it anew.")
    return found


def leftovers(workspace: Workspace) -> Iterator[Path]:
    """Scratch files and folders of dead processes, in the places where things are made."""
    from rectory.files import scratch_owner_is_gone

    for place in (workspace.state, workspace.reports, *_recent_runs(workspace)):
        if place.is_dir():
            for depth in ("*", "*/*", "*/*/*"):
                yield from (path for path in sorted(place.glob(f"{depth}")) if scratch_owner_is_gone(path))


def disk(workspace: Workspace) -> dict[str, int]:
    """Bytes free on the project's disk, and used by each of its big folders."""
    places = {
        "models": workspace.model_artifacts,
        "data_versions": workspace.data_versions,
        "data_cache": workspace.project / ".dvc" / "cache",
        "data_remote": workspace.state / "remote",
        "ingest_parts": workspace.state / "ingest",
        "downloads": workspace.downloads,
        "runs": workspace.runs,
        "reports": workspace.reports,
        "model_cache": workspace.state / "bundles",
    }
    used = {name: size(path) for name, path in places.items() if path.exists()}
    return {"free_bytes": shutil.disk_usage(workspace.project).free, **used}


def size(path: Path) -> int:
    """Bytes of a file or of all files below a folder; what vanishes meanwhile counts nothing."""
    if not path.is_dir():
        return path.stat().st_size if path.exists() else 0
    total, folders = 0, [str(path)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
        except FileNotFoundError:
            continue
    return total


def metrics_text(facts: dict[str, Any]) -> str:
    """The status in Prometheus' text format."""
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    registry = CollectorRegistry()

    def gauge(name: str, text: str, value: float | None, /, **labels: str) -> None:
        if value is None:
            return
        known = made.get(name)
        if known is None:
            known = made[name] = Gauge(f"rectory_{name}", text, list(labels), registry=registry)
        (known.labels(**labels) if labels else known).set(value)

    made: dict[str, Any] = {}
    champion, ages = facts["champion"], facts["ages"]
    gauge("champion_seated", "1 when a champion serves.", 1.0 if champion else 0.0)
    if champion:
        told = {"name": champion["name"], "version": champion["version"], "dataset": champion["dataset"]}
        gauge("champion_info", "Who serves.", 1.0, **told)
        for name, metric in champion["metrics"].items():
            gauge("champion_metric", "Of the champion on its test window.", metric["value"], metric=name)
    gauge("champion_age_seconds", "Since the champion was trained.", ages["champion_seconds"])
    gauge("data_age_seconds", "Since the newest row that the champion was made from.", ages["data_seconds"])
    gauge("drift_check_age_seconds", "Since drift was last looked for.", ages["drift_check_seconds"])
    if facts["drift"]:
        status_code = {"ok": 0.0, "warn": 1.0, "drift": 2.0}.get(facts["drift"].get("status", ""))
        gauge("drift_status", "0 ok, 1 warn, 2 drift.", status_code)
    gauge("stuck", "Things that hang or were left by dead processes.", float(len(facts["stuck"])))
    for name, used in facts["disk"].items():
        if name == "free_bytes":
            gauge("disk_free_bytes", "Free on the project's disk.", float(used))
        else:
            gauge("disk_used_bytes", "Used by a folder.", float(used), folder=name)
    gauge("status_time_seconds", "When this was written, since 1970.", time.time())
    return bytes(generate_latest(registry)).decode()


def write_metrics(workspace: Workspace, path: Path | None = None) -> Path:
    """Write the textfile that node_exporter's textfile collector reads, in one step."""
    target = path or Path(os.environ.get("RECTORY_METRICS_FILE") or workspace.metrics_file)
    text = metrics_text(status(workspace))
    with replacing(target) as scratch:
        scratch.write_text(text, encoding="utf-8")
    return target


def _age(moment: str) -> float | None:
    try:
        then = datetime.fromisoformat(moment)
    except ValueError:
        return None
    then = then.replace(tzinfo=UTC) if then.tzinfo is None else then
    return round((datetime.now(UTC) - then).total_seconds(), 1)


def _facts(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found


def _recent_runs(workspace: Workspace) -> list[Path]:
    return sorted(workspace.runs.glob("2*"))[-20:] if workspace.runs.is_dir() else []

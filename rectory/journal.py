"""Structured logs: one JSON line for what a step began, ended or failed with, in `.rectory/logs/rectory.jsonl`.

Each line has {at, level, event, run_id, kind, dataset, step, seconds, text, data_hash, model_version}; what is not
known yet is null. With RECTORY_LOG=json the same lines go to stderr, for a collector that reads a container's output.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from rectory.errors import DataError
from rectory.files import read_json
from rectory.workspace import Workspace

Event = Literal["run started", "started", "done", "failed"]
_MOST_BYTES = 20_000_000
_MOST_TEXT = 2000


@dataclass
class _Bound:
    """The run that this process works on; a process works on one at a time."""

    workspace: Workspace | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


_now = _Bound()


def json_wanted() -> bool:
    """The terminal is to have JSON lines and nothing else."""
    return os.environ.get("RECTORY_LOG", "").lower() == "json"


def bind(workspace: Workspace, **facts: Any) -> None:
    """From now on lines are about this run. facts: run_id, kind, dataset."""
    _now.workspace, _now.facts = workspace, facts
    write("run started")


def write(
    event: Event, *, step: str | None = None, seconds: float | None = None, text: str | None = None
) -> dict[str, Any] | None:
    """Add a line; None: no run is bound. A disk that is full does not end the run that is logged."""
    workspace = _now.workspace
    if workspace is None:
        return None
    line = {
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "level": "error" if event == "failed" else "info",
        "event": event,
        **{name: _now.facts.get(name) for name in ("run_id", "kind", "dataset")},
        "step": step,
        "seconds": None if seconds is None else round(seconds, 3),
        "text": None if text is None else text[:_MOST_TEXT],
        "data_hash": _known(workspace.snapshot, "hash"),
        "model_version": _champion(workspace),
    }
    data = json.dumps(line, ensure_ascii=False) + "\n"
    if json_wanted():
        sys.stderr.write(data)
        sys.stderr.flush()
    try:
        with _now.lock:
            _append(workspace, data)
    except OSError as error:
        logging.getLogger(__name__).warning("could not write the journal: %s", error)
    return line


def _append(workspace: Workspace, data: str) -> None:
    path = workspace.journal
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        if path.stat().st_size > _MOST_BYTES:
            path.replace(path.with_suffix(".1.jsonl"))
    # One write of one line in append mode: lines of several processes do not mix.
    with path.open("ab", buffering=0) as handle:
        handle.write(data.encode())


def _champion(workspace: Workspace) -> str | None:
    champion = _known(workspace.decision, "champion")
    return str(champion["version"]) if isinstance(champion, dict) else None


def _known(path: Any, key: str) -> Any:
    try:
        return read_json(path).get(key)
    except (DataError, OSError):
        return None

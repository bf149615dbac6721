"""The audit log: one JSON line for each decision, appended and never edited."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import Any

from rectory.files import exclusive
from rectory.workspace import Workspace


def append(workspace: Workspace, event: str, facts: dict[str, Any]) -> None:
    """Add one line {at, event, ...facts}; it is on the disk when this returns."""
    line = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **facts}
    data = (json.dumps(line, sort_keys=True, ensure_ascii=False, default=str) + "\n").encode()
    with exclusive(workspace.lock("audit"), "writing to the audit log"):
        workspace.audit_log.parent.mkdir(parents=True, exist_ok=True)
        with workspace.audit_log.open("ab+") as handle:
            # A power cut may have left half a line: begin on a fresh one.
            if handle.tell() and not _ends_with_newline(handle):
                data = b"\n" + data
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())


def read(workspace: Workspace, last: int | None = None) -> list[dict[str, Any]]:
    """The lines, oldest first (only the `last` ones); a line that a power cut has torn is passed over."""
    if not workspace.audit_log.is_file():
        return []
    lines = workspace.audit_log.read_text(encoding="utf-8", errors="replace").splitlines()
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found[-last:] if last else found


def _ends_with_newline(handle: Any) -> bool:
    handle.seek(-1, os.SEEK_END)
    return bool(handle.read(1) == b"\n")

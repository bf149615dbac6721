"""One JSON line for each drift check, appended under a lock and forced to disk."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from rectory.files import exclusive


def append_history(history: Path, lock: Path, line: dict[str, Any]) -> None:
    """Append one line. A half line that a killed process left is closed first, so that it spoils only itself."""
    with exclusive(lock, "drift history", timeout_seconds=60):
        history.parent.mkdir(parents=True, exist_ok=True)
        with history.open("ab+") as handle:
            if handle.tell():
                handle.seek(-1, os.SEEK_END)
                if handle.read(1) != b"\n":
                    handle.write(b"\n")
            handle.write(json.dumps(line, sort_keys=True, ensure_ascii=False).encode() + b"\n")
            handle.flush()
            os.fsync(handle.fileno())


def read_history(history: Path, dataset: str | None = None) -> list[dict[str, Any]]:
    """All checks, oldest first; half lines are left out."""
    if not history.is_file():
        return []
    lines: list[dict[str, Any]] = []
    for text in history.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if isinstance(line, dict) and (dataset is None or line.get("dataset") == dataset):
            lines.append(line)
    return lines

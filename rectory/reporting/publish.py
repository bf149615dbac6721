"""Where finished reports go: `reports/<run id>` for good and `reports/latest` for people."""

from __future__ import annotations

import shutil
from pathlib import Path

from rectory.files import replacing
from rectory.workspace import Workspace, safe_name

LATEST = "latest"


def publish(workspace: Workspace, run_id: str) -> Path:
    """Copy the run's report folder. `latest` is a real folder, no link: it opens, zips and uploads everywhere.

    Returns:
        The page that people open.
    """
    for name in (safe_name(run_id, "run id"), LATEST):
        with replacing(workspace.reports / name) as scratch:
            shutil.copytree(workspace.report, scratch)
    return workspace.reports / LATEST / "index.html"

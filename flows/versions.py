"""Build step of prefect.yaml: which code is deployed, and where it lies."""

from __future__ import annotations

from pathlib import Path


def current() -> dict[str, str]:
    """version: commit of the code. folder: where `prefect deploy` was started; flow runs start there too."""
    from flows.checkouts import code_version

    return {"version": code_version(), "folder": str(Path.cwd())}

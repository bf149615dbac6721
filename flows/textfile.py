"""The Prometheus textfile is written anew when a flow's process ends, however the flow ended."""

from __future__ import annotations

import atexit
import logging
from pathlib import Path

from rectory.care.status import write_metrics
from rectory.errors import RectoryError
from rectory.workspace import Workspace

_asked: set[Path] = set()


def leave_metrics_at_exit(project: Path) -> None:
    """Once for each project that this process works on."""
    place = project.resolve()
    if place not in _asked:
        _asked.add(place)
        atexit.register(leave_metrics, place)


def leave_metrics(project: Path) -> None:
    """Write the textfile; what goes wrong is told and ends nothing."""
    workspace = Workspace(project, project)
    if not workspace.state.is_dir():  # The project is gone, as those of tests are.
        return
    try:
        write_metrics(workspace)
    except (RectoryError, OSError) as error:
        logging.getLogger(__name__).warning("could not write the metrics: %s", error)

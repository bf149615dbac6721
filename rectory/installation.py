"""Where the running installation's servers are: what `rectory up` writes down and every other command reads.

`.rectory/installation.json` names the supervisor by its process id and birth, so a file that a killed one left is known
for what it is. No secret is in it: passwords come from the environment of whoever asks.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from rectory.errors import DataError
from rectory.files import read_json, write_json
from rectory.workspace import Workspace


@dataclass(frozen=True)
class Installation:
    """One running `rectory up`.

    pid, born: of the supervisor; born in seconds since the epoch, as the system has it.
    prefect: API address, ends in /api. mlflow, api: base addresses. None: that server is not part of it.
    services: name -> pid of those that run.
    """

    pid: int
    born: float
    prefect: str | None
    mlflow: str | None
    api: str | None
    services: dict[str, int]

    @property
    def alive(self) -> bool:
        """The supervisor that wrote it is still that process."""
        return born(self.pid) == self.born


def born(pid: int) -> float | None:
    """When the process started, in seconds since the epoch; None: there is none, or it only awaits its burial."""
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.Error:
        return None


def running(workspace: Workspace) -> Installation | None:
    """The installation that is up in this project, if one is."""
    path = workspace.installation
    if not path.is_file():
        return None
    try:
        found = Installation(**read_json(path))
    except (DataError, TypeError):  # Removed in this moment, or of another version of Rectory: as good as none.
        return None
    return found if found.alive else None


def announce(workspace: Workspace, installation: Installation) -> Path:
    """Write it down for others."""
    write_json(workspace.installation, asdict(installation))
    return workspace.installation


def withdraw(workspace: Workspace) -> None:
    """The installation is no more."""
    workspace.installation.unlink(missing_ok=True)

"""What a Dask worker does: looks whether it is fit, and runs a step's command as a process of its own.

A worker imports this module by name; it has Rectory installed and nothing of Prefect's is asked of it.
"""

from __future__ import annotations

import hashlib
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from flows.children import child
from flows.engine import Ended, last_words
from rectory.tuning.storage import WORKER_VARIABLE

_PACKAGES = ("numpy", "scipy", "pandas", "pyarrow", "lightgbm", "rectools-lightfm")
"""What the bytes of a model depend on."""
_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class RemoteCommand:
    """A command with absolute paths, and what a worker must be like to run it.

    probe: a file in the workspace and what is in it: who reads that sees the workspace.
    """

    label: str
    words: tuple[str, ...]
    log: Path
    project: Path
    probe: tuple[Path, str]
    identity: dict[str, str]


def identity() -> dict[str, str]:
    """What must be equal on both sides for equal bytes: code, Python, packages."""
    found = {"code": _code_digest(), "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    return found


def unfit(probe: tuple[Path, str], wanted: dict[str, str]) -> str | None:
    """Why this worker cannot be used, in words; None: it can. Leaves a file beside the probe that others can see."""
    path, token = probe
    try:
        seen = path.read_text(encoding="utf-8")
    except OSError as error:
        return (
            f"{_me()} does not see {path} ({error.strerror}). Every worker must see the project's folder under the "
            "same path: mount it there (NFS or another shared file system), or start the worker where it is mounted"
        )
    if seen != token:
        return f"{_me()} sees another {path} than this run's: its folder of that name is not the shared one"
    own = identity()
    if differing := [
        f"{name} {own.get(name)} instead of {value}" for name, value in wanted.items() if own[name] != value
    ]:
        return (
            f"{_me()} has {', '.join(differing)}: its models would not be equal to the byte. Install the same version "
            "of Rectory with the same lock file there and restart the worker"
        )
    try:
        path.with_name(f"{path.name}.{socket.gethostname()}-{os.getpid()}").write_text(token, encoding="utf-8")
    except OSError as error:
        return f"{_me()} cannot write to {path.parent} ({error.strerror}): let its user write to the project's folder"
    return None


class UnfitWorker(Exception):
    """A worker that joined meanwhile cannot be used."""


def run_here(command: RemoteCommand) -> Ended:
    """Run a command to its end on this worker; it is stopped when nobody waits for its result any more.

    Raises:
        UnfitWorker: this worker cannot run it.
    """
    if (why := unfit(command.probe, command.identity)) is not None:
        raise UnfitWorker(why)
    home = str(_home())
    # The code that was looked at, not what may lie in the working folder.
    path = os.pathsep.join([home, *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "PYTHONPATH": path, WORKER_VARIABLE: command.label}
    wanted = _wanted()
    with child([sys.executable, "-P", *command.words], log=command.log, env=env, cwd=command.project) as process:
        while True:
            try:
                code = process.wait(_POLL_SECONDS)
                break
            except subprocess.TimeoutExpired:
                if not wanted():
                    process.terminate()
    return Ended(code, last_words(command.log), _me())


def _wanted() -> Callable[[], bool]:
    """Whether somebody still waits for the task that this thread is at work on.

    Dask cannot interrupt a thread, but marks its task when its client cancels it or is gone.
    """
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()

    def wanted() -> bool:
        task = worker.state.tasks.get(key)
        return task is not None and task.state != "cancelled"

    return wanted


def _code_digest() -> str:
    digest = hashlib.sha256()
    for package in ("tasks", "rectory"):
        folder = _home(package) / package
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{path.relative_to(folder.parent).as_posix()}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _home(package: str = "tasks") -> Path:
    """Folder that a package was or would be imported from."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError(f"package {package} cannot be found on {_me()}: install Rectory there")
    return Path(next(iter(spec.submodule_search_locations))).resolve().parent


def _me() -> str:
    return f"worker {socket.gethostname()} (process {os.getpid()})"

"""Processes of one installation, found by a mark in their environment: it is inherited, whoever the parent became.

Process groups and parents are lost when something in between is killed; the environment is not.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

import psutil

MARK = "RECTORY_UP"
SERVICE = "RECTORY_UP_SERVICE"
_GRACE_SECONDS = 10.0


def mark(token: str, service: str) -> dict[str, str]:
    """Environment that marks a process and all that it will start."""
    return {MARK: token, SERVICE: service}


def find(token: str, service: str | None = None) -> list[psutil.Process]:
    """Living processes of an installation (of one of its services), this one left out."""
    found = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        environ = _environ(process)
        if environ.get(MARK) == token and service in (None, environ.get(SERVICE)):
            found.append(process)
    return found


def end(processes: Iterable[psutil.Process], grace_seconds: float = _GRACE_SECONDS) -> list[psutil.Process]:
    """Ask them to stop, then make them; gives those that had to be made."""
    asked = [process for process in processes if _signal(process, hard=False)]
    _, stubborn = psutil.wait_procs(asked, timeout=grace_seconds)
    for process in stubborn:
        _signal(process, hard=True)
    psutil.wait_procs(stubborn, timeout=grace_seconds)
    return stubborn


def _environ(process: psutil.Process) -> Mapping[str, str]:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return {}
        return process.environ()
    except (psutil.Error, OSError):  # Gone in this moment, or another user's.
        return {}


def _signal(process: psutil.Process, *, hard: bool) -> bool:
    try:
        process.kill() if hard else process.terminate()
    except psutil.NoSuchProcess:
        return False
    return True

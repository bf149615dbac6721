"""Child processes that never outlive us."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_GRACE_SECONDS = 10
_running: set[subprocess.Popen[str]] = set()
_lock = threading.Lock()


def _die_with_parent() -> None:
    """Ask for SIGTERM when the parent is gone, a kill -9 of it included. Only Linux can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@contextmanager
def child(
    command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Start `command` with its output in `log`; when the block ends it is asked to stop, then made to."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as out:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
            env=None if env is None else dict(env),
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - one system call, no lock is taken
        )
    with _lock:
        _running.add(process)
    try:
        yield process
    finally:
        _stop(process)
        with _lock:
            _running.discard(process)


def stop_all() -> None:
    """Stop every child; for Ctrl-C while threads wait for theirs."""
    with _lock:
        processes = tuple(_running)
    for process in processes:
        _stop(process)


def _stop(process: subprocess.Popen[str]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

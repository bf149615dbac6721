"""Child processes that never outlive us.

Each is a process group of its own: Ctrl-C on a terminal reaches this process only, which then stops the steps at once
and the Prefect server last of all, when the history is written. What a signal does is the same however it comes.
"""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rectory.ending import end_within, say_interrupted

_PR_SET_PDEATHSIG = 1
_GRACE_SECONDS = 10
_PATIENCE_SECONDS = 20.0
"""From Ctrl-C to the end of the block that it interrupts; then the process ends where it stands, as by kill -9."""
_running: set[subprocess.Popen[str]] = set()
_serving: set[subprocess.Popen[str]] = set()
_lock = threading.Lock()
_interrupted = threading.Event()


class InterruptedRun(Exception):
    """A step was not started because the run had been interrupted."""


def _at_birth() -> None:
    """Hear Ctrl-C as anyone does; ask for SIGTERM when the parent is gone, after kill -9 too (only Linux can)."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@contextmanager
def child(
    command: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    serves: bool = False,
) -> Iterator[subprocess.Popen[str]]:
    """Start `command` with its output in `log`; when the block ends it is asked to stop, then made to.

    Args:
        serves: others need it until the end: it outlives an interruption until its block ends.
    Raises:
        InterruptedRun: Ctrl-C came before the start.
    """
    if _interrupted.is_set():
        raise InterruptedRun(f"interrupted before {' '.join(command[1:4])} started")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as out, _deaf():
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
            env=None if env is None else dict(env),
            cwd=cwd,
            process_group=0,
            preexec_fn=_at_birth,  # noqa: PLW1509 - system calls only, no lock is taken
        )
    ours = _serving if serves else _running
    with _lock:
        ours.add(process)
    if _interrupted.is_set() and not serves:  # It came between the question above and now.
        process.terminate()
    try:
        yield process
    finally:
        _stop(process)
        with _lock:
            ours.discard(process)


@contextmanager
def _deaf() -> Iterator[None]:
    """Put Ctrl-C off while a process is born: until it is one of its own, it would run this one's handler."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def interrupted() -> bool:
    """Ctrl-C came in an `interruptible` block that has not ended yet."""
    return _interrupted.is_set()


@contextmanager
def interruptible(patience_seconds: float = _PATIENCE_SECONDS) -> Iterator[None]:
    """In the block Ctrl-C stops the steps that are at work, lets none start any more and raises KeyboardInterrupt.

    Without it the main thread would learn of Ctrl-C when the threads have seen their steps through. Main thread only.

    Args:
        patience_seconds: from Ctrl-C to the end of the block; what is stuck by then is ended, children and all.
    """
    heard = threading.Event()

    def interrupt(number: int, frame: FrameType | None) -> None:
        _interrupted.set()
        heard.set()
        # No lock: the main thread, which this interrupts, may hold it.
        for process in tuple(_running):
            process.terminate()
        signal.default_int_handler(number, frame)

    def swallowed(what: sys.UnraisableHookArgs) -> None:
        # Not lost: it is raised when the block ends.
        if not isinstance(what.exc_value, KeyboardInterrupt):
            told_before(what)

    before, told_before = signal.signal(signal.SIGINT, interrupt), sys.unraisablehook
    sys.unraisablehook = swallowed
    over = end_within(patience_seconds, after=heard, before=_end_all)
    try:
        yield
    except Exception as error:
        # Where exceptions are ignored (`__del__`, pydantic asking for a type) it was swallowed, and this is what became
        # of the run that it had stopped.
        if _interrupted.is_set():
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, before)
        sys.unraisablehook = told_before
        _interrupted.clear()
        over.set()
        heard.set()


def _end_all() -> None:
    """Stop whatever was started, server included, and say why the run ends."""
    left = [*_running, *_serving]
    for process in left:
        process.terminate()
    for process in left:
        _stop(process)
    say_interrupted()


def _stop(process: subprocess.Popen[str]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

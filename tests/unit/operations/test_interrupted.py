"""Ctrl-C ends a run wherever in Python it comes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.children import interrupted, interruptible


class RunOver(Exception):
    """What becomes of a run whose steps were stopped."""


class EndsWhileInterrupted:
    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        # The handler raises within these lines, and Python ignores what is raised here.
        for _ in range(1000):
            pass


def test_an_interruption_that_python_has_swallowed_is_told_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []
    monkeypatch.setattr("sys.unraisablehook", told.append)
    with pytest.raises(KeyboardInterrupt), interruptible():
        one = EndsWhileInterrupted()
        del one
        assert interrupted()
        raise RunOver
    assert not interrupted()
    assert not told, "no traceback of what is no fault"


def test_other_exceptions_that_python_swallows_are_told_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", told.append)

    class Bad:
        def __del__(self) -> None:
            raise RunOver

    with interruptible():
        bad = Bad()
        del bad
    assert [one.exc_type for one in told] == [RunOver]


def test_without_an_interruption_what_went_wrong_is_told_as_it_is() -> None:
    with pytest.raises(RunOver), interruptible():
        raise RunOver


STUCK = """
import logging, os, signal, sys, threading
from pathlib import Path
from flows.children import child, interruptible

def log():
    logging.getLogger("a name that nobody has asked for").isEnabledFor(logging.INFO)

sleeps = [sys.executable, "-c", "import time; time.sleep(600)"]
with interruptible(1.0), child(sleeps, log=Path("log"), serves=True) as server:
    # What Ctrl-C does between these two lines of logging: the lock is taken and nobody gives it back.
    logging._lock.acquire()
    try:
        print(server.pid, flush=True)
        signal.pause()
    finally:
        thread = threading.Thread(target=log)
        thread.start()
        thread.join()
"""


def test_a_run_that_ctrl_c_has_left_stuck_ends_all_the_same(tmp_path: Path) -> None:
    """As it was seen: Prefect's threads waited for logging's lock, the main thread for them."""
    with subprocess.Popen(
        [sys.executable, "-c", STUCK],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdout is not None
        server = psutil.Process(int(run.stdout.readline()))
        began = time.monotonic()
        run.send_signal(signal.SIGINT)
        try:
            _, said = run.communicate(timeout=60)
        finally:
            run.kill()
        assert run.returncode == 130
        assert 1 <= time.monotonic() - began < 15
    assert said == "rectory: interrupted. Nothing half-written was left; run the same command again.\n"
    psutil.wait_procs([server], timeout=10)
    assert not server.is_running()

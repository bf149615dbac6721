"""Ctrl-C ends a run wherever in Python it comes."""

from __future__ import annotations

import os
import signal
from typing import Any

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

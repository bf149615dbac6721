"""Ctrl-C ends a run wherever in Python it comes."""

from __future__ import annotations

import os
import signal

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


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interruption_that_python_has_swallowed_is_told_as_one() -> None:
    with pytest.raises(KeyboardInterrupt), interruptible():
        one = EndsWhileInterrupted()
        del one
        assert interrupted()
        raise RunOver
    assert not interrupted()


def test_without_an_interruption_what_went_wrong_is_told_as_it_is() -> None:
    with pytest.raises(RunOver), interruptible():
        raise RunOver

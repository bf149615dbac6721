"""Waiting for something to come to pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PATIENCE_SECONDS = 600.0


def until(
    condition: Callable[[], Any],
    what: str = "it comes to pass",
    seconds: float = PATIENCE_SECONDS,
    every: float = 0.05,
) -> Any:
    """The condition's first true value, looked at again and again.

    Raises:
        AssertionError: it was not true within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain: {what}"
        time.sleep(every)
    return value

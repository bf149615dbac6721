"""The time that events are stamped with. It does not run backwards when the machine's clock does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_MEND_SECONDS = 86_400.0


class Clock:
    """Seconds since 1970, never less than before.

    A clock that is set back stands still here until the machine's has caught up: "received" stays in order and fresh
    events are not refused as coming from the future. A setback of more than a day is taken at its word: then the clock
    had been wrong before.
    """

    def __init__(self, read: Callable[[], float] = time.time) -> None:
        self._read = read
        self._latest = 0.0
        self._lock = threading.Lock()

    def __call__(self) -> float:
        now = self._read()
        with self._lock:
            if not now <= self._latest < now + _MEND_SECONDS:
                self._latest = now
            return self._latest

    def not_before(self, moment: float) -> None:
        """Go on from `moment`: the newest that an earlier process had stamped."""
        with self._lock:
            self._latest = max(self._latest, moment)

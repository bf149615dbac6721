"""The time that events are stamped with, and the time that a model lives in."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

_MEND_SECONDS = 86_400.0
_PAUSE_SECONDS = 30 * 86_400.0
"""An ended log of which nothing was heard for longer has stood still."""


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


class LogTime:
    """The time that a model lives in, where its log has ended years ago: it goes on from the log's end.

    Without it the first click of today would make the newest row of such a log nine years old: all that fades would
    have faded. A log that still grows has the clock's time.

    Args:
        end: newest moment of the log, in seconds. ended: the card calls it historic.
    """

    def __init__(self, end: float, *, ended: bool) -> None:
        self.latest, self._ended = end, ended
        self._pause, self._live_from = 0.0, math.inf

    def of(self, moment: float) -> float:
        """A moment of the clock, or one within the log, in the model's time."""
        moved = self._moved(moment)
        return self.latest if self._stood_still(moved) else moved

    def learned(self, moment: float) -> float:
        """The same for something that happened: after a long pause the model's time goes on from here."""
        moved = self._moved(moment)
        if self._stood_still(moved):
            # What comes late begins no pause of its own.
            if not self._pause or moment >= self._live_from:
                self._pause += moved - self.latest
                self._live_from = moment
            moved = self.latest
        self.reached(moved)
        return moved

    def reached(self, moment: float) -> None:
        """It is at least so late, in the model's time."""
        self.latest = max(self.latest, moment)

    def back(self, moment: float) -> float:
        """What `of` made of a live moment, on the clock again."""
        return moment + self._pause if self._is_live(moment + self._pause) else moment

    def now(self) -> float:
        """The clock's time; of an ended log its newest moment."""
        return self.latest if self._ended else max(time.time(), self.latest)

    def _moved(self, moment: float) -> float:
        return moment - self._pause if self._is_live(moment) else moment

    def _is_live(self, moment: float) -> bool:
        """The first event that was heard of need not be the first that happened."""
        return moment >= self._live_from - _PAUSE_SECONDS

    def _stood_still(self, moved: float) -> bool:
        return self._ended and moved > self.latest + _PAUSE_SECONDS

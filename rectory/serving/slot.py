"""The seat that answers: which engine serves, and how the next one takes over without a missed or mixed answer.

A request takes the engine once (`slot.engine`) and asks only it: id maps, index and live state are the engine's own, so
no answer can be made of two models. The old engine answers on until the new one has been loaded, has learned all that
the log holds and has passed every check; then one reference changes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from rectory.errors import RectoryError, StoreError
from rectory.serving.types import Engine

_logger = logging.getLogger("rectory.serving")

Outcome = Literal["seated", "refused"]


class Follower(Protocol):
    """An engine and its own place in the event log."""

    @property
    def engine(self) -> Engine: ...
    def catch_up(self) -> int:
        """Let the engine learn what the log has beyond its place; gives the number of entries."""
        ...


@dataclass(frozen=True)
class Swap:
    """What became of a version that was named champion.

    reason: why it was refused; empty when it was seated. seconds: from being noticed to that.
    """

    version: str
    outcome: Outcome
    reason: str
    seconds: float
    replaced: str | None


Check = Callable[[Engine, Engine | None], str | None]
"""(next engine, the one that serves) -> why the next may not serve, or None."""


class ModelSlot:
    """One process' engine in service.

    Args:
        champion: version that holds the seat in the model store now; None: nobody. May raise RectoryError.
        load: engine of a version with its place in the log. May raise RectoryError.
        checks: in order; the first that objects refuses the version.
        told: hears of each swap and refusal.

    A refused version is not tried again until the seat has been given to another.
    """

    def __init__(
        self,
        champion: Callable[[], str | None],
        load: Callable[[str], Follower],
        checks: Sequence[Check] = (),
        told: Callable[[Swap], None] | None = None,
    ) -> None:
        self._champion = champion
        self._load = load
        self._checks = checks
        self._told = told
        self._current: Follower | None = None
        self._refused: str | None = None
        # Held while the log is fed to the engine that serves: a swap falls between two feedings, never into one.
        self._feeding = threading.Lock()
        self._looking = threading.Lock()

    @property
    def engine(self) -> Engine | None:
        """Who answers now; None before the first champion was loaded."""
        current = self._current
        return None if current is None else current.engine

    @property
    def ready(self) -> bool:
        return self._current is not None

    def feed(self) -> int:
        """Let the serving engine learn what is new in the log; gives the number of entries."""
        with self._feeding:
            return self._current.catch_up() if self._current is not None else 0

    def look(self, *, anew: bool = False) -> Swap | None:
        """Seat the champion of the model store if it is another; None: nothing to do, or the store is not there.

        The old engine stays whatever goes wrong: a store that cannot be reached (then it is tried again), files that
        are damaged, a check that objects.

        Args:
            anew: load it though it serves already: its log has become another one.
        """
        with self._looking:
            try:
                wanted = self._champion()
            except RectoryError as error:
                _logger.warning("the model store cannot be asked, the model in service stays: %s", error)
                return None
            serving = self.engine
            same = serving is not None and serving.version == wanted and not anew
            if wanted is None or wanted == self._refused or same:
                return None
            began = time.perf_counter()
            try:
                reason = self._seat(wanted)
            except StoreError as error:
                _logger.warning("version %s cannot be fetched now, it is tried again: %s", wanted, error)
                return None
            self._refused = wanted if reason else None
            outcome: Outcome = "refused" if reason else "seated"
            replaced = serving.version if serving is not None else None
            swap = Swap(wanted, outcome, reason, time.perf_counter() - began, replaced)
        if self._told is not None:
            self._told(swap)
        return swap

    def watch(self, stop: threading.Event, every_seconds: float) -> None:
        """Look again and again until `stop` is set: the body of a thread."""
        while not stop.wait(every_seconds):
            self.look()

    def _seat(self, version: str) -> str:
        """Load, learn, check, swap; why not, or an empty text. Raises StoreError when a store is away."""
        try:
            following = self._load(version)
            following.catch_up()
        except StoreError:
            raise
        except RectoryError as error:
            return str(error)
        for check in self._checks:
            if reason := check(following.engine, self.engine):
                return reason
        # What came in meanwhile first without, then under the lock: requests never wait for a long feeding.
        following.catch_up()
        with self._feeding:
            following.catch_up()
            self._current = following
        return ""

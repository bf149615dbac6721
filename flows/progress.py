"""Who is at work: steps say so here, the command line listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class StepEvent:
    """A step started, got on or ended. `text` says in a few words what came of it or how far it is.

    share: of the work that is done, in [0, 1]; None: not known.
    """

    step: str
    state: Literal["started", "progress", "done", "failed"]
    seconds: float = 0.0
    text: str = ""
    share: float | None = None


Listener = Callable[[StepEvent], None]
_listeners: list[Listener] = []


def announce(event: StepEvent) -> None:
    """Tell everyone who listens; called from several threads."""
    for listener in tuple(_listeners):
        listener(event)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Let `listener` hear all events of the block."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)

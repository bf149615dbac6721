"""Which steps are at work and for how long: a live line each on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress_bar import ProgressBar
from rich.text import Text

from flows.progress import StepEvent

_HEARTBEAT_SECONDS = 15.0


class _Bar(BarColumn):
    """A bar for steps that say how far they are; nothing for the others."""

    def render(self, task: Task) -> ProgressBar | Text:  # type: ignore[override]
        return super().render(task) if task.fields.get("far") else Text("")


@contextmanager
def counting(console: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """Show how far a long loop is: a bar on a terminal, a line now and then elsewhere.

    Gives what is to be called with (done, of).
    """
    if console.is_terminal:
        with Progress(
            TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
        ) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, of: bar.update(task, completed=done, total=of)
        return
    last = time.monotonic()

    def tell(done: int, of: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _HEARTBEAT_SECONDS:
            last = time.monotonic()
            console.print(f"  {what}: {done:,} of {of:,}", highlight=False)

    yield tell


class RunProgress:
    """Listener for `flows.progress`; use as a context manager.

    Args:
        console: where to print; without a terminal every event is one line, and a heartbeat says what is still at work.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            _Bar(bar_width=24),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._running: dict[str, TaskID | None] = {}
        self._far: dict[str, str] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True, name="progress")

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        else:
            self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._console.is_terminal:
            self._live.stop()

    def __call__(self, event: StepEvent) -> None:
        with self._lock:
            if event.state == "started":
                live = self._console.is_terminal
                self._running[event.step] = self._live.add_task(event.step) if live else None
                if not live:
                    self._console.print(f"  {event.step} ...", highlight=False)
                return
            if event.state == "progress":
                self._get_on(event)
                return
            self._far.pop(event.step, None)
            shown = self._running.pop(event.step, None)
            if shown is not None:
                self._live.remove_task(shown)
        mark = "[green]✓[/green]" if event.state == "done" else "[red]✗[/red]"
        text = f"  [dim]{event.text}[/dim]" if event.text and event.state == "done" else ""
        self._console.print(f"{mark} {event.step:<28} {event.seconds:7.1f} s{text}", highlight=False)

    def _get_on(self, event: StepEvent) -> None:
        """How far a step is: a bar on a terminal, words in the next heartbeat elsewhere."""
        self._far[event.step] = event.text
        shown = self._running.get(event.step)
        if shown is not None and event.share is not None:
            self._live.update(shown, description=event.text, total=1.0, completed=event.share, far=True)

    def _beat(self) -> None:
        while not self._over.wait(_HEARTBEAT_SECONDS):
            with self._lock:
                running = "; ".join(self._far.get(step, step) for step in self._running)
            if running:
                self._console.print(f"  still at work: {running}", highlight=False)

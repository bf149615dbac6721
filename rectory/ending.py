"""An end that comes in any case, for a process that was interrupted.

What a signal raises in the main thread may strike after a lock was taken and before the `try` that gives it back. Who
asks for that lock then, be it `logging`'s, waits for ever, and so does whoever waits for that thread.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

INTERRUPTED = 130
"""Exit code of what was ended by Ctrl-C."""
WORDS = "rectory: interrupted. Nothing half-written was left; run the same command again."
_SHOW_CURSOR = "\x1b[?25h"


def end_within(
    seconds: float, *, after: threading.Event | None = None, before: Callable[[], None] | None = None
) -> threading.Event:
    """Unless the event that is returned is set in time, the process ends, whatever its threads wait for.

    Args:
        seconds: counted from when `after` is set; without it from now.
        before: done first, by a thread of its own; what it raises ends nothing.
    """
    over = threading.Event()

    def watch() -> None:
        if after is not None:
            after.wait()
        if over.wait(seconds):
            return
        if before is not None:
            with suppress(Exception):
                before()
        os._exit(INTERRUPTED)

    threading.Thread(target=watch, name="end in any case", daemon=True).start()
    return over


def say_interrupted() -> None:
    """Straight to stderr: locks of printing may be among those that are held."""
    shown = _SHOW_CURSOR if sys.stderr.isatty() else ""
    os.write(2, f"{shown}{WORDS}\n".encode())

"""A flow run that a worker has started goes on when the worker is gone.

What it prints goes into a pipe to the worker. Without a reader each line is an error, and rich, which writes Prefect's
log lines, ends the process for it. The server has the log all the same. So it is done where this package is imported:
Prefect writes its first line before any flow of ours has its say.
"""

from __future__ import annotations

import os
import select
import stat
import threading
from functools import cache

_OUTPUTS = (1, 2)


def outlive_worker() -> None:
    """In a process that a worker has started for a flow run: go on printing when the worker is gone."""
    if "PREFECT__FLOW_RUN_ID" in os.environ:
        outlive_reader()


@cache
def outlive_reader() -> None:
    """From now on, once per process: an output whose reader is gone leads nowhere."""
    pipes = [output for output in _OUTPUTS if stat.S_ISFIFO(os.fstat(output).st_mode)]
    if pipes:
        threading.Thread(target=_watch, args=(pipes,), name="outlive-reader", daemon=True).start()


def _watch(pipes: list[int]) -> None:
    poll = select.poll()
    for output in pipes:
        poll.register(output, 0)  # That its reader is gone is told unasked.
    left = set(pipes)
    while left:
        for output, _ in poll.poll():
            poll.unregister(output)
            left.discard(output)
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, output)
            os.close(nowhere)

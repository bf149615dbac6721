"""`python -m flows.installation.keeper TOKEN`: stops an installation whose supervisor was killed.

It waits on a pipe that only the supervisor holds. At its end, however that came, it gives the services the time that a
supervisor would and then makes whatever is left of the installation end. Not even `kill -9` leaves an orphan.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from flows.installation import marked


@contextmanager
def kept(token: str) -> Iterator[None]:
    """For the block somebody watches over this process; after its proper end there is nothing left to do."""
    with subprocess.Popen(
        [sys.executable, "-m", "flows.installation.keeper", token],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C on the terminal is the supervisor's to hear.
    ) as keeper:
        try:
            yield
        finally:
            keeper.communicate(b"done")


def main(token: str) -> None:
    """Wait for the supervisor's end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.read(sys.stdin.fileno(), 16) == b"done":
        return
    while left := marked.find(token):  # What a worker starts while it stops is found by the next look.
        marked.end(left)


if __name__ == "__main__":
    main(sys.argv[1])

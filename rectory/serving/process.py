"""A process that gives many small answers: one core for each product, short turns, memory that is kept."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_log = logging.getLogger("rectory.serving")
_TURN_SECONDS = 5e-4
_BACKGROUND = 10
_KEPT_BYTES = 1 << 28
_LARGEST_BLOCK_BYTES = 32 << 20
# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


@contextmanager
def small_products() -> Iterator[None]:
    """While it is open, products and solves take one core each.

    BLAS wakes all cores for a 48 x 48 solve; where these are busy it waits for them (measured: 15 ms against 0.1).
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        yield


def settle() -> None:
    """For the rest of this process: `small_products`, short turns of its threads, and freed memory is kept.

    A thread that wants Python's lock waits for a turn's end, and an answer wants it again after each of some fifty
    calls that leave it: while a model is loaded beside, turns of 5 ms make an answer of 3 ms one of 200.

    An answer among 100,000 items takes and frees a few arrays of a megabyte. By default glibc gives each back to the
    system, and every page of the next one is a fault (measured: 1.4 ms for a copy that takes 0.06).
    """
    from threadpoolctl import threadpool_limits

    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # Libraries that are not loaded yet.
    threadpool_limits(limits=1, user_api="blas")
    sys.setswitchinterval(_TURN_SECONDS)
    if sys.platform == "linux":
        try:
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
            libc.mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK_BYTES)
        except (OSError, AttributeError) as error:
            _log.info("this system's malloc cannot be told to keep memory: %s", error)


def step_back() -> None:
    """The calling thread works with what processor time others leave, for good. Linux alone has this for a thread."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + _BACKGROUND)


def keep_from_collector() -> None:
    """What is there now is not looked through again for rings of dead objects: with a model that stops all for 0.3 s.

    What nobody holds any more is freed as before; a model has no rings.
    """
    gc.freeze()

"""Seconds and peak memory of a step, written where `benchmarks/` and the report find them."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rectory.files import write_json

_POLL_SECONDS = 0.05


@contextmanager
def measured(target: Path, step: str) -> Iterator[None]:
    """Write {step, seconds, cpu_seconds, peak_memory_mb} to `target` when the block ends well.

    The peak is this process's resident memory, sampled every 50 ms: `ru_maxrss` never falls and so would charge a step
    with what an earlier one had used.
    """
    import psutil

    process = psutil.Process()
    peak = process.memory_info().rss
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(_POLL_SECONDS):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch, name=f"memory of {step}", daemon=True)
    began, cpu_began = time.perf_counter(), time.process_time()
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
    peak = max(peak, process.memory_info().rss)
    write_json(
        target,
        {
            "step": step,
            "seconds": round(time.perf_counter() - began, 3),
            "cpu_seconds": round(time.process_time() - cpu_began, 3),
            "peak_memory_mb": round(peak / 2**20, 1),
            "python": sys.version.split()[0],
        },
    )

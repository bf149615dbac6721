"""`kill -9` of the service under events, again and again: what was lost, what is there twice, how soon it was back."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.loopback import HOST, free_port, served
from benchmarks.senders import Sender, books

_SENDERS = 8
_EVENTS_BETWEEN = 50
_EVENTS_SECONDS = 60.0


@dataclass(frozen=True)
class Kills:
    """acknowledged, lost, doubled: events. ready_*: seconds from the start of the process until it was ready again."""

    kills: int
    acknowledged: int
    lost: int
    doubled: int
    ready_p50_seconds: float
    ready_most_seconds: float


def kill_under_load(
    command: Sequence[str],
    env: dict[str, str],
    core: int | None,
    *,
    event_log: Path,
    items: Sequence[str],
    kills: int,
    seconds: float,
) -> Kills:
    """Kill a service at moments drawn at random; no further time once `seconds` have passed.

    Args:
        command: starts it; `--port N` is put behind. event_log: its SQLite file. items: what events are about.
    """
    random = np.random.default_rng(3)
    senders = [Sender(number, items) for number in range(_SENDERS)]
    ready: list[float] = []
    began = time.perf_counter()
    for sender in senders:
        sender.start()
    try:
        while len(ready) < kills and time.perf_counter() - began < seconds:
            port, before = free_port(), _acknowledged(senders)
            with served([*command, "--port", str(port)], port, "/api/health/ready", env, core) as (took, process):
                ready.append(took)
                for sender in senders:
                    sender.url = f"http://{HOST}:{port}"
                # At least some events, then at any moment: within a commit, between two, while it learns.
                deadline = time.perf_counter() + _EVENTS_SECONDS
                while _acknowledged(senders) < before + _EVENTS_BETWEEN:
                    if time.perf_counter() > deadline:
                        raise SystemExit(f"no {_EVENTS_BETWEEN} events were accepted within {_EVENTS_SECONDS:g} s")
                    time.sleep(0.01)
                time.sleep(float(random.random()) * 0.3)
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    finally:
        for sender in senders:
            sender.end()
        for sender in senders:
            sender.join(timeout=60)
    port = free_port()
    with served([*command, "--port", str(port)], port, "/api/health/ready", env, core):
        found = books(event_log, senders)
    return Kills(
        kills=len(ready),
        acknowledged=found.acknowledged,
        lost=len(found.lost),
        doubled=len(found.doubled),
        ready_p50_seconds=float(np.median(ready)),
        ready_most_seconds=max(ready),
    )


def _acknowledged(senders: Sequence[Sender]) -> int:
    return sum(len(sender.acknowledged) for sender in senders)

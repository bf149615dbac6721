"""`python -m benchmarks.live --project DIR`: the live service under load, and MLflow's own server on the same champion.

Bounded, on the loopback. Open loop: requests leave at their time whatever became of the ones before, and each is timed
from when it was due, so a server that stalls is charged for all that had to wait.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.machine import this_machine
from rectory.registry.store import ModelStore
from rectory.workspace import Workspace

_HOST = "127.0.0.1"
_CONNECTIONS = 16
_START_SECONDS = 180.0
Request = bytes


@dataclass(frozen=True)
class Load:
    """What one run of requests found. seconds from due to answered; throughput in requests a second."""

    what: str
    requests: int
    failed: int
    throughput: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    most_ms: float


class Connection:
    """One kept-alive HTTP/1.1 connection; a client library would cost as much as the server."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: Request) -> int:
        """Send and read to the end; gives the status."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(_HOST, self._port)
        reader, writer = self._streams
        writer.write(request)
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        status, length = int(head.split(b" ", 2)[1]), 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        await reader.readexactly(length)
        return status


def http(method: str, path: str, body: object = None) -> Request:
    """A whole request."""
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: {_HOST}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


async def open_loop(what: str, port: int, requests: list[Request], rate: float) -> Load:
    """Send each request at its time, `rate` a second, over a pool of connections."""
    pool: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(_CONNECTIONS):
        pool.put_nowait(Connection(port))
    taken = np.zeros(len(requests))
    statuses = np.zeros(len(requests), dtype=np.int64)
    began = time.perf_counter()

    async def one(place: int) -> None:
        connection = await pool.get()
        try:
            statuses[place] = await connection.ask(requests[place])
        finally:
            pool.put_nowait(connection)
        taken[place] = time.perf_counter() - (began + place / rate)

    tasks = []
    for place in range(len(requests)):
        await asyncio.sleep(max(0.0, began + place / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(one(place)))
    await asyncio.gather(*tasks)
    return _load(what, taken, statuses, time.perf_counter() - began)


async def closed_loop(what: str, port: int, requests: list[Request], seconds: float) -> Load:
    """Four clients that each ask again as soon as they are answered: the most that the server gives."""
    taken: list[float] = []
    statuses: list[int] = []
    began = time.perf_counter()

    async def client(first: int) -> None:
        connection, place = Connection(port), first
        while time.perf_counter() - began < seconds:
            asked = time.perf_counter()
            statuses.append(await connection.ask(requests[place % len(requests)]))
            taken.append(time.perf_counter() - asked)
            place += 4

    await asyncio.gather(*(client(first) for first in range(4)))
    return _load(what, np.array(taken), np.array(statuses), time.perf_counter() - began)


def _load(what: str, taken: np.ndarray, statuses: np.ndarray, seconds: float) -> Load:
    p50, p90, p99 = (float(1000 * np.quantile(taken, share)) for share in (0.5, 0.9, 0.99))
    failed = int(((statuses < 200) | (statuses >= 300)).sum())
    return Load(what, len(taken), failed, len(taken) / seconds, p50, p90, p99, float(1000 * taken.max()))


def mixed(users: list[str], items: list[str], count: int, seed: int = 0) -> list[Request]:
    """One event to four reads; users and items drawn alike."""
    draw = np.random.default_rng(seed)
    found = []
    now = time.time()
    for place in range(count):
        user = users[int(draw.integers(len(users)))]
        if place % 5:
            found.append(http("GET", f"/api/recommend/{user}?n=10"))
        else:
            item = items[int(draw.integers(len(items)))]
            event = {"FeedbackType": "purchase", "UserId": user, "ItemId": item, "Timestamp": _iso(now + place * 1e-3)}
            found.append(http("POST", "/api/feedback", [event]))
    return found


def _iso(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) + f".{int(moment % 1 * 1e6):06d}Z"


@contextmanager
def served(command: list[str], port: int, path: str, env: dict[str, str], core: int | None) -> Iterator[float]:
    """A server as a process of its own (on one core, if asked); gives the seconds until it was ready; ends it."""
    if core is not None:
        command = ["taskset", "-c", str(core), *command]
    began = time.perf_counter()
    process = subprocess.Popen(
        command, env=env, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        while not _ready(port, path):
            if process.poll() is not None:
                raise SystemExit(f"the server ended with {process.returncode}: {' '.join(command)}")
            if time.perf_counter() - began > _START_SECONDS:
                raise SystemExit(f"the server was not ready within {_START_SECONDS:g} s: {' '.join(command)}")
            time.sleep(0.05)
        yield time.perf_counter() - began
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def _ready(port: int, path: str) -> bool:
    try:
        return asyncio.run(Connection(port).ask(http("GET", path))) == 200
    except (OSError, asyncio.IncompleteReadError):
        return False


def free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind((_HOST, 0))
        return int(found.getsockname()[1])


def bench(
    project: Path, rate: float, seconds: float, core: int | None, say: Callable[[str], None]
) -> dict[str, object]:
    """Both servers, one after the other, on the project's champion."""
    champion = ModelStore(Workspace(project, project)).champion()
    if champion is None:
        raise SystemExit(f"{project} has no champion; `rectory run` makes one.")
    bundle = ModelStore(Workspace(project, project)).bundle(champion)
    known = np.flatnonzero(np.diff(bundle.seen.indptr) > 0)
    popular = np.argsort(-np.bincount(bundle.seen.indices, minlength=len(bundle.items)))[:2000]
    users, items = bundle.users.decode(known).tolist(), bundle.items.decode(popular).tolist()
    env = {**os.environ, "RECTORY_PROJECT": str(project), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    port = free_port()
    say("rectory serve")
    command = [sys.executable, "-m", "cli.main", "serve", "--host", _HOST, "--port", str(port)]
    with served(command, port, "/api/health/ready", env, core) as ready:
        asyncio.run(open_loop("warm-up", port, mixed(users, items, int(rate * 3), 1), rate))
        steady = asyncio.run(open_loop("rectory", port, mixed(users, items, int(rate * seconds)), rate))
        reads = [http("GET", f"/api/recommend/{user}?n=10") for user in users]
        most = asyncio.run(closed_loop("rectory, reads", port, reads, seconds / 2))
    say("mlflow models serve")
    port = free_port()
    store = f"sqlite:///{Workspace(project, project).model_store.resolve()}"
    env |= {"MLFLOW_TRACKING_URI": store, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/recommender@champion"]
    command += ["--env-manager", "local", "-h", _HOST, "-p", str(port), "-w", "1"]
    with served(command, port, "/ping", env, core):
        asked = [
            http(
                "POST",
                "/invocations",
                {"dataframe_split": {"columns": ["user_id"], "data": [[user]]}, "params": {"k": 10}},
            )
            for user in users
        ]
        asyncio.run(closed_loop("warm-up", port, asked, 2))
        theirs = asyncio.run(closed_loop("mlflow, reads", port, asked, seconds / 2))
    return {
        "dataset": champion.dataset,
        "candidate": champion.candidate,
        "items": len(bundle.items),
        "users": len(bundle.users),
        "ready_seconds": ready,
        "rate": rate,
        "loads": [asdict(load) for load in (steady, most, theirs)],
        "times_mlflow": most.throughput / theirs.throughput,
    }


def main() -> None:
    """Results on stdout, progress on stderr."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live", description=__doc__)
    parser.add_argument("--project", type=Path, default=Path(), help="a project with a champion (default: .)")
    parser.add_argument("--rate", type=float, default=150.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of the steady load")
    parser.add_argument("--core", type=int, default=0, help="core that servers are held to; -1: any")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    source = Path(__file__).resolve().parent.parent
    told = bench(
        given.project.resolve(),
        given.rate,
        given.seconds,
        None if given.core < 0 else given.core,
        lambda text: print(f"  {text}", file=sys.stderr),
    )
    if given.json:
        print(json.dumps({"machine": asdict(this_machine(source)), **told}, indent=2))
        return
    print(f"{told['dataset']}: {told['candidate']}, {told['items']} items, {told['users']} users")
    print(f"ready after {told['ready_seconds']:.1f} s; load of {told['rate']:g} requests a second, 1 event to 4 reads")
    for load in told["loads"]:  # type: ignore[attr-defined]
        print(
            f"{load['what']:<16} {load['requests']:>6} requests, {load['failed']} failed, {load['throughput']:7.1f}/s, "
            f"p50 {load['p50_ms']:.1f} p90 {load['p90_ms']:.1f} p99 {load['p99_ms']:.1f} most {load['most_ms']:.1f} ms"
        )
    print(f"{told['times_mlflow']:.1f} times the reads of `mlflow models serve`")


if __name__ == "__main__":
    main()

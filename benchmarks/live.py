"""`python -m benchmarks.live --project DIR`: the live service under load, while champions change, and under kill -9.

Bounded, on the loopback, with a copy of the project's state: its champion stays, its event log gets nothing. Beside the
load MLflow's own server on the same champion. Open loop: requests leave at their time whatever became of the ones
before, and each is timed from when it was due, so a server that stalls is charged for all that had to wait.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.kills import kill_under_load
from benchmarks.loopback import HOST, Connection, Request, free_port, http, served
from benchmarks.machine import this_machine
from benchmarks.project import borrowed_project, own_environment
from benchmarks.swaps import lists_of, swap_under_load
from rectory.data.card import load_card
from rectory.registry.store import ModelStore, Version
from rectory.workspace import Workspace

_CONNECTIONS = 16
_KILL_SECONDS = 900.0
_SWAP_RATE = 50.0
_SWAP_USERS = 200
PARTS = ("load", "swaps", "kills")


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


@dataclass(frozen=True)
class Stage:
    """A project with a champion, and how servers are started in it.

    users: who has a history. items: the most popular ones. size: numbers of users and items that the champion knows.
    """

    project: Path
    champion: Version
    users: list[str]
    items: list[str]
    size: tuple[int, int]
    core: int | None

    @classmethod
    def of(cls, project: Path, core: int | None) -> Stage:
        store = ModelStore(Workspace(project, project))
        champion = store.champion()
        if champion is None:
            raise SystemExit("this project has no champion; `rectory run` makes one.")
        bundle = store.bundle(champion)
        known = np.flatnonzero(np.diff(bundle.seen.indptr) > 0)
        popular = np.argsort(-np.bincount(bundle.seen.indices, minlength=len(bundle.items)))[:2000]
        users, items = bundle.users.decode(known).tolist(), bundle.items.decode(popular).tolist()
        return cls(project, champion, users, items, (len(bundle.users), len(bundle.items)), core)

    @property
    def env(self) -> dict[str, str]:
        return {
            **own_environment(),
            "RECTORY_PROJECT": str(self.project),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }

    @contextmanager
    def service(self) -> Iterator[int]:
        """A running `rectory serve`; gives its port."""
        port = free_port()
        with served([*self.command, "--port", str(port)], port, "/api/health/ready", self.env, self.core):
            yield port

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "cli.main", "serve", "--host", HOST]


def bench_load(stage: Stage, rate: float, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Both servers, one after the other, on the project's champion."""
    users, items, env, port = stage.users, stage.items, stage.env, free_port()
    say("rectory serve")
    with served([*stage.command, "--port", str(port)], port, "/api/health/ready", env, stage.core) as (ready, _):
        asyncio.run(open_loop("warm-up", port, mixed(users, items, int(rate * 3), 1), rate))
        steady = asyncio.run(open_loop("rectory", port, mixed(users, items, int(rate * seconds)), rate))
        reads = [http("GET", f"/api/recommend/{user}?n=10") for user in users]
        most = asyncio.run(closed_loop("rectory, reads", port, reads, seconds / 2))
    say("mlflow models serve")
    port = free_port()
    store = f"sqlite:///{Workspace(stage.project, stage.project).model_store.resolve()}"
    env |= {"MLFLOW_TRACKING_URI": store, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/recommender@champion"]
    command += ["--env-manager", "local", "-h", HOST, "-p", str(port), "-w", "1"]
    with served(command, port, "/ping", env, stage.core):
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
        "ready_seconds": ready,
        "rate": rate,
        "loads": [asdict(load) for load in (steady, most, theirs)],
        "times_mlflow": most.throughput / theirs.throughput,
    }


def bench_swaps(stage: Stage, swaps: int, say: Callable[[str], None]) -> dict[str, Any]:
    """The champion and another candidate of the same data change places while lists are asked for."""
    workspace = Workspace(stage.project, stage.project)
    if not load_card(workspace.card(stage.champion.dataset)).historic:
        raise SystemExit("what is popular fades while swaps are counted: take a data set that has ended.")
    found = [one for one in ModelStore(workspace).versions(stage.champion.dataset) if _other(one, stage.champion)]
    if not found:
        raise SystemExit("this project has registered one candidate only: nobody to change places with.")
    other = next((one for one in found if not one.baseline), found[0])
    say(f"{swaps} swaps of {stage.champion.candidate} and {other.candidate}")
    places = np.linspace(0, len(stage.users) - 1, min(_SWAP_USERS, len(stage.users))).astype(int)
    users, lists = [stage.users[place] for place in places], {}
    # Seats change in a process of its own: MLflow would keep the load from leaving in time.
    with ProcessPoolExecutor(1, get_context("spawn")) as seater:

        def seated(version: str) -> None:
            seater.submit(seat, stage.project, version).result()

        for version in (stage.champion.version, other.version):
            seated(version)
            with stage.service() as port:
                lists[version] = lists_of(port, version, users)
        with stage.service() as port:
            done = swap_under_load(port, seated, lists, rate=_SWAP_RATE, swaps=swaps)
    return {"candidates": [stage.champion.candidate, other.candidate], "rate": _SWAP_RATE, **asdict(done)}


def _other(version: Version, champion: Version) -> bool:
    return version.candidate != champion.candidate


def seat(project: Path, version: str) -> None:
    """Make a version the champion."""
    store = ModelStore(Workspace(project, project))
    store.promote(store.version(version), "a swap of the bench", by="bench")


def bench_kills(stage: Stage, kills: int, say: Callable[[str], None]) -> dict[str, Any]:
    """The service with the project's champion is killed while events are posted."""
    say(f"{kills} kills, in {_KILL_SECONDS / 60:.0f} minutes at most")
    done = kill_under_load(
        stage.command,
        stage.env,
        stage.core,
        event_log=Workspace(stage.project, stage.project).event_log,
        items=stage.items,
        kills=kills,
        seconds=_KILL_SECONDS,
    )
    return asdict(done)


def bench(given: argparse.Namespace, say: Callable[[str], None]) -> dict[str, Any]:
    """The parts that were asked for, each on a copy of its own of the project's state."""
    core = None if given.core < 0 else given.core
    source = given.project.resolve()
    champion = Stage.of(source, core)
    told: dict[str, Any] = {
        "dataset": champion.champion.dataset,
        "candidate": champion.champion.candidate,
        "users": champion.size[0],
        "items": champion.size[1],
    }
    for part in given.part or PARTS:
        with borrowed_project(source) as project:
            stage = Stage.of(project, core)
            if part == "load":
                told[part] = bench_load(stage, given.rate, given.seconds, say)
            elif part == "swaps":
                told[part] = bench_swaps(stage, given.swaps, say)
            else:
                told[part] = bench_kills(stage, given.kills, say)
    return told


def main() -> None:
    """Results on stdout, progress on stderr."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live", description=__doc__)
    parser.add_argument("--project", type=Path, default=Path(), help="a project with a champion (default: .)")
    parser.add_argument("--part", action="append", choices=PARTS, help="repeat; default: all")
    parser.add_argument("--rate", type=float, default=150.0, help="requests a second of the load")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of the steady load")
    parser.add_argument("--swaps", type=int, default=20, help="changes of champion")
    parser.add_argument("--kills", type=int, default=50, help="kill -9 of the service")
    parser.add_argument("--core", type=int, default=0, help="core that servers are held to; -1: any")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    source = Path(__file__).resolve().parent.parent
    told = bench(given, lambda text: print(f"  {text}", file=sys.stderr))
    if given.json:
        print(json.dumps({"machine": asdict(this_machine(source)), **told}, indent=2))
        return
    print(f"{told['dataset']}: {told['candidate']}, {told['items']} items, {told['users']} users")
    for part, show in (("load", show_load), ("swaps", show_swaps), ("kills", show_kills)):
        if part in told:
            show(told[part])


def show_load(told: dict[str, Any]) -> None:
    print(f"ready after {told['ready_seconds']:.1f} s; load of {told['rate']:g} requests a second, 1 event to 4 reads")
    for load in told["loads"]:
        print(
            f"{load['what']:<16} {load['requests']:>6} requests, {load['failed']} failed, {load['throughput']:7.1f}/s, "
            f"p50 {load['p50_ms']:.1f} p90 {load['p90_ms']:.1f} p99 {load['p99_ms']:.1f} most {load['most_ms']:.1f} ms"
        )
    print(f"{told['times_mlflow']:.1f} times the reads of `mlflow models serve`")


def show_swaps(told: dict[str, Any]) -> None:
    print(
        f"{told['swaps']} swaps ({' and '.join(told['candidates'])}) at {told['rate']:g} requests a second: "
        f"{told['answers']} answers to {told['users']} users, {told['failed']} failed, {told['mixed']} mixed; "
        f"p50 {told['p50_ms']:.1f} p99 {told['p99_ms']:.1f} most {told['most_ms']:.1f} ms; new champion answers after "
        f"{told['swap_p50_seconds']:.1f} s, {told['swap_most_seconds']:.1f} s at most"
    )
    if told["first_mixed"]:
        print(f"  {told['first_mixed']}")


def show_kills(told: dict[str, Any]) -> None:
    print(
        f"{told['kills']} kills: {told['acknowledged']} events acknowledged, {told['lost']} lost, {told['doubled']} "
        f"doubled; ready again after {told['ready_p50_seconds']:.1f} s, {told['ready_most_seconds']:.1f} s at most"
    )


if __name__ == "__main__":
    main()

"""Champions change places while requests come in: what failed, what was mixed, how long anybody waited."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.loopback import Connection, Request, http

_CONNECTIONS = 16
_N = 10
_SWAP_SECONDS = 60.0
Lists = dict[str, dict[str, list[str]]]
"""Version -> user -> items."""


@dataclass(frozen=True)
class Swaps:
    """What so many changes of champion under load have shown.

    failed: requests that were not answered, or not with 200. mixed: answers that are not, item for item, what the
    version that they name gives that user. first_mixed: one of them, in words. events: that were accepted meanwhile.
    p50_ms, p99_ms, most_ms: from due to answered. swap_p50_seconds, swap_most_seconds: from the alias' move until
    answers come from the new champion.
    """

    swaps: int
    users: int
    answers: int
    events: int
    failed: int
    mixed: int
    first_mixed: str
    p50_ms: float
    p99_ms: float
    most_ms: float
    swap_p50_seconds: float
    swap_most_seconds: float


@dataclass
class _Load:
    """Requests that leave at their time, whatever became of the ones before, until they are to end.

    Four of five ask for a list, one posts an impression: it is logged and followed but teaches nothing, so that each
    version gives the same lists all the time.
    """

    port: int
    users: Sequence[str]
    lists: Lists
    rate: float
    taken: list[float] = field(default_factory=list)
    by_version: Counter[str] = field(default_factory=Counter)
    events: int = 0
    failed: int = 0
    mixed: list[str] = field(default_factory=list)
    ending: bool = False

    async def run(self) -> None:
        pool: asyncio.Queue[Connection] = asyncio.Queue()
        for _ in range(_CONNECTIONS):
            pool.put_nowait(Connection(self.port))
        began, place, tasks = time.perf_counter(), 0, []
        while not self.ending:
            due = began + place / self.rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.append(asyncio.create_task(self._one(pool, place, due)))
            place += 1
        await asyncio.gather(*tasks)
        while not pool.empty():
            pool.get_nowait().close()

    async def _one(self, pool: asyncio.Queue[Connection], place: int, due: float) -> None:
        user = self.users[place % len(self.users)]
        request = _ask(user) if place % 5 else _impression(user, next(iter(self.lists.values()))[user][0])
        connection = await pool.get()
        try:
            status, body = await connection.exchange(request)
        except (OSError, asyncio.IncompleteReadError):
            connection.close()
            connection, status, body = Connection(self.port), 0, b""
        finally:
            pool.put_nowait(connection)
        self.taken.append(time.perf_counter() - due)
        if status != 200:
            self.failed += 1
        elif place % 5:
            self._answered(user, json.loads(body))
        else:
            self.events += 1

    def _answered(self, user: str, answer: dict) -> None:
        version, items = answer["model_version"], [one["item_id"] for one in answer["items"]]
        self.by_version[version] += 1
        if self.lists.get(version, {}).get(user) != items:
            self.mixed.append(f"version {version} for {user}: {', '.join(items)}")


def _ask(user: str) -> Request:
    return http("POST", "/api/v1/recommend", {"user_id": user, "n": _N})


def _impression(user: str, item: str) -> Request:
    return http("POST", "/api/v1/events", {"events": [{"user_id": user, "item_id": item, "kind": "impression"}]})


def lists_of(port: int, version: str, users: Sequence[str]) -> dict[str, list[str]]:
    """What each user gets from a service that answers with this version.

    Raises:
        ValueError: another version answers.
    """
    return asyncio.run(_lists(port, version, users))


def swap_under_load(port: int, seat: Callable[[str], None], lists: Lists, *, rate: float, swaps: int) -> Swaps:
    """Let two versions change places, again and again, under `rate` requests a second.

    Args:
        port: of a service whose lists change with events only (of a data set that has ended).
        seat: makes a version the champion.
        lists: of the two versions, from services that have loaded nothing else. Users for whom both have the same list
            do not ask: mixing would not show there.

    Raises:
        TimeoutError: a version did not come to answer. ValueError: both versions have the same list for everybody.
    """
    return asyncio.run(_swaps(port, seat, lists, rate, swaps))


async def _swaps(port: int, seat: Callable[[str], None], lists: Lists, rate: float, swaps: int) -> Swaps:
    first, second = versions = tuple(lists)
    unlike = [user for user in lists[first] if lists[first][user] != lists[second][user]]
    if not unlike:
        raise ValueError(f"versions {first} and {second} have the same list for everybody")
    await asyncio.to_thread(seat, first)
    await _until_answers(port, first, unlike[0])
    load = _Load(port, unlike, lists, rate)
    running = asyncio.create_task(load.run())
    seconds = []
    try:
        for number in range(swaps):
            version = versions[(number + 1) % 2]
            before, moved = load.by_version[version], time.perf_counter()
            await asyncio.to_thread(seat, version)
            while load.by_version[version] == before:
                if running.done():
                    await running
                if time.perf_counter() - moved > _SWAP_SECONDS:
                    raise TimeoutError(f"version {version} does not answer {_SWAP_SECONDS:g} s after it was seated")
                await asyncio.sleep(0.005)
            seconds.append(time.perf_counter() - moved)
    finally:
        load.ending = True
        await running
    taken = 1000 * np.array(load.taken)
    return Swaps(
        swaps=swaps,
        users=len(unlike),
        answers=sum(load.by_version.values()),
        events=load.events,
        failed=load.failed,
        mixed=len(load.mixed),
        first_mixed=load.mixed[0] if load.mixed else "",
        p50_ms=float(np.quantile(taken, 0.5)),
        p99_ms=float(np.quantile(taken, 0.99)),
        most_ms=float(taken.max()),
        swap_p50_seconds=float(np.median(seconds)),
        swap_most_seconds=max(seconds),
    )


async def _lists(port: int, version: str, users: Sequence[str]) -> dict[str, list[str]]:
    connection, found = Connection(port), {}
    try:
        for user in users:
            answer = await _asked(connection, user)
            if answer["model_version"] != version:
                raise ValueError(f"version {answer['model_version']} answers and not {version}")
            found[user] = [one["item_id"] for one in answer["items"]]
    finally:
        connection.close()
    return found


async def _until_answers(port: int, version: str, user: str) -> None:
    connection, deadline = Connection(port), time.perf_counter() + _SWAP_SECONDS
    try:
        while (await _asked(connection, user))["model_version"] != version:
            if time.perf_counter() > deadline:
                raise TimeoutError(f"version {version} does not answer {_SWAP_SECONDS:g} s after it was seated")
            await asyncio.sleep(0.02)
    finally:
        connection.close()


async def _asked(connection: Connection, user: str) -> dict:
    status, body = await connection.exchange(_ask(user))
    if status != 200:
        raise RuntimeError(f"asked for a list of {user}, the service answers {status}: {body[:200]!r}")
    return json.loads(body)

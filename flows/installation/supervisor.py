"""Starts services in the order of their needs, starts again what dies, and stops all.

One thread looks at everything in turn. Nothing is imported here that takes long, so that it lives in a few megabytes.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from types import MappingProxyType

from flows.children import child
from flows.installation import marked, ports
from flows.installation.services import Service
from rectory.errors import RectoryError

WAITING, STARTING, HEALTHY, PAUSING = "waiting", "starting", "healthy", "pausing"
DONE, FAILED = "done", "failed"  # of a service that ends
REFUSED = "refused"
_WRONG_USE = 2
_TAIL_LINES = 12


@dataclass(frozen=True)
class Pace:
    """All in seconds, but for the two counts."""

    tick: float = 0.2
    probe: float = 10.0
    """Between two looks at a healthy service."""
    patience: float = 120.0
    """A service that answers nothing for so long hangs, and is started again."""
    start: float = 600.0
    """A service that is not healthy by then will not be."""
    first_pause: float = 1.0
    longest_pause: float = 60.0
    calm: float = 60.0
    """Healthy for so long: what went before is forgotten."""
    grace: float = 15.0
    """To stop in, before it is made to."""
    loop: int = 4
    """Deaths in a row that are called a crash loop."""
    boot: int = 4
    """Deaths in a row, before all were healthy for the first time, that end the installation."""


@dataclass
class Supervised:
    """One service and what has become of it."""

    service: Service
    log: Path
    state: str = WAITING
    process: Popen[str] | None = None
    running: ExitStack = field(default_factory=ExitStack)
    since: float = 0.0
    """Monotonic time of the last change of state."""
    answered: float = 0.0
    looked: float = 0.0
    again_at: float = 0.0
    deaths: int = 0
    """In a row, without a calm time in between."""
    restarts: int = 0
    told: str = ""
    """Why it refused, as told last."""
    seen: float | None = None
    """Change time of the watched file that the last start knew."""

    @property
    def ready(self) -> bool:
        """What needs it can start: it is healthy, or over if it is one that ends."""
        return self.state in ((DONE, FAILED) if self.service.once else (HEALTHY, REFUSED))

    def turn(self, state: str) -> None:
        self.state, self.since = state, time.monotonic()

    def tail(self) -> str:
        """Last lines of its output."""
        if not self.log.is_file():
            return ""
        with self.log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 8192))
            text = file.read().decode("utf-8", errors="replace")
        return "\n".join(text.strip().splitlines()[-_TAIL_LINES:])


class Supervisor:
    """Keeps `services` running until told to stop.

    Args:
        services: in the order of their start.
        log: service -> file for its output.
        tell: told in words what happens: (service, text).
        changed: told whenever a process came or went, from the time on when all were healthy.
        environ: environment that all inherit.
    """

    def __init__(
        self,
        services: Sequence[Service],
        log: Callable[[str], Path],
        tell: Callable[[str, str], None],
        *,
        changed: Callable[[Mapping[str, int]], None] = lambda _pids: None,
        environ: Mapping[str, str] = MappingProxyType({}),
        pace: Pace | None = None,
    ) -> None:
        self.pace = pace or Pace()
        self.token = secrets.token_hex(8)
        self.all = {one.name: Supervised(one, log(one.name)) for one in services}
        self._tell, self._changed, self._environ = tell, changed, environ
        self._stopping = False
        self._booted = False

    @property
    def pids(self) -> dict[str, int]:
        """Processes that run now."""
        return {name: one.process.pid for name, one in self.all.items() if one.process and one.process.poll() is None}

    def check_ports(self) -> None:
        """Raises:
        RectoryError: somebody else listens where a service must; says who.
        """
        problems = [
            f"{one.name} needs port {one.port}, which {ports.holder(one.port)} has taken: end that process, or set "
            f"RECTORY_{one.name.upper()}_PORT to another port"
            for one in (supervised.service for supervised in self.all.values())
            if one.port and ports.taken(one.host, one.port)
        ]
        if problems:
            raise RectoryError(f"{'; '.join(problems)}.")

    def ask_to_stop(self) -> None:
        """From a signal handler: the loop ends at its next turn. Asked twice, all is made to end at once."""
        if self._stopping:
            for process in marked.find(self.token):
                process.kill()
        self._stopping = True

    def run(self, booted: Callable[[], None]) -> None:
        """Start all, keep them running; `booted` is called when all are healthy for the first time.

        Returns when asked to stop, or when all were services that end and have. All is stopped then.

        Raises:
            RectoryError: a service cannot be started, or there was nothing but one that failed; all are stopped.
        """
        try:
            while not self._stopping and not all(one.service.once and one.ready for one in self.all.values()):
                for one in self.all.values():
                    self._look(one)
                if not self._booted and all(one.ready for one in self.all.values()):
                    self._booted = True
                    self._told_of_change()
                    booted()
                time.sleep(self.pace.tick)
        finally:
            self.stop()
        failed = [name for name, one in self.all.items() if one.state == FAILED]
        if len(failed) == len(self.all):
            raise RectoryError(f"{', '.join(failed)} failed; the reason stands above.")

    def stop(self) -> None:
        """Stop all, last started first: whoever writes down the end of a run is still there to hear of it."""
        for one in reversed(self.all.values()):
            marked.end(marked.find(self.token, one.service.name), self.pace.grace)
            one.running.close()
            one.process = None
        marked.end(marked.find(self.token), self.pace.grace)

    def _look(self, one: Supervised) -> None:
        now = time.monotonic()
        if one.process is not None and (code := one.process.poll()) is not None:
            self._ended(one, code)
        elif self._may_start(one, now):
            self._start(one)
        elif one.state == STARTING and not one.service.once:
            self._await(one, now)
        elif one.state == HEALTHY:
            self._watch_over(one, now)
        elif one.service.once and one.ready and _change_time(one.service.watches) != one.seen:
            self._tell(one.service.name, f"{one.service.watches} changed")
            one.deaths = 0
            self._start(one)

    def _may_start(self, one: Supervised, now: float) -> bool:
        if one.state in (PAUSING, REFUSED):
            return now >= one.again_at
        return one.state == WAITING and all(self.all[name].ready for name in one.service.needs)

    def _start(self, one: Supervised) -> None:
        service = one.service
        if service.port and ports.taken(service.host, service.port):
            self._pause(one, f"port {service.port} is taken by {ports.holder(service.port)}")
            return
        _rotate(one.log)
        environment = {**service.environment(self._environ), **marked.mark(self.token, service.name)}
        one.seen = _change_time(service.watches)
        one.process = one.running.enter_context(child(service.command, log=one.log, env=environment, serves=True))
        one.turn(STARTING)
        self._told_of_change()

    def _await(self, one: Supervised, now: float) -> None:
        if self._answers(one.service):
            one.turn(HEALTHY)
            one.answered = one.looked = now
            if one.restarts:
                self._tell(one.service.name, "healthy again")
        elif now - one.since > self.pace.start:
            self._kill(one, f"was not healthy after {self.pace.start:.0f} s")

    def _watch_over(self, one: Supervised, now: float) -> None:
        if one.deaths and now - one.since > self.pace.calm:
            one.deaths = 0
        if now - one.looked < self.pace.probe:
            return
        one.looked = now
        _rotate(one.log)
        if self._answers(one.service):
            one.answered = now
        elif now - one.answered > self.pace.patience:
            self._kill(one, f"has answered nothing for {now - one.answered:.0f} s")

    def _answers(self, service: Service) -> bool:
        if service.health is None:
            return True
        try:
            with urllib.request.urlopen(service.health, timeout=5) as answer:  # noqa: S310 - our own http address
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError, ValueError):
            return False

    def _kill(self, one: Supervised, why: str) -> None:
        self._tell(one.service.name, f"{why}: it is stopped and started again")
        marked.end(marked.find(self.token, one.service.name), self.pace.grace)

    def _ended(self, one: Supervised, code: int) -> None:
        one.running.close()
        one.process = None
        if one.service.once and code == 0:
            one.turn(DONE)
        elif one.service.once and (code == _WRONG_USE or one.deaths + 1 >= self.pace.loop):
            one.turn(FAILED)
            self._tell(one.service.name, f"{_end(code)}. {one.service.when_it_fails}\n{one.tail()}")
        elif one.service.may_refuse and code == _WRONG_USE:
            self._refused(one)
        else:
            if not one.service.spares_its_own:
                # A server's workers would hold its port, and answer for it.
                marked.end(marked.find(self.token, one.service.name), self.pace.grace)
            self._pause(one, _end(code))
        self._told_of_change()

    def _refused(self, one: Supervised) -> None:
        one.turn(REFUSED)
        one.again_at = time.monotonic() + self.pace.longest_pause
        if one.tail() != one.told:
            one.told = one.tail()
            self._tell(one.service.name, f"refuses to start:\n{one.told}")

    def _told_of_change(self) -> None:
        if self._booted:
            self._changed(self.pids)

    def _pause(self, one: Supervised, why: str) -> None:
        """Wait before the next start, twice as long each time.

        Raises:
            RectoryError: it has never been healthy and will hardly be.
        """
        one.deaths += 1
        one.restarts += 1
        if not self._booted and one.deaths >= self.pace.boot:
            raise RectoryError(
                f"{one.service.name} cannot be started: it {why}, {one.deaths} times in a row. "
                f"The end of {one.log}:\n{one.tail()}"
            )
        pause = min(self.pace.first_pause * 2 ** (one.deaths - 1), self.pace.longest_pause)
        text = f"{why}; started again in {pause:.0f} s"
        if one.deaths == self.pace.loop:
            text = f"crash loop: {why}, {one.deaths} times in a row. It goes on being started. {one.log}:\n{one.tail()}"
        self._tell(one.service.name, text)
        one.again_at = time.monotonic() + pause
        one.turn(PAUSING)


def _end(code: int) -> str:
    return f"ended with {code}" if code >= 0 else f"was killed by signal {-code}"


def _change_time(path: Path | None) -> float | None:
    try:
        return path.stat().st_mtime if path else None
    except OSError:
        return None


def _rotate(log: Path, most_bytes: int = 20_000_000) -> None:
    """One older file is kept. Copied and cut: its writer holds it open and, appending, goes on at the start."""
    if log.is_file() and log.stat().st_size > most_bytes:
        shutil.copyfile(log, log.with_suffix(".old.log"))
        os.truncate(log, 0)

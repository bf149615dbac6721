"""Faults, each done for real, and what became of the flow that was at work."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil

from benchmarks.soak.station import Station, until
from rectory.files import exclusive
from rectory.registry.store import blocked
from rectory.registry.versions import Version

_LONGEST_DELAY = 12.0
_BROKEN = "\nsplit: [this is: no YAML\n"


@dataclass(frozen=True)
class Stage:
    """One flow of a day. options: what its deployment is asked for."""

    flow: str
    options: dict[str, Any]


@dataclass(frozen=True)
class Happened:
    """One fault and what followed. ends: final states of the stage's flow runs, in order."""

    day: int
    flow: str
    fault: str
    ends: tuple[str, ...]
    text: str


class Faults:
    """Chooses by seed and does what was chosen.

    Args:
        share: chance of a fault in each stage of a day, and of each fault of the data on a day.
    """

    def __init__(self, station: Station, seed: int, share: float) -> None:
        self.station, self.share = station, share
        self.happened: list[Happened] = []
        self._draw = random.Random(f"soak {seed}")  # noqa: S311 - no secret
        everywhere = (
            self._kill_worker,
            self._kill_prefect,
            self._kill_mlflow,
            self._kill_flow,
            self._twice,
            self._broken_params,
        )
        self._by_flow: dict[str, tuple[Callable[[Stage], tuple[list[str], str]], ...]] = {
            "train": (*everywhere, self._damaged_challenger, self._damaged_challenger, self._race),
            "promote": (*everywhere, self._rollback),
        }
        self._everywhere = everywhere

    def of_the_data(self) -> list[str]:
        """Names of the faults that a day's file has."""
        return [name for name in ("poisoned_file", "same_file_twice") if self._draw.random() < self.share]

    def stage(self, day: int, stage: Stage) -> None:
        """Run a stage to its good end, with or without a fault on the way.

        Raises:
            RectoryError: it never came to a good end.
        """
        chosen = None
        if self._draw.random() < self.share:
            chosen = self._draw.choice(self._by_flow.get(stage.flow, self._everywhere))
        if chosen is None:
            self.station.until_done(stage.flow, stage.options, [self.station.start(stage.flow, stage.options)])
            return
        name = chosen.__name__.strip("_")
        self.station.say(f"  {stage.flow}: {name}")
        began = time.monotonic()
        runs, text = chosen(stage)
        ends = self.station.until_done(stage.flow, stage.options, runs)
        took = f"{text + '; ' if text else ''}completed after {time.monotonic() - began:.0f} s"
        self.happened.append(Happened(day, stage.flow, name, tuple(ends), took))

    def _begin(self, stage: Stage) -> str:
        """A run that is at work, for a random moment of it."""
        run = self.station.start(stage.flow, stage.options)
        # Also while the worker takes it up.
        if self._draw.random() < 0.8:
            self.station.until_at_work(run)
        threading.Event().wait(self._draw.uniform(0, _LONGEST_DELAY))
        return run

    def _kill(self, service: str, stage: Stage) -> tuple[list[str], str]:
        run = self._begin(stage)
        up = self.station.up
        before = up.text.count(f"{service} healthy again")
        began = time.monotonic()
        up.kill(service)
        until(lambda: up.text.count(f"{service} healthy again") > before, f"{service} is healthy again")
        return [run], f"healthy again after {time.monotonic() - began:.0f} s"

    def _kill_worker(self, stage: Stage) -> tuple[list[str], str]:
        return self._kill("worker", stage)

    def _kill_prefect(self, stage: Stage) -> tuple[list[str], str]:
        return self._kill("prefect", stage)

    def _kill_mlflow(self, stage: Stage) -> tuple[list[str], str]:
        return self._kill("mlflow", stage)

    def _kill_flow(self, stage: Stage) -> tuple[list[str], str]:
        run = self._begin(stage)
        found = self.station.processes(run)
        for process in found:
            with suppress(psutil.NoSuchProcess):
                os.kill(process.pid, signal.SIGKILL)
        return [run], f"{len(found)} processes of it were killed"

    def _twice(self, stage: Stage) -> tuple[list[str], str]:
        return [self.station.start(stage.flow, stage.options) for _ in range(2)], "two runs of the same"

    def _broken_params(self, stage: Stage) -> tuple[list[str], str]:
        up, file = self.station.up, self.station.workspace.params_file
        good, before = file.read_bytes(), up.text.count("deployments ended with 2")
        file.write_bytes(good + _BROKEN.encode())
        try:
            until(lambda: up.text.count("deployments ended with 2") > before, "the broken params.yaml is told")
            run = self.station.start(stage.flow, stage.options)
            state = self.station.end(run)
        finally:
            changed = up.text.count("params.yaml changed")
            file.write_bytes(good)
        until(lambda: up.text.count("params.yaml changed") > changed, "the mended params.yaml is seen")
        said = "params.yaml" in str(state["message"])
        return [run], f"a run in between was {state['name']}{' and params.yaml named' if said else ''}"

    def _race(self, stage: Stage) -> tuple[list[str], str]:
        """Three promotions of the same run: the one that the training's event starts, and two more."""
        station = self.station
        deployment = station.prefect("deployments/name/promote/promote")
        station.prefect(f"deployments/{deployment['id']}", {"concurrency_limit": 3}, method="PATCH")
        try:
            # They meet at the lock, where each has still to judge.
            with exclusive(station.workspace.lock("promotion"), "the soak", timeout_seconds=900):
                run = station.start(stage.flow, stage.options)
                station.end(run)
                trained = self._newest_trained()
                others = [station.start("promote", {"run_id": trained}) for _ in range(2)] if trained else []
                for other in others:
                    station.until_at_work(other)
            ends = [str(station.end(other)["name"]) for other in others]
        finally:
            station.prefect(f"deployments/{deployment['id']}", {"concurrency_limit": 1}, method="PATCH")
        station.until_quiet()
        return [run], f"run {trained} was judged by three at once ({', '.join(ends)}); champion {station.champion()}"

    def _rollback(self, stage: Stage) -> tuple[list[str], str]:
        """Somebody does not like the champion."""
        run = self.station.start(stage.flow, stage.options)
        self.station.end(run)
        previous, before = self.station.store.previous(), self.station.champion()
        if previous is None or blocked(previous) or previous.version == before:
            return [run], "there was nobody to go back to"
        options = {"reason": "the soak does not like it", "by": "soak"}
        self.station.until_done("rollback", options, [self.station.start("rollback", options)])
        return [run], f"version {before} was rolled back to {self.station.champion()}"

    def _damaged_challenger(self, stage: Stage) -> tuple[list[str], str]:
        """The files of what was just registered are damaged before the gate can see them."""
        station = self.station
        champion = station.champion()
        with exclusive(station.workspace.lock("promotion"), "the soak", timeout_seconds=900):
            run = station.start(stage.flow, stage.options)
            ended = station.end(run)
            challenger = self._challenger(champion)
            if ended["name"] != "Completed" or challenger is None:
                return [run], "nothing new was registered"
            folder = station.store.bundle_folder(challenger)
            largest = max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
            whole = largest.read_bytes()
            largest.write_bytes(whole[: len(whole) // 2])
        station.until_quiet()
        now = station.champion()
        if now == challenger.version:
            station.broken.append(f"version {now}, whose {largest.name} was damaged, was seated")
        return [run], f"{largest.name} of version {challenger.version} cut in half; champion {now} serves"

    def _challenger(self, champion: str | None) -> Version | None:
        """The newest version that is no baseline; None if it has been champion or is an old one."""
        newest = next((one for one in self.station.store.versions() if not one.baseline), None)
        if newest is None or newest.version == champion or newest.tags.get("decision"):
            return None
        return newest

    def _newest_trained(self) -> str | None:
        found = sorted(self.station.workspace.runs.glob("*/registry/registered.json"))
        return found[-1].parent.parent.name if found else None

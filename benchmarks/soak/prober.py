"""Asks all the time who is champion, whether its files are whole, and now and then lets it answer."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from rectory.errors import RectoryError, StoreError
from rectory.registry.seated import champion_number
from rectory.registry.store import ModelStore
from rectory.workspace import Workspace

LOOK_SECONDS = 0.25
LOAD_SECONDS = 8.0
_USERS = ["00001", "00002", "never seen"]


@dataclass
class Probed:
    """looks: who holds the seat, are the files there. loads: `models:/recommender@champion` loaded anew and asked.

    failed: what was found instead of a champion. unanswered: the store was locked for seconds; asked again at once.
    """

    looks: int = 0
    loads: int = 0
    unanswered: int = 0
    failed: list[str] = field(default_factory=list)
    longest_gap: float = 0.0
    """Seconds from a look that found no champion, or no answer, to the next one that did."""
    seen: list[str] = field(default_factory=list)
    """Champions in the order in which they were seen."""


class Prober(threading.Thread):
    """Probes from the first champion on until `stop`. It reads the store itself, so that no server is in between."""

    def __init__(self, project: Path) -> None:
        super().__init__(daemon=True, name="prober")
        self.workspace = Workspace(project, project)
        self.probed = Probed()
        self._store = ModelStore(self.workspace, patience_seconds=30)
        self._files: dict[str, dict[Path, int]] = {}
        self._done = threading.Event()
        self._begun = False
        self._away: float | None = None

    def stop(self) -> Probed:
        self._done.set()
        self.join()
        return self.probed

    def run(self) -> None:
        loaded = 0.0
        while not self._done.wait(LOOK_SECONDS):
            began = time.monotonic()
            try:
                number = champion_number(self.workspace)
                if number is None and not self._begun:
                    continue
                self._look(number)
                if time.monotonic() - loaded > LOAD_SECONDS:
                    self._load()
                    loaded = time.monotonic()
            except StoreError as error:
                if self._begun:
                    self._away = self._away or began
                    self.probed.unanswered += 1
                    if "lock" not in str(error):
                        self._fail(str(error))
            except (RectoryError, OSError, ValueError, KeyError) as error:
                self._fail(f"{type(error).__name__}: {error}")

    def _look(self, number: str | None) -> None:
        self.probed.looks += 1
        if number is None:
            self._fail("nobody holds the seat")
            return
        if number not in self._files:
            folder = self._store.bundle_folder(self._store.version(number))
            self._files[number] = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
        if self.probed.seen[-1:] != [number]:
            self.probed.seen.append(number)
        wrong = [path.name for path, size in self._files[number].items() if _size(path) != size]
        if wrong or not self._files[number]:
            self._fail(f"files of version {number} are not whole: {wrong}")
            return
        self._begun = True
        if self._away is not None:
            self.probed.longest_gap = max(self.probed.longest_gap, time.monotonic() - self._away)
            self._away = None

    def _load(self) -> None:
        """As a consumer does it who knows nothing but the alias."""

        def ask() -> Any:
            with self._store.connection.fluent() as mlflow:
                model = mlflow.pyfunc.load_model("models:/recommender@champion")
                return model.predict(pd.DataFrame({"user_id": _USERS}), params={"k": 5})

        lists = self._store.connection.call(ask, "load the champion")
        self.probed.loads += 1
        if len(lists) != 5 * len(_USERS):
            self._fail(f"the champion gave {len(lists)} rows for {len(_USERS)} users")

    def _fail(self, text: str) -> None:
        self._away = self._away or time.monotonic()
        self.probed.failed.append(f"{time.strftime('%H:%M:%S')} {text}"[:400])


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None

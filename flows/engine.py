"""Where commands run: beside this process (local) or on a Dask cluster (dask). docs/scale.md tells people about both.

A command is `python -m tasks.<step>`, the very one that `dvc repro` uses, whatever runs it: so the same bytes come out.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from flows.children import child
from rectory import errors
from rectory.params import Params
from rectory.workspace import Workspace
from tasks import step_label

_LAST_WORDS = 4000


@dataclass(frozen=True)
class StepCommand:
    """`python -m tasks.<step> [argument]` on a workspace, in which its params lie.

    name: for its log, where several commands share step and argument.
    """

    step: str
    workspace: Workspace
    argument: str | None = None
    name: str | None = None

    @property
    def label(self) -> str:
        return self.name or step_label(self.step, self.argument)

    @property
    def log(self) -> Path:
        return self.workspace.root / "logs" / f"{self.label}.log"

    def words(self, *, absolute: bool) -> list[str]:
        """Arguments after the interpreter's name; absolute paths where another machine shall find them."""
        places = {
            "--workspace": self.workspace.root,
            "--project": self.workspace.project,
            "--params": params_file(self.workspace),
        }
        options = [word for name, path in places.items() for word in (name, str(path.resolve() if absolute else path))]
        return ["-m", f"tasks.{self.step}", *([] if self.argument is None else [self.argument]), *options]


@dataclass(frozen=True)
class Ended:
    """code: as of a process, below 0 for a signal. words: end of what it printed. where: it ran; "" is here."""

    code: int
    words: str
    where: str = ""

    def raise_if_failed(self, label: str) -> None:
        """Raises:
        RectoryError: of the kind that the exit code stands for, with the last words.
        """
        if self.code != 0:
            raise error_of(self.code, label, self.words)


class Running(Protocol):
    """A command at work. worker: what it goes by, for those who have to clean up after it."""

    @property
    def worker(self) -> int | str: ...

    def wait(self, seconds: float | None = None) -> Ended | None:
        """How it ended; None: not within `seconds`."""
        ...


class Engine(Protocol):
    """slots: one for each command that may run at a time; who starts one holds a slot. workers: how many those are.

    shards: into how many the users are cut for scoring unless params.yaml says it.
    """

    slots: threading.Semaphore
    workers: int
    shards: int

    def start(self, command: StepCommand) -> AbstractContextManager[Running]:
        """Run a command; one that is still at work when the block ends is stopped."""
        ...


def run_command(engine: Engine, command: StepCommand, label: str | None = None) -> Ended:
    """Run a command to its end; the caller holds a slot.

    Raises:
        RectoryError: it failed; of the kind that its exit code stands for.
    """
    with engine.start(command) as running:
        while (ended := running.wait()) is None:
            continue
    ended.raise_if_failed(label or command.label)
    return ended


@contextmanager
def engine_of(params: Params, workspace: Workspace, workers: int = 0) -> Iterator[Engine]:
    """The engine that `engine:` in params.yaml names, for the length of the block.

    Args:
        workspace: of the run; a cluster's workers must see its folder and the project's.
        workers: commands at a time; 0: as train.workers says, else one for each core or thread of the cluster.
    Raises:
        UsageError: the cluster has no address, cannot be reached or is not fit.
    """
    wanted = workers or params.train.workers
    if params.engine.kind == "local":
        yield LocalEngine(wanted or os.cpu_count() or 1)
        return
    from flows.dask_engine import dask_engine

    with dask_engine(params.engine, workspace, wanted) as engine:
        yield engine


class LocalEngine:
    """Child processes of this one."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        # A shard loads the model anew: on one machine that pays for large logs only, and is asked for.
        self.shards = 1
        self.slots = threading.Semaphore(workers)

    @contextmanager
    def start(self, command: StepCommand) -> Iterator[Running]:
        with child([sys.executable, *command.words(absolute=False)], log=command.log) as process:
            yield LocalRunning(process, command.log)


class LocalRunning:
    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process, self._log = process, log

    @property
    def worker(self) -> int:
        return self._process.pid

    def wait(self, seconds: float | None = None) -> Ended | None:
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        return Ended(code, last_words(self._log))


def last_words(log: Path) -> str:
    """End of what a command printed."""
    return log.read_text(encoding="utf-8", errors="replace").strip()[-_LAST_WORDS:]


def params_file(workspace: Workspace) -> Path:
    """This run's params, as its processes read them."""
    return workspace.root / "params.yaml"


def error_of(code: int, label: str, output: str) -> errors.RectoryError:
    """What a process's exit code stands for, with its last line."""
    words = output.splitlines()[-1] if output else "it said nothing"
    if code < 0:
        words = f"killed by signal {-code} (out of memory?); its last words: {words}"
    kinds: dict[int, Callable[[str], errors.RectoryError]] = {2: errors.UsageError, 3: errors.DataError}
    return kinds.get(code, errors.RectoryError)(f"{label} failed: {words}")

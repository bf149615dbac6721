"""The Dask engine: a run's commands on a cluster that exists, given by its scheduler's address.

Prefect's tasks stay in this process, so workers need neither its API nor the store's credentials: only commands travel,
as strings. docs/adr/0010-dask-engine.md weighs it against moving the tasks themselves.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows import on_worker
from flows.children import InterruptedRun, interrupted
from flows.engine import Ended, StepCommand
from rectory.errors import RectoryError, UsageError
from rectory.params.sections import EngineParams
from rectory.workspace import Workspace

if TYPE_CHECKING:
    from distributed import Client, Future

ADDRESS_VARIABLE = "RECTORY_DASK_ADDRESS"
_CONNECT_SECONDS = 30
_POLL_SECONDS = 0.5
_MOST_AT_ONCE = 64


@contextmanager
def dask_engine(params: EngineParams, workspace: Workspace, workers: int) -> Iterator[DaskEngine]:
    """Connect to the cluster and see that every worker is fit; disconnect when the block ends.

    Raises:
        UsageError: no address, nobody there, no worker, or one that cannot be used.
    """
    address = os.environ.get(ADDRESS_VARIABLE) or params.address
    if not address:
        raise UsageError(
            f"engine.kind is dask and no address is given: set {ADDRESS_VARIABLE}, or engine.address in params.yaml, "
            "to the scheduler's, e.g. tcp://10.0.0.5:8786; `dask scheduler` prints it. Or set engine.kind to local."
        )
    try:
        from distributed import Client
    except ImportError:
        raise UsageError("engine.kind is dask, and Dask is not installed: pip install 'rectory[dask]'") from None
    try:
        client = Client(address, timeout=_CONNECT_SECONDS, set_as_default=False, name="rectory")
    except (OSError, TimeoutError, ValueError) as error:
        raise UsageError(
            f"no Dask scheduler answers at {address} ({str(error).splitlines()[0]}). Start one (`dask scheduler`), or "
            f"correct {ADDRESS_VARIABLE} or engine.address."
        ) from error
    with client:
        probe = _leave_probe(workspace)
        try:
            threads = _look_at_workers(client, address, probe)
            yield DaskEngine(client, address, probe, workers, threads)
        finally:
            for left in probe[0].parent.glob(f"{probe[0].name}*"):
                left.unlink(missing_ok=True)


def _leave_probe(workspace: Workspace) -> tuple[Path, str]:
    """A file whose words only those know who see this workspace."""
    token = secrets.token_hex(16)
    path = workspace.root.resolve() / "logs" / f"seen-by-workers-{token[:8]}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(token, encoding="utf-8")
    return path, token


def _look_at_workers(client: Client, address: str, probe: tuple[Path, str]) -> int:
    """Threads of the cluster, all of whose workers are fit."""
    try:
        client.wait_for_workers(1, timeout=_CONNECT_SECONDS)
    except TimeoutError as error:
        raise UsageError(
            f"the Dask cluster at {address} has no workers. Start some: `dask worker {address} --nthreads 1`."
        ) from error
    answers: dict[str, Any] = client.run(on_worker.unfit, probe, on_worker.identity(), on_error="return")
    for where, answer in answers.items():
        if isinstance(answer, ImportError):
            raise UsageError(
                f"Dask worker {where} cannot import Rectory ({answer}): install it there, with its lock file."
            )
        if isinstance(answer, BaseException):
            raise UsageError(f"Dask worker {where} could not be asked whether it is fit: {answer}") from answer
        if answer is not None:
            raise UsageError(f"Dask worker {where} cannot be used: {answer}.")
    left = len(list(probe[0].parent.glob(f"{probe[0].name}.*")))
    if left < len(answers):
        raise UsageError(
            f"{len(answers)} Dask workers wrote to {probe[0].parent} and {left} of their files are seen here: the "
            "folder is not one that all machines share. Mount the project's folder under the same path everywhere."
        )
    return sum(client.nthreads().values())


class DaskEngine:
    """Commands on the workers of a cluster; a command whose worker is lost runs again on another.

    Args:
        workers: commands at a time; 0: as many as the cluster takes.
        threads: of the cluster now; workers may come and go.
    """

    def __init__(self, client: Client, address: str, probe: tuple[Path, str], workers: int, threads: int) -> None:
        self._client, self._address, self._probe = client, address, probe
        self.workers = self.shards = workers or threads
        # The scheduler queues what its workers have no thread for, and a cluster may grow.
        self.slots = threading.Semaphore(workers or _MOST_AT_ONCE)
        self._identity = on_worker.identity()

    @contextmanager
    def start(self, command: StepCommand) -> Iterator[DaskRunning]:
        if interrupted():
            raise InterruptedRun(f"interrupted before {command.label} started")
        remote = on_worker.RemoteCommand(
            label=command.label,
            words=tuple(command.words(absolute=True)),
            log=command.log.resolve(),
            project=command.workspace.project.resolve(),
            probe=self._probe,
            identity=self._identity,
        )
        key = f"{command.label}-{secrets.token_hex(6)}"
        future = self._client.submit(on_worker.run_here, remote, key=key, pure=False)
        running = DaskRunning(future, command.label, self._address)
        try:
            yield running
        finally:
            if not future.done():
                # Its worker notices within a moment and stops the process.
                future.cancel(force=True)


class DaskRunning:
    def __init__(self, future: Future, label: str, address: str) -> None:
        self._future, self._label, self._address = future, label, address
        self._done = threading.Event()
        future.add_done_callback(lambda _: self._done.set())

    @property
    def worker(self) -> str:
        return self._label

    def wait(self, seconds: float | None = None) -> Ended | None:
        """Raises:
        InterruptedRun: Ctrl-C came. RectoryError: the cluster lost it for good.
        """
        left = seconds
        while not self._done.wait(_POLL_SECONDS if left is None else min(left, _POLL_SECONDS)):
            if interrupted():
                raise InterruptedRun(f"interrupted while {self._label} was at work")
            if left is not None and (left := left - _POLL_SECONDS) <= 0:
                return None
        return self._result()

    def _result(self) -> Ended:
        from asyncio import CancelledError

        from distributed import KilledWorker

        try:
            ended: Ended = self._future.result()
        except KilledWorker as error:
            raise RectoryError(
                f"{self._label} failed: each Dask worker that ran it was lost, {error.last_worker.address} the last "
                "(out of memory?). Look into the workers' logs; give each more memory, or fewer threads (--nthreads 1)."
            ) from error
        except (CancelledError, OSError) as error:
            raise RectoryError(
                f"{self._label} failed: the Dask scheduler at {self._address} is gone ({type(error).__name__}). Start "
                "it and its workers again and run again: what was done is kept."
            ) from error
        except on_worker.UnfitWorker as error:
            raise UsageError(f"{self._label} failed: {error}.") from error
        return ended

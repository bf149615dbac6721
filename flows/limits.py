"""Never two trainings and never two promotions at once, whoever starts them.

On one machine a file lock sees to it, with or without a server; `rectory run` holds it for its whole length. Across
machines that share a Prefect server, a global concurrency limit does.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Literal

from rectory.files import exclusive
from rectory.workspace import Workspace

Work = Literal["training", "promotion"]
LIMITS: dict[Work, str] = {"training": "rectory-training", "promotion": "rectory-promotion"}
# Flows that may hold a limit; `promotion` is held by those that judge.
HOLDERS: dict[Work, tuple[str, ...]] = {"training": ("train", "run"), "promotion": ("promote", "run")}
TRAINING_LOCK = "run"
LONGEST_WAIT_SECONDS = timedelta(hours=12).total_seconds()
_LEASE_SECONDS = 300
_LOOK_AFTER_SECONDS = 20.0
_held: set[str] = set()
_guard = threading.Lock()


@contextmanager
def project_at_work(workspace: Workspace, what: str, wait_seconds: float) -> Iterator[None]:
    """Hold the project's training lock for the block; flows that are started in it know that it is theirs.

    Raises:
        BusyError: another process had it for `wait_seconds`.
    """
    with exclusive(workspace.lock(TRAINING_LOCK), what, timeout_seconds=wait_seconds):
        key = str(workspace.lock(TRAINING_LOCK).resolve())
        with _guard:
            _held.add(key)
        try:
            yield
        finally:
            with _guard:
                _held.discard(key)


@contextmanager
def alone(work: Work, workspace: Workspace, *, wait_seconds: float = LONGEST_WAIT_SECONDS) -> Iterator[None]:
    """Hold the file lock (of a training; a promotion takes its own when it judges) and a slot of the global limit."""
    with ExitStack() as stack:
        if work == "training" and str(workspace.lock(TRAINING_LOCK).resolve()) not in _held:
            stack.enter_context(project_at_work(workspace, "training", wait_seconds))
        ensure_limits()
        _enter(stack, work, wait_seconds)
        yield


def ensure_limits() -> None:
    """Create the global limits; one that an operator has changed is left alone."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
    from prefect.exceptions import ObjectAlreadyExists, PrefectHTTPStatusError

    with get_client(sync_client=True) as client:
        known = {one.name for one in client.read_global_concurrency_limits(limit=200)}
        for name in LIMITS.values():
            if name not in known:
                try:
                    client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=1))
                except (ObjectAlreadyExists, PrefectHTTPStatusError) as error:
                    # Another process was quicker.
                    if isinstance(error, PrefectHTTPStatusError) and error.response.status_code != 409:
                        raise


def free_all() -> None:
    """Give all slots back: for a server that has just been started, on which nobody can hold one."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate

    with get_client(sync_client=True) as client:
        for one in client.read_global_concurrency_limits(limit=200):
            if one.name in LIMITS.values() and one.active_slots:
                client.update_global_concurrency_limit(one.name, GlobalConcurrencyLimitUpdate(active_slots=0))


def _enter(stack: ExitStack, work: Work, wait_seconds: float) -> None:
    """Take a slot. One that nobody holds any more is given back first.

    A server keeps leases in memory: when it was restarted while somebody trained, that slot would never come free. So a
    slot that stays taken while no run of ours is at work is an orphan.
    """
    from prefect.concurrency.sync import concurrency

    waited = 0.0
    while True:
        try:
            # A server that is away for a while must not end a training: the file lock holds meanwhile.
            slot = concurrency(
                LIMITS[work],
                occupy=1,
                strict=True,
                timeout_seconds=min(_LOOK_AFTER_SECONDS, wait_seconds),
                lease_duration=_LEASE_SECONDS,
                raise_on_lease_renewal_failure=False,
            )
            stack.enter_context(slot)
            return
        except TimeoutError:
            waited += _LOOK_AFTER_SECONDS
            if not _others_at_work(work):
                free_all_of(work)
            elif waited >= wait_seconds:
                raise


def free_all_of(work: Work) -> None:
    """Give the slots of one limit back."""
    from prefect import get_run_logger
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate

    get_run_logger().warning("%s was taken and no run is at work: freed", LIMITS[work])
    with get_client(sync_client=True) as client:
        client.update_global_concurrency_limit(LIMITS[work], GlobalConcurrencyLimitUpdate(active_slots=0))


def _others_at_work(work: Work) -> bool:
    """Whether another flow run that may hold the limit is running, by what the server knows."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import (
        FlowFilter,
        FlowFilterName,
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType
    from prefect.runtime import flow_run

    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=list(HOLDERS[work]))),
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING]))
            ),
            limit=50,
        )
    return any(str(one.id) != str(flow_run.id) for one in found)

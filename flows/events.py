"""Events that close the loop: what monitor, promote and ingest tell, and automations act on.

All are about a data set: resource id `rectory.dataset.<name>`, so that cool-downs and rules go by data set.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flows.local_server import known_server
from rectory.errors import DataError
from rectory.workspace import Workspace

DRIFT = "rectory.drift.detected"
TRAINED = "rectory.candidates.trained"
PROMOTED = "rectory.champion.promoted"
RENEWED = "rectory.champion.renewed"
REFUSED = "rectory.champion.refused"
WAITING = "rectory.champion.waiting"
ROLLED_BACK = "rectory.champion.rolled-back"
DATA_REFUSED = "rectory.data.refused"
COULD_NOT_ACT = "prefect.automation.action.failed"

RESOURCE = "rectory.dataset."
_MOST_CHARACTERS = 4000
_DELIVERY_SECONDS = 5.0


def emit(event: str, dataset: str, payload: dict[str, Any]) -> None:
    """Tell the Prefect server; texts are cut so that an event stays small."""
    from prefect.events import emit_event

    facts = {
        key: value[:_MOST_CHARACTERS] if isinstance(value, str) else value
        for key, value in {"dataset": dataset, **payload}.items()
    }
    resource = {"prefect.resource.id": f"{RESOURCE}{dataset}", "prefect.resource.name": dataset}
    emit_event(event, resource=resource, payload=facts)


def emit_by_hand(workspace: Workspace, event: str, dataset: str, payload: dict[str, Any]) -> bool:
    """The same from a command that works without a server too: told only if one is known, and delivered.

    Returns:
        Whether there was a server to tell.
    """
    with known_server(workspace) as server:
        if server is None:
            return False
        from prefect.events.worker import EventsWorker

        emit(event, dataset, payload)
        EventsWorker.drain_all(timeout=_DELIVERY_SECONDS)
        return True


@contextmanager
def telling_refusals(dataset: str, run_id: str) -> Iterator[None]:
    """Data that are refused in the block are told to everyone who listens."""
    try:
        yield
    except DataError as error:
        emit(DATA_REFUSED, dataset, {"run_id": run_id, "kind": type(error).__name__, "reason": str(error)})
        raise

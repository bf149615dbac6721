"""Forgetting a user in the live service from outside of it: what `rectory forget` asks of the event log."""

from __future__ import annotations

from rectory.serving.event_log import EventLog
from rectory.serving.store import Store
from rectory.workspace import Workspace


def forget_in_log(workspace: Workspace, user_id: str, lock_seconds: float = 30.0) -> int:
    """Remove a user's events, catalogue row and answers; every running worker forgets within its next look at the log.

    Returns:
        number of events removed; 0 where there is no event log.
    Raises:
        EventStoreError: the store is locked or out of reach; nothing was removed.
    """
    store = Store.of(workspace, lock_seconds)
    if not store.exists:
        return 0
    log = EventLog(store)
    log.open()
    try:
        return log.forget(user_id).result()
    finally:
        log.close()

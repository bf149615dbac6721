"""Forgetting a user of the live service: in the ledger that keeps them out of trainings, and in the event log."""

from __future__ import annotations

import logging

from rectory.data.card import EventsSource, load_card
from rectory.data.forgotten import Forgotten, read_forgotten, remember_to_forget
from rectory.params import load_params
from rectory.registry import audit
from rectory.registry.store import ModelStore
from rectory.serving.event_log import EventLog
from rectory.serving.store import Store
from rectory.workspace import Workspace

_log = logging.getLogger("rectory.serving")


def datasets_of_log(workspace: Workspace) -> list[str]:
    """Data sets whose users are those of the event log: the champion's (else that of params.yaml), all made of the log.

    Raises:
        RectoryError: the model store cannot be asked, or a card cannot be read.
    """
    champion = ModelStore(workspace).champion()
    found = set() if champion is None else {champion.dataset}
    if champion is None and workspace.params_file.is_file():
        found.add(load_params(workspace.params_file).dataset)
    for path in sorted((workspace.project / "datasets").glob("*.yaml")):
        card = load_card(path)
        if isinstance(card.source, EventsSource):
            found.add(card.name)
    return sorted(found)


def remember(workspace: Workspace, user_id: str) -> None:
    """Enter a user into the ledger as `rectory forget` does: no import and no training takes them in again.

    Raises:
        RectoryError: as `datasets_of_log`, or the ledger is locked; it is to be asked for again.
    """
    for dataset in datasets_of_log(workspace):
        if remember_to_forget(workspace, dataset, user_id):
            audit.append(workspace, "forgot a user", {"dataset": dataset, "by": "the live service"})


def ledgers(workspace: Workspace) -> list[Forgotten]:
    """Who is to be forgotten among the users of the event log.

    Raises:
        RectoryError: as `datasets_of_log`.
    """
    if not workspace.forgotten.is_file():
        return []
    return [read_forgotten(workspace, dataset) for dataset in datasets_of_log(workspace)]


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
        removed = log.forget(user_id).result()
        log.scrub(lock_seconds)
        if log.unscrubbed:
            _log.warning("somebody reads the event log: what was deleted leaves its files when they have done")
        return removed
    finally:
        log.close()

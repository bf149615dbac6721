"""Events from and to JSON lines, past the HTTP service and through the same checks."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from fastapi import HTTPException
from pydantic import ValidationError
from sqlalchemy import select

from rectory.data.forgotten import Forgotten
from rectory.errors import DataError
from rectory.serving import tables
from rectory.serving.asking import event_from, of_feedback
from rectory.serving.bodies import EventBody, FeedbackBody
from rectory.serving.event_log import EventLog, Limits
from rectory.serving.log_rows import event_of
from rectory.serving.store import Store
from rectory.serving.types import Event

_AT_ONCE = 5000
_SHOWN = 3


@dataclass(frozen=True)
class Imported:
    """Lines that are new to the log, that it had, that were unfit (skipped), and of users who are to be forgotten."""

    accepted: int
    duplicates: int
    unfit: int
    forgotten: int


def import_events(
    path: Path,
    store: Store,
    *,
    now: float,
    max_future_seconds: float,
    skip_unfit: bool = False,
    ledgers: Sequence[Forgotten] = (),
    progress: Callable[[int], None] = lambda _: None,
) -> Imported:
    """Append the events of a JSON lines file (.gz too). Sending a file again changes nothing.

    Each line is an event as /api/v1/events takes it, or Gorse's feedback. Without a time of its own a line could not be
    told from its twin, so here each needs one.

    Args:
        skip_unfit: leave unfit lines out; else one of them refuses the file before anything is written.
        ledgers: users who are to be forgotten; their events are left out.
        progress: called with the number of lines done.
    Raises:
        DataError: the file is missing, or lines are unfit: the first are shown with their numbers.
        EventStoreError: the store is not available; what was written before stays, run it again.
    """
    latest = now + max_future_seconds
    unfit: list[str] = []
    for number, event in _events(path, now, latest):
        if isinstance(event, str):
            unfit.append(f"line {number}: {event}")
    if unfit and not skip_unfit:
        raise DataError(
            f"{path}: {len(unfit)} line(s) cannot be taken, so none was: {'; '.join(unfit[:_SHOWN])}. Mend them, or "
            "leave them out with --skip-unfit."
        )
    log = EventLog(store, Limits(commit_events=_AT_ONCE, max_waiting_events=10 * _AT_ONCE))
    log.open()
    accepted = duplicates = forgotten = 0
    try:
        for number, batch in _batches(path, now, latest):
            gone = {user for user in {one.user_id for one in batch} if any(ledger.has(user) for ledger in ledgers)}
            kept = [one for one in batch if one.user_id not in gone]
            told = log.append(kept).result()
            accepted, duplicates = accepted + told.accepted, duplicates + told.duplicates
            forgotten += len(batch) - len(kept)
            progress(number)
    finally:
        log.close()
    return Imported(accepted, duplicates, len(unfit), forgotten)


def export_events(store: Store, out: IO[str], progress: Callable[[int], None] = lambda _: None) -> int:
    """Write all events in the order of the log, one JSON object a line; returns their number.

    Raises:
        EventStoreError: the store cannot be read.
    """
    column, at, count = tables.events.c, 0, 0
    while True:
        with store.reading() as connection:
            query = select(tables.events).where(column.sequence > at).order_by(column.sequence).limit(_AT_ONCE)
            rows = connection.execute(query).all()
        if not rows:
            return count
        for row in rows:
            out.write(json.dumps(_line(event_of(row)), ensure_ascii=False) + "\n")
        at = rows[-1].sequence
        count += len(rows)
        progress(count)


def _line(event: Event) -> dict[str, Any]:
    told: dict[str, Any] = {
        "event_id": event.event_id,
        "user_id": event.user_id,
        "item_id": event.item_id,
        "kind": event.kind,
        "timestamp": event.timestamp,
        "value": event.value,
    }
    if event.recommendation_id is not None:
        told["recommendation_id"] = event.recommendation_id
    return {**told, "context": event.context} if event.context else told


def _batches(path: Path, now: float, latest: float) -> Iterator[tuple[int, list[Event]]]:
    batch: list[Event] = []
    number = 0
    for number, event in _events(path, now, latest):
        if isinstance(event, Event):
            batch.append(event)
        if len(batch) >= _AT_ONCE:
            yield number, batch
            batch = []
    if batch:
        yield number, batch


def _events(path: Path, now: float, latest: float) -> Iterator[tuple[int, Event | str]]:
    """Line number and event, or what is wrong with it."""
    try:
        opened: Any = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, _event(line, now, latest)
    except FileNotFoundError:
        raise DataError(f"{path} is missing.") from None
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 JSON lines: {error}.") from None


def _event(line: str, now: float, latest: float) -> Event | str:
    try:
        told = json.loads(line)
        gorse = isinstance(told, dict) and "FeedbackType" in told
        body = of_feedback(FeedbackBody.model_validate(told)) if gorse else EventBody.model_validate(told)
        if body.timestamp is None:
            return "it has no timestamp"
        return event_from(body, now, latest, 0)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"[:200]
    except HTTPException as error:
        return str(error.detail)[:200]
    except (ValueError, RecursionError):
        return "no JSON"

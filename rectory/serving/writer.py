"""Group commit: one thread writes; whatever waits when it is free goes to disk in one transaction.

A request is acknowledged after the commit that holds it. So one fsync serves all who came while the last one ran, and
the more there is to write, the larger the transactions get.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from rectory.serving.log_rows import Appended, append_all, save_answers
from rectory.serving.marks import Forgotten
from rectory.serving.store import EventStoreError, Overloaded, Store, Writing
from rectory.serving.types import Answer, Event, Request

_log = logging.getLogger("rectory.serving")
_ANSWERS_AT_ONCE = 500
_IDLE_SECONDS = 0.2

Recorded = tuple[Request | None, Answer, float, dict[str, Any]]
"""The question, the answer, when it was made, and what else was asked."""


@dataclass
class _Job:
    """size: events that it counts for. work: None for an append, which is merged with its neighbours."""

    size: int
    future: Future[Any]
    events: list[Event] | None = None
    work: Callable[[Writing], Any] | None = None


@dataclass(frozen=True)
class Commit:
    """Numbers after `before` up to `until` were written. events: all of them; None: there was more than events."""

    log_id: str
    before: int
    until: int
    events: list[Event] | None


class Writer:
    """The only thread of this process that writes to the store.

    Args:
        commit_events: events of one transaction at most (a single larger request is one transaction).
        max_waiting: events that may wait; past it `append` raises Overloaded.
        max_answers: answers that may wait; past it the oldest are dropped and counted.
        committed: called after each commit with what it was, before anybody is told; the engine learns here.
    """

    def __init__(
        self,
        store: Store,
        commit_events: int,
        max_waiting: int,
        max_answers: int,
        committed: Callable[[Commit], None],
    ) -> None:
        self._store = store
        self._commit_events = commit_events
        self._max_waiting = max_waiting
        self._committed = committed
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._answers: deque[Recorded] = deque()
        self._in_hand: list[Recorded] = []
        self._max_answers = max_answers
        self._lock = threading.Lock()
        self._waiting = 0
        self._closed = False
        self.dropped_answers = 0
        self._thread = threading.Thread(target=self._run, name="event-writer", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Events that wait for their commit."""
        return self._waiting

    def append(self, events: list[Event]) -> Future[Appended]:
        """Write events; those whose event_id the log has are counted and left as they are.

        Raises:
            Overloaded: too many wait already; none of these was taken.
        """
        return self._submit(_Job(len(events), Future(), events=events))

    def do(self, work: Callable[[Writing], Any]) -> Future[Any]:
        """Run `work` in a transaction, in its turn."""
        return self._submit(_Job(1, Future(), work=work))

    def record(self, row: Recorded) -> None:
        """Keep an answer; it is written soon, without anybody waiting for it."""
        with self._lock:
            if len(self._answers) >= self._max_answers:
                self._answers.popleft()
                self.dropped_answers += 1
            self._answers.append(row)

    def drop_answers(self, gone: Forgotten) -> set[str]:
        """Give up the answers to a user that wait to be written.

        Returns:
            the user's id if there are any, those that are being written now among them.
        """
        with self._lock:
            waiting = [request.user_id for request, *_ in (*self._answers, *self._in_hand) if request is not None]
        theirs = gone.among(waiting)
        if theirs:
            with self._lock:
                others = [one for one in self._answers if one[0] is None or one[0].user_id not in theirs]
                self._answers = deque(others)
        return theirs

    def close(self) -> None:
        """Write what waits, answers included, and end."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._jobs.put(None)
        self._thread.join()

    def _submit(self, job: _Job) -> Future[Any]:
        with self._lock:
            if self._closed:
                raise EventStoreError("the service is ending; send it again to the next one.")
            # One request that is larger than all that may wait still passes when nothing else does.
            if self._waiting and self._waiting + job.size > self._max_waiting:
                raise Overloaded(
                    f"{self._waiting} events wait for their commit, {self._max_waiting} may "
                    "(serve.max_waiting_events). Nothing of this request was taken: send it again in a second."
                )
            self._waiting += job.size
            self._jobs.put(job)
        return job.future

    def _run(self) -> None:
        ending = False
        while not ending:
            jobs, ending = self._take()
            if jobs:
                self._commit(jobs)
            elif self._answers:
                self._commit_answers()
        while self._answers and self._commit_answers():
            pass

    def _take(self) -> tuple[list[_Job], bool]:
        jobs: list[_Job] = []
        size = 0
        try:
            job = self._jobs.get(timeout=_IDLE_SECONDS)
            while job is not None:
                jobs.append(job)
                size += job.size
                if size >= self._commit_events:
                    return jobs, False
                job = self._jobs.get_nowait()
        except queue.Empty:
            return jobs, False
        return jobs, True

    def _commit(self, jobs: list[_Job]) -> None:
        answers = self._some_answers()
        try:
            try:
                with self._store.writing() as writing:
                    # Answers first: they are older than a request to forget whom they were for.
                    save_answers(writing.connection, answers)
                    before = writing.sequence
                    results, events = _perform(jobs, writing)
            except EventStoreError as error:
                self._put_back(answers)
                self._settle(jobs, error)
                return
            except Exception as error:  # noqa: BLE001 - it is handed to who asked
                # One request's fault must not fail its neighbours: each gets a transaction of its own.
                self._put_back(answers)
                if len(jobs) == 1:
                    self._settle(jobs, error)
                else:
                    for job in jobs:
                        self._commit([job])
                return
            self._tell_committed(Commit(writing.log_id, before, writing.sequence, events))
            self._settle(jobs, None, results)
        except BaseException as error:
            self._settle([job for job in jobs if not job.future.done()], error)
            raise

    def _tell_committed(self, commit: Commit) -> None:
        try:
            self._committed(commit)
        except Exception:  # noqa: BLE001 - logged with its trace
            # Accepted means durable, and it is. The follower tries again with its next turn.
            _log.exception("events are in the log, but the engine did not take them")

    def _settle(self, jobs: list[_Job], error: BaseException | None, results: list[Any] | None = None) -> None:
        with self._lock:
            self._waiting -= sum(job.size for job in jobs)
        for place, job in enumerate(jobs):
            if not job.future.set_running_or_notify_cancel():
                continue  # The sender hung up. What was committed stays so.
            if error is not None:
                job.future.set_exception(error)
            else:
                job.future.set_result(results[place] if results else None)

    def _some_answers(self) -> list[Recorded]:
        with self._lock:
            self._in_hand = [self._answers.popleft() for _ in range(min(_ANSWERS_AT_ONCE, len(self._answers)))]
            return self._in_hand

    def _put_back(self, rows: list[Recorded]) -> None:
        with self._lock:
            room = max(0, self._max_answers - len(self._answers))
            self.dropped_answers += max(0, len(rows) - room)
            self._answers.extendleft(reversed(rows[len(rows) - room :] if room < len(rows) else rows))

    def _commit_answers(self) -> bool:
        rows = self._some_answers()
        try:
            with self._store.writing() as writing:
                save_answers(writing.connection, rows)
        except EventStoreError as error:
            self._put_back(rows)
            _log.warning("answers wait to be written: %s", error)
            return False
        except Exception:  # noqa: BLE001 - logged with its trace
            self.dropped_answers += len(rows)
            _log.exception("answers could not be written")
        return True


def _perform(jobs: list[_Job], writing: Writing) -> tuple[list[Any], list[Event] | None]:
    """Results in the order of the jobs, and the new events if there was nothing else.

    Neighbouring appends go to the database together.
    """
    results: list[Any] = []
    events: list[Event] = []
    at = 0
    while at < len(jobs):
        end = at
        while end < len(jobs) and jobs[end].events is not None:
            end += 1
        if end > at:
            told, new = append_all(writing, [job.events or [] for job in jobs[at:end]])
            results += told
            events += new
            at = end
            continue
        if (work := jobs[at].work) is not None:
            results.append(work(writing))
        at += 1
    return results, events if all(job.events is not None for job in jobs) else None

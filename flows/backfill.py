"""Flow backfill: the runs of dates that were missed, one as of each; dates that are done are skipped."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from prefect import flow, get_run_logger

from flows import artifacts, sequences
from flows.finished import done_as_of
from flows.naming import dates
from flows.options import BackfillOptions
from flows.run import run
from rectory.workspace import Workspace


@dataclass(frozen=True)
class BackfillResult:
    """Date -> run; skipped: of an earlier time."""

    done: dict[str, str]
    skipped: dict[str, str]


def end_of(day: date) -> datetime:
    """Midnight UTC at the end of the date: what a run as of it may read until."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)


@flow(name="backfill", flow_run_name=dates, timeout_seconds=timedelta(hours=48).total_seconds())
def backfill(options: BackfillOptions) -> BackfillResult:
    """Make the run of each date, oldest first, as it would have been on that day.

    Args:
        options: which dates.
    """
    asked = sequences.asked(options.dataset, None, options.overrides)
    days = [
        options.start + timedelta(days=step)
        for step in range(0, (options.end - options.start).days + 1, options.every_days)
    ]
    done: dict[str, str] = {}
    skipped: dict[str, str] = {}
    with artifacts.progress("backfill", f"{len(days)} dates of {asked.params.dataset}") as advance:
        for number, day in enumerate(days, start=1):
            before = done_as_of(Workspace(project=asked.project), asked.params.dataset, end_of(day))
            if before is not None and not options.again:
                skipped[day.isoformat()] = before
                get_run_logger().info("%s: done before, by run %s", day, before)
            else:
                done[day.isoformat()] = run(
                    dataset=asked.params.dataset,
                    as_of=end_of(day),
                    overrides=list(options.overrides),
                    project=str(asked.project),
                ).run_id
            advance(number / len(days))
    artifacts.leave_dates(done, skipped)
    return BackfillResult(done, skipped)

"""`python -m benchmarks.soak [--days 30] [--seed 1] [--fault-share 0.3] [--minutes N] [--json]`; `make soak`.

Simulated days through `rectory up` in a throw-away project: each day a new file, the day's flows through Prefect's API,
faults at random by seed. Ends with 1 if anything was lost, nobody was champion, or a decision is not explained.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.soak import books
from benchmarks.soak.faults import Faults, Happened, Stage
from benchmarks.soak.prober import Probed, Prober
from benchmarks.soak.shop import Shop, as_of
from benchmarks.soak.station import Station
from rectory.errors import RectoryError
from tests.installed import up

SETTINGS = {
    # Its days are simulated: schedules of the real ones would run in between.
    "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false",
    "PREFECT_WORKER_QUERY_SECONDS": "2",
    "RECTORY_LOST_RUN_SECONDS": "120",
    "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "5",
}
FLOWS = ("ingest", "train", "promote", "score", "monitor")


@dataclass(frozen=True)
class Asked:
    """minutes: no further day is begun after so many."""

    days: int
    seed: int = 1
    fault_share: float = 0.3
    minutes: float | None = None


@dataclass
class Soaked:
    """What a soak has found; broken: what did not hold, in words."""

    asked: Asked
    days: int
    wall_seconds: float
    load: tuple[float, float]
    flow_runs: dict[str, int]
    retries: int
    faults: list[Happened]
    late_rows: int
    validations: int
    last_ingest: dict[str, int]
    audit: dict[str, int]
    probed: Probed
    broken: list[str]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def main() -> None:
    """Soak; progress on stderr, results on stdout."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description="Simulated days under fire.")
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fault-share", type=float, default=0.3, help="chance of a fault in each flow of a day")
    parser.add_argument("--minutes", type=float, default=None, help="begin no further day after so many")
    parser.add_argument("--keep", type=Path, default=None, help="make the project in this new folder and leave it")
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    given = parser.parse_args()
    progress = Console(stderr=True)

    def say(text: str) -> None:
        progress.print(f"[dim]{time.strftime('%H:%M:%S')}[/dim] {escape(text)}", highlight=False, soft_wrap=True)

    # `kill` ends the installation too; so does Ctrl-C, also where a shell has made background jobs deaf to it.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(130))
    asked = Asked(given.days, given.seed, given.fault_share, given.minutes)
    with tempfile.TemporaryDirectory(prefix="rectory-soak-", ignore_cleanup_errors=True) as folder:
        soaked = soak(given.keep or Path(folder), asked, say)
    if given.json:
        print(json.dumps(soaked.as_json(), indent=2))
    else:
        show(soaked, Console(width=None if sys.stdout.isatty() else 140))
    raise SystemExit(1 if soaked.broken else 0)


def soak(folder: Path, asked: Asked, say: Callable[[str], None]) -> Soaked:
    """The installation from its start to its end, and the books."""
    began = time.monotonic()
    load = os.getloadavg()[1]
    shop = Shop(folder / "project", asked.seed)
    # Our own looks go to the file of the store: no server is in between.
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{shop.project}/.rectory/mlflow.db"
    broken: list[str] = []
    done = 0
    say("starting the installation")
    with up(shop.project, SETTINGS) as made:
        station = Station(made, say)
        faults, prober = Faults(station, asked.seed, asked.fault_share), Prober(shop.project)
        prober.start()
        try:
            for day in range(1, asked.days + 1):
                if asked.minutes is not None and time.monotonic() - began > 60 * asked.minutes:
                    break
                broken += _day(day, shop, station, faults)
                done = day
            _closing(done, shop, station)
        except (RectoryError, AssertionError, TimeoutError) as error:
            broken.append(f"day {done + 1}: {error}"[:4000])
        flow_runs = station.runs_by_state()
        probed = prober.stop()
    # To be here means: it stopped, and nothing of it is left.
    say("stopped, no process is left")
    validations, wrong = books.counts(station.workspace)
    last, lost = books.last_snapshot(station.workspace, shop.truth, folder / "last")
    audited, unexplained = books.decisions(station.workspace, station.store, probed)
    broken += [*wrong, *lost, *unexplained, *books.seat(probed), *station.broken]
    return Soaked(
        asked,
        done,
        round(time.monotonic() - began, 1),
        (round(load, 1), round(os.getloadavg()[1], 1)),
        flow_runs,
        station.retries,
        faults.happened,
        shop.truth.late,
        validations,
        last,
        audited,
        probed,
        broken,
    )


def _day(day: int, shop: Shop, station: Station, faults: Faults) -> list[str]:
    """One simulated day; what did not hold at its end."""
    began = time.monotonic()
    moment = as_of(day)
    dropped = faults.of_the_data()
    said = shop.day(day, dropped)
    station.say(f"day {day} ({moment:%Y-%m-%d}): {'; '.join(said) or 'a plain file'}")
    options = {"as_of": moment.isoformat()}
    broken = []
    for flow in FLOWS:
        faults.stage(day, Stage(flow, {} if flow == "promote" else options))
        if flow == "ingest":
            tables = books.newest(station.workspace, "ingest").tables
            broken += books.rows_of_the_day(books.kept_rows(tables / "interactions.parquet"), shop.truth)
    station.until_quiet()
    for name in dropped:
        text = "lost or doubled rows" if broken else "no good row was lost, none is there twice"
        faults.happened.append(Happened(day, "ingest", name, (), text))
    took = time.monotonic() - began
    station.say(f"day {day} took {took:.0f} s; champion {station.champion()}" + "".join(f"\n  {one}" for one in broken))
    return [f"day {day}: {one}" for one in broken]


def _closing(day: int, shop: Shop, station: Station) -> None:
    """One more ingest without a fault, after what was poisoned last has been sent again."""
    shop.mend()
    options = {"as_of": as_of(day).isoformat()}
    station.until_done("ingest", options, [station.start("ingest", options)])
    station.until_quiet()


def show(soaked: Soaked, console: Console) -> None:
    """Two tables."""
    rows = soaked.last_ingest
    facts = {
        "simulated days": soaked.days,
        "wall time": f"{soaked.wall_seconds:,.0f} s; load {soaked.load[0]} to {soaked.load[1]}, {os.cpu_count()} cores",
        "flow runs": ", ".join(f"{count} {name}" for name, count in soaked.flow_runs.items()),
        "retries": soaked.retries,
        "validations that add up": soaked.validations,
        "rows in the last": ", ".join(f"{count:,} {name.removeprefix('rows_')}" for name, count in rows.items()),
        "late rows": soaked.late_rows,
        "changes of champion": max(len(soaked.probed.seen) - 1, 0),
        "audit log": ", ".join(f"{count} {name}" for name, count in soaked.audit.items()),
        "probes": f"{soaked.probed.looks:,} looks, {soaked.probed.loads:,} loads, {len(soaked.probed.failed)} failed, "
        f"{soaked.probed.unanswered} unanswered, longest gap {soaked.probed.longest_gap:.1f} s",
    }
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in facts.items():
        table.add_row(name, str(value))
    console.print(table)
    console.print()
    counted = Counter(one.fault for one in soaked.faults)
    faults = Table(box=None, pad_edge=False)
    for heading in ("fault", "times", "day", "flow", "what followed"):
        faults.add_column(heading, overflow="fold")
    for name in sorted(counted):
        for number, one in enumerate(one for one in soaked.faults if one.fault == name):
            ends = f" ({', '.join(one.ends)})" if one.ends else ""
            first = (name, str(counted[name])) if number == 0 else ("", "")
            faults.add_row(*first, str(one.day), one.flow, f"{one.text}{ends}")
    console.print(faults)
    for text in soaked.broken:
        console.print(f"BROKEN: {text}", style="red", markup=False)
    if not soaked.broken:
        console.print("Nothing was lost, there was always a champion, every decision is explained.")


if __name__ == "__main__":
    main()

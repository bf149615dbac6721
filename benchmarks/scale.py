"""`python -m benchmarks.scale [--rows N ...] [--json]`: how time and memory grow with the log.

The real steps, each a process of its own by the command that `dvc repro` uses, on a synthetic log of each size. Seconds
are the process's from start to end; memory is the most that it had resident, as the system counted it (`wait4`).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.machine import this_machine
from benchmarks.synthetic import write_log
from rectory.errors import CapacityError, RectoryError
from rectory.files import read_json, write_json
from rectory.params import dump_params, load_params

DEFAULT_ROWS = (1_000_000, 5_000_000, 20_000_000)
DEFAULT_CANDIDATES = ("popularity", "personal_frequency")
AIM_EXPONENT = 1.1
AIM_GIB = 12.0
DATA_STEPS = ("fetch", "validate", "split", "features", "score")
"""What nearly linear growth is asked of; the others are shown."""
DATA_STEPS_ROW = "the data steps"
_BEFORE, _AFTER = ("fetch", "validate", "snapshot", "split", "features"), ("register", "promote", "score")
_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Cost:
    """One step on one size. cpu_seconds: user and system, children included. peak_gib: resident."""

    step: str
    rows: int
    seconds: float
    cpu_seconds: float
    peak_gib: float


@dataclass(frozen=True)
class Growth:
    """cost = factor * rows ** exponent, fitted on logarithms by least squares."""

    step: str
    seconds: float
    cpu_seconds: float
    memory: float


def fitted_exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Slope of log cost over log size; needs two sizes at least."""
    return float(np.polyfit(np.log(sizes), np.log(np.maximum(costs, 1e-9)), 1)[0])


def growth(costs: Sequence[Cost]) -> list[Growth]:
    """Exponents of each step, of the data steps and of all steps together, in the order of the steps."""
    sizes = sorted({one.rows for one in costs})
    found = []
    for name, steps in _groups(costs).items():
        sums = [_together([one for one in costs if one.rows == rows and one.step in steps]) for rows in sizes]
        seconds, cpu_seconds, memory = (fitted_exponent(sizes, column) for column in zip(*sums, strict=True))
        found.append(Growth(name, seconds, cpu_seconds, memory))
    return found


def _groups(costs: Sequence[Cost]) -> dict[str, set[str]]:
    """Name of a row -> steps that are added up in it."""
    steps = list(dict.fromkeys(one.step for one in costs))
    together = {DATA_STEPS_ROW: set(DATA_STEPS) & set(steps), "all": set(steps)}
    return {step: {step} for step in steps} | {name: of for name, of in together.items() if of}


def _together(costs: Sequence[Cost]) -> tuple[float, float, float]:
    """Seconds and CPU seconds in all, memory at most."""
    return (
        sum(one.seconds for one in costs),
        sum(one.cpu_seconds for one in costs),
        max(one.peak_gib for one in costs),
    )


def bench(rows: int, source: Path, candidates: Sequence[str], say: Callable[[str], None], given: Options) -> list[Cost]:
    """Make a log of `rows` rows in a throw-away project and take it from the raw files to lists for everybody."""
    with _project(given.keep, rows) as project:
        if not (project / "exports").is_dir():
            began = time.perf_counter()
            size = write_log(project, rows, ending=given.ending)
            say(
                f"{rows:,} rows: {size / 2**20:,.0f} MiB of {given.ending}, made in {time.perf_counter() - began:.0f} s"
            )
        (project / "requirements.lock").write_bytes((source / "requirements.lock").read_bytes())
        _write_params(source, project, candidates)
        kept = project / "costs.json"
        costs = {one["step"]: Cost(**one) for one in (read_json(kept) if kept.is_file() else [])}
        for words in _commands(candidates):
            if " ".join(words) not in costs:
                cost = _measure(words, rows, project, say, given.limit_gib)
                costs[cost.step] = cost
                write_json(kept, [asdict(one) for one in costs.values()])
        return list(costs.values())


@dataclass(frozen=True)
class Options:
    """ending: of the log's files. keep: folder for the projects, which then stay: a bench that was
    stopped goes on there, step by step. limit_gib: stop a step beyond it."""

    ending: str
    keep: Path | None
    limit_gib: float


def _commands(candidates: Sequence[str]) -> Iterator[tuple[str, ...]]:
    yield from ((step,) for step in _BEFORE)
    for candidate in candidates:
        yield from ((step, candidate) for step in ("train", "evaluate", "behave"))
    yield from ((step,) for step in _AFTER)


def _write_params(source: Path, project: Path, candidates: Sequence[str]) -> None:
    params = dump_params(load_params(source / "params.yaml", ["dataset=synthetic"]))
    params["train"]["candidates"] = {name: params["train"]["candidates"][name] for name in candidates}
    write_json(project / "params.yaml", params)


@contextmanager
def _project(keep: Path | None, rows: int) -> Iterator[Path]:
    if keep is not None:
        project = keep / str(rows)
        project.mkdir(parents=True, exist_ok=True)
        yield project
        return
    with tempfile.TemporaryDirectory(prefix="rectory-scale-") as folder:
        yield Path(folder)


def _measure(words: tuple[str, ...], rows: int, project: Path, say: Callable[[str], None], limit_gib: float) -> Cost:
    """Run `python -m tasks.<step> [candidate]` in the project.

    Raises:
        CapacityError: it had more memory than the limit and was stopped.
        RectoryError: it failed; with its last words.
    """
    step, label = words[0], " ".join(words)
    command = [sys.executable, "-m", f"tasks.{step}", *words[1:]]
    env = {name: text for name, text in os.environ.items() if not name.startswith(("RECTORY_", "MLFLOW_", "DVC_"))}
    # The project is elsewhere, and the code is the one that is measured.
    env["PYTHONPATH"] = str(Path(__file__).resolve().parent.parent)
    log = project / "output.txt"
    began = time.perf_counter()
    with log.open("w", encoding="utf-8") as out:
        process = subprocess.Popen(command, cwd=project, env=env, stdout=out, stderr=subprocess.STDOUT)
        with _guarded(process.pid, limit_gib) as too_large:
            _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - began
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 2**30
    if too_large.is_set():
        raise CapacityError(f"{label} of {rows:,} rows needed more than {limit_gib:g} GiB and was stopped.")
    if process.returncode != 0:
        last = log.read_text(encoding="utf-8").strip().splitlines()[-1:]
        raise RectoryError(f"{label} of {rows:,} rows ended with {process.returncode}: {' '.join(last)}")
    cost = Cost(label, rows, round(seconds, 2), round(used.ru_utime + used.ru_stime, 2), round(peak, 3))
    say(f"{rows:,} rows: {label}: {cost.seconds:.1f} s ({cost.cpu_seconds:.1f} s of CPU), {cost.peak_gib:.2f} GiB")
    return cost


@contextmanager
def _guarded(pid: int, limit_gib: float) -> Iterator[threading.Event]:
    """Kill the process when it has more resident memory than the limit; the event is then set."""
    too_large, ended = threading.Event(), threading.Event()
    process = psutil.Process(pid)

    def watch() -> None:
        while not ended.wait(_POLL_SECONDS):
            try:
                if process.memory_info().rss > limit_gib * 2**30:
                    too_large.set()
                    process.kill()
                    return
            except psutil.NoSuchProcess:
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield too_large
    finally:
        ended.set()
        watcher.join()


def show(costs: Sequence[Cost], console: Console) -> None:
    """A row for each step: seconds and memory at each size, and how they grow."""
    sizes = sorted({one.rows for one in costs})
    table = Table(title="seconds / CPU seconds / peak GiB", title_justify="left")
    table.add_column("step")
    for rows in sizes:
        table.add_column(f"{rows / 1e6:g} M", justify="right")
    exponents = {one.step: one for one in growth(costs)} if len(sizes) > 1 else {}
    if exponents:
        table.add_column("exponent of CPU time", justify="right")
        table.add_column("of memory", justify="right")
    for name, steps in _groups(costs).items():
        sums = [_together([one for one in costs if one.rows == rows and one.step in steps]) for rows in sizes]
        cells = [f"{seconds:.1f} / {cpu_seconds:.1f} / {gib:.2f}" for seconds, cpu_seconds, gib in sums]
        if exponents:
            cells += [f"{exponents[name].cpu_seconds:.2f}", f"{exponents[name].memory:.2f}"]
        table.add_row(name, *cells)
    console.print(table)


def main() -> None:
    """Progress on stderr, results on stdout."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description="How time and memory grow.")
    parser.add_argument("--rows", action="append", type=int, help=f"repeat; default: {DEFAULT_ROWS}")
    parser.add_argument("--candidate", action="append", help=f"repeat; default: {', '.join(DEFAULT_CANDIDATES)}")
    parser.add_argument("--ending", default="csv.gz", choices=["csv", "csv.gz", "parquet"], help="of the log's files")
    parser.add_argument("--limit-gib", type=float, default=AIM_GIB, help="stop a step that has more memory")
    parser.add_argument("--keep", type=Path, help="folder for the projects; go on where it was there")
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    given = parser.parse_args()
    source, progress = Path(__file__).resolve().parent.parent, Console(stderr=True)
    machine = this_machine(source)
    options = Options(given.ending, given.keep, given.limit_gib)
    costs: list[Cost] = []
    try:
        for rows in given.rows or DEFAULT_ROWS:
            costs += bench(rows, source, given.candidate or DEFAULT_CANDIDATES, progress.print, options)
    except RectoryError as error:
        progress.print(f"bench: {error}", style="red", markup=False, highlight=False)
        raise SystemExit(error.exit_code) from None
    if given.json:
        sizes = {one.rows for one in costs}
        told = [asdict(one) for one in growth(costs)] if len(sizes) > 1 else []
        print(
            json.dumps({"machine": asdict(machine), "costs": [asdict(one) for one in costs], "growth": told}, indent=2)
        )
    else:
        show(costs, Console(width=None if sys.stdout.isatty() else 120))


if __name__ == "__main__":
    main()

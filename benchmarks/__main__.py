"""`python -m benchmarks [--dataset NAME ...] [--json]`: docs/benchmarks.md says what each number means."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from benchmarks import flow, project, tables
from benchmarks.fitting import compare_fits
from benchmarks.machine import this_machine
from benchmarks.ranking import compare_rankings
from benchmarks.results import DatasetResult, FlowResult, as_json
from benchmarks.warming import compare_warm_starts
from rectory.errors import RectoryError, UsageError
from rectory.features.training_set import TrainingSet
from rectory.models.bundle import Bundle
from rectory.params import load_params
from rectory.params.candidates import LightFMHybridParams
from rectory.workspace import Workspace

DATASETS = ("movielens_100k", "complete_journey")
_FIT_SECONDS = 75.0
_RANKING_SECONDS = 45.0


def main() -> None:
    """Run what was asked for; progress on stderr, results on stdout."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Seconds, memory and ratios on real data."
    )
    parser.add_argument("--dataset", action="append", metavar="NAME", help=f"repeat; default: {' and '.join(DATASETS)}")
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    given = parser.parse_args()
    source = Path(__file__).resolve().parent.parent
    progress = Console(stderr=True)
    machine = this_machine(source)
    try:
        results = [bench(dataset, source, progress) for dataset in given.dataset or DATASETS]
    except RectoryError as error:
        progress.print(f"bench: {error}", style="red", markup=False, highlight=False)
        raise SystemExit(error.exit_code) from None
    if given.json:
        print(json.dumps(as_json(machine, results), indent=2))
    else:
        tables.show(machine, results, Console(width=None if sys.stdout.isatty() else 120))


def bench(dataset: str, source: Path, progress: Console) -> DatasetResult:
    """Both commands in a throw-away project, then both comparisons on what the first one made."""

    def say(text: str) -> None:
        progress.print(f"[dim]{dataset}[/dim]  {escape(text)}", highlight=False, soft_wrap=True)

    with project.throw_away_project(source) as folder:
        measured, run = _flow(folder, dataset, say)
        params = load_params(Workspace(run, folder).params_file, [f"dataset={dataset}"])
        name, candidate = next(
            ((n, c) for n, c in params.train.candidates.items() if isinstance(c, LightFMHybridParams)), (None, None)
        )
        if name is None or candidate is None:
            raise UsageError("params.yaml has no candidate of kind lightfm_hybrid: the comparisons need one.")
        workspace = Workspace(run, folder)
        chosen = json.loads(workspace.fit_report(name).read_text(encoding="utf-8"))["chosen"]
        say(f"{name} against a bare LightFM.fit, in turns, for at most {_FIT_SECONDS:.0f} s")
        train = TrainingSet.load(workspace.features)
        fit, bare = compare_fits(train, candidate, params.train.seed, chosen, _FIT_SECONDS)
        say(f"ratio {fit.ratio:.3f}; lists for all users, in turns, for at most {_RANKING_SECONDS:.0f} s")
        ranking = compare_rankings(Bundle.load(workspace.model(name)), bare, params.train.seed, _RANKING_SECONDS)
        say(f"{ranking.ours_users_per_second:,.0f} users/s")
        warm = compare_warm_starts(params, workspace, say)
    return DatasetResult(dataset, measured, fit, ranking, warm)


def _flow(folder: Path, dataset: str, say: Callable[[str], None]) -> tuple[FlowResult, Path]:
    """Run the command twice; give what it cost and the first run's folder."""
    say("rectory run, in a project folder of its own")
    first = project.rectory_run(folder, dataset, say)
    run = project.run_folder(folder)
    say(f"{first.command_seconds:.1f} s; and once more")
    again = project.rectory_run(folder, dataset, say)
    say(f"{again.command_seconds:.1f} s")
    params = load_params(Workspace(run, folder).params_file)
    workers = params.train.workers or this_machine(folder).cores
    steps = flow.read_steps(run)
    compute = flow.compute_seconds(steps, workers)
    result = FlowResult(
        steps=steps,
        workers=workers,
        command=flow.Overhead(first.command_seconds, compute),
        flow=flow.Overhead(float(first.summary["total_seconds"]), compute),
        server_seconds=first.server_seconds,
        again_seconds=again.command_seconds,
        again_reused=bool(again.summary["reused"]),
    )
    return result, run


if __name__ == "__main__":
    main()

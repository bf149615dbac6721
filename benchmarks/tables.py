"""What the bench found, for people."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from benchmarks.fitting import AIM_RATIO
from benchmarks.flow import Overhead
from benchmarks.machine import Machine
from benchmarks.ranking import K
from benchmarks.results import AGAIN_AIM_SECONDS, DatasetResult, FlowResult
from benchmarks.warming import AIM_LOSS, AIM_WARM_RATIO


def show(machine: Machine, results: list[DatasetResult], console: Console) -> None:
    """Machine, then for each data set: steps, overhead, the two comparisons."""
    console.print(machine_table(machine))
    if machine.busy:
        console.print(
            f"The machine was busy when the bench began (load {machine.load} on {machine.cores} cores): seconds are "
            "too high; ratios suffer less.",
            style="yellow",
            highlight=False,
        )
    for result in results:
        console.print()
        for table in (
            steps_table(result.dataset, result.flow),
            overhead_table(result.dataset, result.flow),
            fit_table(result),
            ranking_table(result),
            warm_table(result),
        ):
            console.print(table)


def machine_table(machine: Machine) -> Table:
    table = _table("machine", "", "")
    table.add_row("processor", f"{machine.processor}, {machine.cores} cores, {machine.memory_gib} GiB")
    table.add_row("system", f"{machine.system}, Python {machine.python}")
    table.add_row("packages", ", ".join(f"{name} {number}" for name, number in machine.packages.items()))
    table.add_row("code", machine.commit)
    table.add_row("bytecode", "on disk" if machine.bytecode else "not on disk: every process compiles what it imports")
    table.add_row("load before", f"{machine.load}")
    return table


def steps_table(dataset: str, flow: FlowResult) -> Table:
    table = _table(f"{dataset}: steps", "step", "seconds", "CPU seconds", "peak MB")
    for step in flow.steps:
        table.add_row(step.label, f"{step.seconds:.1f}", f"{step.cpu_seconds:.1f}", f"{step.peak_memory_mb:,.0f}")
    peak = max(step.peak_memory_mb for step in flow.steps)
    table.add_section()
    cpu = sum(step.cpu_seconds for step in flow.steps)
    table.add_row("all", f"{sum(step.seconds for step in flow.steps):.1f}", f"{cpu:.1f}", f"{peak:,.0f}")
    return table


def overhead_table(dataset: str, flow: FlowResult) -> Table:
    table = _table(f"{dataset}: the whole over its parts", "", "seconds", "aim", "")
    table.add_row(f"steps' own compute, candidates {flow.workers} at a time", f"{flow.flow.compute_seconds:.1f}")
    table.add_row("flow", f"{flow.flow.wall_seconds:.1f}")
    table.add_row("  overhead of the flow", *_overhead(flow.flow))
    table.add_row("command", f"{flow.command.wall_seconds:.1f}")
    if flow.server_seconds is not None:
        table.add_row("  of it: start of the Prefect server", f"{flow.server_seconds:.1f}")
    table.add_row("  overhead of the command", *_overhead(flow.command))
    met = flow.again_reused and flow.again_seconds <= AGAIN_AIM_SECONDS
    what = "everything done" if flow.again_reused else "NOT reused"
    table.add_row(f"second command ({what})", f"{flow.again_seconds:.1f}", f"<= {AGAIN_AIM_SECONDS:.0f}", _verdict(met))
    return table


def fit_table(result: DatasetResult) -> Table:
    fit = result.fit
    what = f"{fit.pairs:,} pairs, {fit.components} components, {fit.epochs} epochs"
    if fit.epochs < fit.epochs_found:
        what += f" (of {fit.epochs_found})"
    table = _table(f"{result.dataset}: LightFM fit, {what}", "", "seconds", "ratio", "aim", "")
    table.add_row("bare LightFM.fit", f"{fit.bare_seconds:.3f}", "1.000")
    ratio = (f"{fit.ratio:.3f}", f"<= {AIM_RATIO}", _verdict(fit.met))
    table.add_row(f"ours on the same matrices, {fit.rounds} rounds in turns", f"{fit.ours_seconds:.3f}", *ratio)
    table.add_row("ours with making the matrices", f"{fit.whole_seconds:.3f}", f"{fit.whole_ratio:.3f}")
    return table


def ranking_table(result: DatasetResult) -> Table:
    ranking = result.ranking
    title = f"{result.dataset}: top-{K} for {ranking.users:,} users among {ranking.items:,} items, seen left out"
    table = _table(title, "", "users/s", "ours is faster by", "aim", "")
    table.add_row(f"ours, {ranking.rounds} rounds in turns", f"{ranking.ours_users_per_second:,.0f}")
    for other in ranking.others:
        name = other.name
        if name.startswith("LightFM"):
            name += f" ({ranking.sampled} users, extrapolated)"
        table.add_row(name, f"{other.users_per_second:,.0f}", f"{other.ours:.2f}", ">= 1", _verdict(other.ours >= 1.0))
    table.caption = f"{ranking.agreement:.2%} of implicit's places hold an item of ours"
    return table


def warm_table(result: DatasetResult) -> Table:
    title = f"{result.dataset}: a warm start for one more day against a full fit"
    columns = (
        "",
        "full s",
        "no search s",
        "warm s",
        "ratio",
        "full MB",
        "warm MB",
        "full",
        "warm",
        "warm / full - 1",
        "",
    )
    table = _table(title, *columns)
    for one in result.warm:
        table.add_row(
            one.candidate,
            f"{one.full_seconds:.1f}",
            f"{one.refit_seconds:.1f}",
            f"{one.warm_seconds:.1f}",
            f"{one.ratio:.3f}",
            f"{one.full_peak_mb:,.0f}",
            f"{one.warm_peak_mb:,.0f}",
            f"{one.full:.4f}",
            f"{one.warm:.4f}",
            f"{one.gain.value:+.2%} [{one.gain.low:+.2%}, {one.gain.high:+.2%}]",
            _verdict(one.met),
        )
    table.caption = f"CPU seconds; aim: ratio <= {AIM_WARM_RATIO}, mean no more than {AIM_LOSS:.0%} below"
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", show_header=any(columns))
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number and any(columns) else "left")
    return table


def _overhead(part: Overhead) -> tuple[str, str, str]:
    return f"{part.seconds:.1f} ({part.share:.0%})", f"<= {part.aim_seconds:.0f}", _verdict(part.met)


def _verdict(met: bool) -> str:
    return "[green]met[/green]" if met else "[red]missed[/red]"

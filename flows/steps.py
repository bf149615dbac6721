"""Each step as a Prefect task: timed, announced, and run where it fits best.

Light steps run in this process. Steps of one candidate run in a process of their own, by the very command that
`dvc repro` uses: the machine's cores are used across candidates, memory is measured for each, and both ways of running
give the same bytes.
"""

from __future__ import annotations

import dataclasses
import importlib
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from flows.engine import Engine, StepCommand, params_file, run_command
from flows.progress import StepEvent, announce
from rectory import errors, journal
from rectory.measure import measured
from rectory.params import Params, dump_params
from rectory.workspace import Workspace

_NETWORK_STEPS = ("fetch",)


def _worth_retrying(_task: Any, _run: Any, state: Any) -> bool:
    """Wrong data and wrong use stay wrong; only a fault of the moment is worth a second try."""
    failure = state.result(raise_on_failure=False)
    return not isinstance(failure, errors.UsageError | errors.CapacityError) and not (
        isinstance(failure, errors.DataError) and not isinstance(failure, errors.FetchError)
    )


def told(label: str, work: Callable[[], Any]) -> Any:
    """Announce start and end of `work` and log its result on the run's page."""
    logger = get_run_logger()
    announce(StepEvent(label, "started"))
    journal.write("started", step=label)
    began = time.perf_counter()
    try:
        result = work()
    except BaseException as error:
        announce(StepEvent(label, "failed", time.perf_counter() - began, str(error)))
        journal.write("failed", step=label, seconds=time.perf_counter() - began, text=str(error))
        raise
    seconds = time.perf_counter() - began
    text = _in_words(result)
    announce(StepEvent(label, "done", seconds, text))
    journal.write("done", step=label, seconds=seconds, text=text)
    logger.info("%s: %s (%.1f s)", label, text or "done", seconds)
    return result


def _in_words(result: Any) -> str:
    """A result's own words, else its numbers: `users=5` as `users 5`."""
    if isinstance(text := getattr(result, "text", None), str):
        return text
    facts = dataclasses.asdict(result) if dataclasses.is_dataclass(result) and not isinstance(result, type) else result
    words = []
    for name, value in (facts or {}).items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        number = f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
        words.append(f"{name.replace('_', ' ')} {number}")
    return ", ".join(words[:5])


@task(name="step", task_run_name="{step}", cache_policy=NO_CACHE, timeout_seconds=timedelta(hours=6).total_seconds())
def _run_step(step: str, params: Params, workspace: Workspace) -> Any:
    """Run `tasks.<step>` in this process.

    The lineage key decides what is already done; a second cache would hide stale results, so Prefect's is off.
    """

    def work() -> Any:
        with measured(workspace.timing(step), step):
            return importlib.import_module(f"tasks.{step}").run(params, workspace)

    return told(step, work)


# Only what touches a network is tried again.
_run_network_step = _run_step.with_options(retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=_worth_retrying)


def run_step(step: str, params: Params, workspace: Workspace) -> Any:
    """Run a step and return its result dataclass; steps that touch a network are tried again when that may help."""
    chosen: Any = _run_network_step if step in _NETWORK_STEPS else _run_step
    return chosen(step, params, workspace)


@task(name="candidate step", task_run_name="{step}-{candidate}", cache_policy=NO_CACHE)
def run_candidate_step(step: str, candidate: str, workspace: Workspace, engine: Engine) -> None:
    """Run `python -m tasks.<step> <candidate>` in a process of its own, when one of the engine's slots is free.

    Raises:
        RectoryError: of the kind that the process's exit code stands for, with its last words.
    """
    command = StepCommand(step, workspace, candidate)

    def work() -> None:
        ended = run_command(engine, command)
        if ended.where:
            get_run_logger().info("%s ran on %s", command.label, ended.where)

    with engine.slots:
        told(command.label, work)


def write_params(params: Params, workspace: Workspace) -> None:
    """Put this run's params where its processes read them (JSON is YAML)."""
    from rectory.files import write_json

    write_json(params_file(workspace), dump_params(params))

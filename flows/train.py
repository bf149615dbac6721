"""Flow train: candidates on the newest data, registered; whether one is promoted is decided by another flow."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from prefect import flow

from flows import artifacts, events, finished, sequences
from flows.limits import alone
from flows.naming import data_and_moment
from flows.options import Data
from flows.trained import trained_runs
from rectory.files import read_json


@dataclass(frozen=True)
class TrainResult:
    """versions: candidate -> registered version. trained: False: `why` says what had done it before."""

    run_id: str
    trained: bool
    why: str
    versions: dict[str, str]


@flow(
    name="train",
    flow_run_name=data_and_moment,
    task_runner=sequences.THREADS,
    timeout_seconds=timedelta(hours=12).total_seconds(),
)
@sequences.refusable
def train(options: Data = Data()) -> TrainResult:
    """Fetch, validate, version, train, evaluate and register all candidates, if anything has changed.

    Args:
        options: which data, as of when.
    """
    asked = sequences.asked(options.dataset, options.as_of, options.overrides)
    params, workspace = asked.params, asked.begin("train")
    with alone("training", workspace):
        fetched = sequences.fetch(params, workspace)
        looked = finished.look(workspace, params, fetched.fingerprint)
        sequences.note(workspace, why=looked.why, inputs_key=looked.inputs_key)
        if (before := _done_before(looked, asked)) is not None:
            sequences.note(workspace, reused=True, reuses=before)
            artifacts.leave_note(f"{looked.why}. Nothing was trained: run `{before}` has done it.")
            return TrainResult(before, False, looked.why, {})
        sequences.take_in(params, workspace)
        sequences.train(params, workspace)
    entries = read_json(workspace.registered)["candidates"]
    versions = {name: str(entry["version"]) for name, entry in entries.items()}
    artifacts.leave_registered(params, workspace)
    events.emit(events.TRAINED, params.dataset, {"run_id": workspace.root.name, "versions": versions})
    return TrainResult(workspace.root.name, True, looked.why, versions)


def _done_before(looked: finished.Looked, asked: sequences.Asked) -> str | None:
    """Run with equal inputs that ended well, or that has trained and waits to be judged."""
    if looked.earlier is not None:
        return looked.earlier.run_id
    newest = next(trained_runs(asked.project, asked.params.dataset), None)
    if newest is None or newest.facts.get("inputs_key") != looked.inputs_key:
        return None
    return newest.run_id if newest.decision is None or newest.waiting else None

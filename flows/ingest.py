"""Flow ingest: what is new in the source, validated and versioned; bad data are told before a night's training."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from prefect import flow

from flows import artifacts, sequences
from flows.naming import data_and_moment
from flows.options import Data
from rectory.files import read_json


@dataclass(frozen=True)
class IngestResult:
    """snapshot: content hash of the validated tables. new: nobody had it before."""

    run_id: str
    snapshot: str
    rows_kept: int
    new: bool


@flow(name="ingest", flow_run_name=data_and_moment, timeout_seconds=timedelta(hours=2).total_seconds())
@sequences.refusable
def ingest(options: Data = Data()) -> IngestResult:
    """Fetch, validate and version the data.

    Args:
        options: which data, as of when.
    """
    asked = sequences.asked(options.dataset, options.as_of, options.overrides)
    workspace = asked.begin("ingest")
    sequences.fetch(asked.params, workspace)
    sequences.take_in(asked.params, workspace)
    artifacts.leave_data(workspace)
    snapshot, rows = read_json(workspace.snapshot), read_json(workspace.validation)["tables"]["interactions"]
    return IngestResult(workspace.root.name, snapshot["hash"], int(rows["rows_kept"]), bool(snapshot["new"]))

"""Step observe: how the live service has done lately, where there is an event log. It is no DVC stage."""

from __future__ import annotations

import time
from dataclasses import dataclass

from rectory.files import read_parquet, write_json
from rectory.params import Params
from rectory.serving.live_metrics import Attribution
from rectory.serving.live_report import live_report
from rectory.serving.store import EventStoreError, Store
from rectory.workspace import Workspace
from tasks import main


@dataclass(frozen=True)
class Observed:
    """observed: there is a report."""

    observed: bool
    text: str


def run(params: Params, workspace: Workspace) -> Observed:
    """Write live/live.json; without an event log nothing."""
    store = Store.of(workspace)
    if not store.exists:
        return Observed(False, "no event log: nothing is served live")
    items = read_parquet(workspace.tables / "interactions.parquet", ["item_id"])["item_id"].unique()
    until = time.time() if params.as_of is None else min(time.time(), params.as_of.timestamp())
    attribution = Attribution(60 * params.serve.attribution_minutes, params.serve.conversions)
    try:
        found = live_report(store, until, params.drift.live_days, attribution, items.tolist())
    except EventStoreError as error:
        # The check of the data does not hang on it.
        return Observed(False, f"the event log could not be read: {error}")
    finally:
        store.close()
    write_json(workspace.observed, found)
    return Observed(True, f"{len(found['windows'])} lines of live metrics")


if __name__ == "__main__":
    main("observe", run)

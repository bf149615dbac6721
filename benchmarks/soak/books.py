"""What must hold at the end of a day and of the soak; each breach in words."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.soak.prober import Probed
from benchmarks.soak.shop import Key, Truth
from rectory.data.snapshots import checkout
from rectory.files import read_json
from rectory.registry import audit
from rectory.registry.store import ModelStore
from rectory.workspace import Workspace

_SEATED = ("promoted", "rolled back", "seated")
LONGEST_GAP_SECONDS = 60.0


def kept_rows(interactions: Path) -> Counter[Key]:
    """Rows of a canonical table, with how often each is there."""
    frame = pd.read_parquet(interactions, columns=["user_id", "item_id", "timestamp"])
    times = frame["timestamp"].dt.as_unit("us").astype("int64")
    return Counter(zip(frame["user_id"].astype(str), frame["item_id"].astype(str), times, strict=True))


def rows_of_the_day(found: Counter[Key], truth: Truth) -> list[str]:
    """Every good row exactly once, and nothing else."""
    lost = truth.good - set(found)
    doubled = [key for key, count in found.items() if count > 1]
    foreign = set(found) - truth.good
    return [
        f"{len(rows)} rows {what}, e.g. {sorted(rows)[:2]}"
        for what, rows in (("are lost", lost), ("are there twice", doubled), ("were never good", foreign))
        if rows
    ]


def newest(workspace: Workspace, kind: str) -> Workspace:
    """Workspace of the newest run of a flow that has versioned its data."""
    for folder in sorted(workspace.runs.iterdir(), reverse=True):
        run = Workspace(folder, workspace.project)
        if run.snapshot.is_file() and read_json(run.run_facts)["kind"] == kind:
            return run
    raise FileNotFoundError(f"no run of {kind} has a snapshot in {workspace.runs}")


def counts(workspace: Workspace) -> tuple[int, list[str]]:
    """How many validations there were, and those whose rows do not add up."""
    looked, wrong = 0, []
    for file in sorted(workspace.runs.glob("*/data/validation.json")):
        rows = read_json(file)["tables"]["interactions"]
        looked += 1
        if rows["rows_in"] != rows["rows_kept"] + rows["rows_quarantined"] + rows["rows_filtered"]:
            wrong.append(f"rows of run {file.parent.parent.name} do not add up: {rows}")
    return looked, wrong


def last_snapshot(workspace: Workspace, truth: Truth, scratch: Path) -> tuple[dict[str, Any], list[str]]:
    """The last version of the data, brought back from DVC, against all that was ever sent."""
    run = newest(workspace, "ingest")
    rows = read_json(run.validation)["tables"]["interactions"]
    expected = {
        "rows_in": truth.lines,
        "rows_kept": len(truth.good),
        "rows_quarantined": truth.bad,
        "rows_filtered": truth.test_orders,
    }
    wrong = [f"{name} is {rows[name]}, sent were {count}" for name, count in expected.items() if rows[name] != count]
    checkout(workspace, read_json(run.snapshot)["hash"], scratch)
    wrong += rows_of_the_day(kept_rows(scratch / "interactions.parquet"), truth)
    return {name: rows[name] for name in expected}, wrong


def decisions(workspace: Workspace, store: ModelStore, probed: Probed) -> tuple[dict[str, int], list[str]]:
    """Each judgement and each change of champion stands in the audit log with its reasons, in the order seen."""
    lines = audit.read(workspace)
    judged = [line for line in lines if line["event"] == "judged"]
    seats = [line for line in lines if line["event"] in _SEATED]
    wrong = [f"a judgement without a reason: {line}" for line in judged if not any(line["reasons"])]
    wrong += [f"a change of champion without a reason: {line}" for line in seats if not line["reason"]]
    known = {(line["version"], line["promoted"]) for line in judged}
    taken = 0
    for file in sorted(workspace.runs.glob("*/registry/decision.json")):
        decision = read_json(file)
        version = read_json(file.parent / "registered.json")["candidates"][decision["challenger"]["name"]]["version"]
        taken += 1
        if (str(version), decision["promoted"]) not in known:
            wrong.append(f"the decision about version {version} in {file} is not in the audit log")
    wrong += _seen(probed.seen, [str(line["version"]) for line in seats], store)
    keys = [one.lineage_key for one in store.versions()]
    if len(set(keys)) != len(keys):
        wrong.append(f"{len(keys) - len(set(keys))} models were registered twice")
    events = Counter(str(line["event"]) for line in lines)
    refused = sum(not line["promoted"] for line in judged)
    return {**dict(sorted(events.items())), "decisions": taken, "refused": refused}, wrong


def _seen(seen: list[str], told: list[str], store: ModelStore) -> list[str]:
    """Champions that were seen are those that were told, in that order; the last one told serves."""
    wrong, rest = [], iter(told)
    for number in seen:
        if number not in rest:
            wrong.append(f"version {number} was seen as champion out of the order of the audit log: {seen}, {told}")
            break
    champion = store.champion()
    if told and (champion is None or champion.version != told[-1]):
        now = champion.version if champion else None
        wrong.append(f"champion is {now}, the audit log's last is {told[-1]}")
    return wrong


def seat(probed: Probed) -> list[str]:
    """Never a moment without a champion."""
    wrong = []
    if not probed.looks or not probed.loads:
        wrong.append("nobody has looked who is champion")
    if probed.failed:
        wrong.append(f"{len(probed.failed)} probes found no champion, e.g. {probed.failed[:3]}")
    if probed.longest_gap > LONGEST_GAP_SECONDS:
        wrong.append(f"for {probed.longest_gap:.0f} s nobody could be asked who is champion")
    return wrong

"""Is this run's work done already? Equal inputs, equal code: equal results, so they are shown and not made again."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from rectory.files import read_json, replacing, sha256_file, sha256_json, write_json
from rectory.models.catalogue import modules_of
from rectory.params import Params, dump_params
from rectory.registry.lineage import CodeGraph, code_hash, lock_hash, own_tests
from rectory.registry.store import ModelStore
from rectory.workspace import Workspace

_NOT_OF_A_RUN = ("serve", "rules", "engine", "gc")
"""Sections that only the live service or the care of the project reads, and where processes run."""


@dataclass(frozen=True)
class Finished:
    """The last run of a data set that ended well."""

    inputs_key: str
    run_id: str
    workspace: str
    champion: str
    """Registered version that held the seat when the run ended."""
    inputs: dict[str, str] = field(default_factory=dict)
    """Digest of each input, so that a run which is not reused can say what has changed."""


@dataclass(frozen=True)
class Looked:
    """What was found: an earlier run to show again, or why there is work to do."""

    earlier: Finished | None
    why: str
    inputs_key: str
    """Digest of all inputs: equal keys, equal results."""


def inputs_of(workspace: Workspace, params: Params, fingerprint: str) -> dict[str, str]:
    """Digest of each thing that a run's results depend on; params by section.

    The lineage key cannot be asked here: it needs the validated snapshot, and not having to validate is the gain.
    """
    dumped = dump_params(params)
    del dumped["train"]["workers"]
    for section in _NOT_OF_A_RUN:
        del dumped[section]
    graph = CodeGraph()
    kinds = {module for one in params.train.candidates.values() for module in modules_of(one.kind)}
    sections = {f"params.{name}": sha256_json(values) for name, values in dumped.items()}
    return {
        "source": fingerprint,
        "card": sha256_file(workspace.card(params.dataset)),
        "tests": sha256_json(own_tests(params, workspace.project)),
        "code": code_hash(graph.modules([*graph.steps(), *kinds])),
        "lock": lock_hash(workspace.lock_file),
        **sections,
    }


def look(workspace: Workspace, params: Params, fingerprint: str) -> Looked:
    """The earlier run with equal inputs whose results all still exist; its champion is seated again if it lost the seat
    to another data set."""
    inputs = inputs_of(workspace, params, fingerprint)
    key = sha256_json(inputs)
    record = workspace.finished(params.dataset)
    if not record.is_file():
        return Looked(None, f"no run of {params.dataset} has ended well yet", key)
    earlier = Finished(**read_json(record))
    if earlier.inputs_key != key:
        changed = sorted(name for name in {*inputs, *earlier.inputs} if inputs.get(name) != earlier.inputs.get(name))
        return Looked(None, f"changed since run {earlier.run_id}: {', '.join(changed)}", key)
    if not (workspace.reports / earlier.run_id / "summary.json").is_file():
        return Looked(None, f"the report of run {earlier.run_id} is gone", key)
    if not _time_changes_nothing(params, Workspace(earlier.workspace, workspace.project)):
        return Looked(None, f"rows that lay in the future at run {earlier.run_id} may be good now", key)
    if not ModelStore(workspace).seat_champion_of(params.dataset):
        return Looked(None, f"{params.dataset} has no champion", key)
    return Looked(earlier, f"nothing has changed since run {earlier.run_id}", key)


def remember(workspace: Workspace, params: Params, fingerprint: str) -> None:
    """Note that this run ended well; without a champion there is nothing to show again."""
    if (champion := read_json(workspace.decision)["champion"]) is None:
        return
    inputs = inputs_of(workspace, params, fingerprint)
    key, version = sha256_json(inputs), str(champion["version"])
    if workspace.renewal.is_file() and (renewal := read_json(workspace.renewal))["served"]:
        version = str(renewal["version"])
    done = Finished(key, workspace.root.name, str(workspace.root), version, inputs)
    if params.as_of is not None:
        write_json(workspace.finished_date(params.dataset, date_label(params.as_of)), asdict(done))
    write_json(workspace.finished(params.dataset), asdict(done))


def date_label(moment: datetime) -> str:
    """Name of a moment under which a finished run as of it is noted."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H%M%S}"


def done_as_of(workspace: Workspace, dataset: str, moment: datetime) -> str | None:
    """Run that ended well as of exactly this moment; None: there is none."""
    record = workspace.finished_date(dataset, date_label(moment))
    return str(read_json(record)["run_id"]) if record.is_file() else None


def publish_again(earlier: Finished, workspace: Workspace, params: Params, seconds: float) -> None:
    """Make the earlier report the latest one, marked as reused, with the champion that serves now."""
    source = workspace.reports / earlier.run_id
    summary = {**read_json(source / "summary.json"), "reused": True, "total_seconds": round(seconds, 3)}
    seated = ModelStore(workspace).champion(params.dataset)
    if seated is not None and seated.version != earlier.champion:
        summary["decision"] = {
            "promoted": False,
            "champion": {"name": seated.candidate, "version": seated.version},
            "reasons": [f"version {seated.version} was seated by hand after the run had seated {earlier.champion}"],
        }
    with replacing(workspace.reports / "latest") as scratch:
        shutil.copytree(source, scratch)
        write_json(scratch / "summary.json", summary)


def _time_changes_nothing(params: Params, earlier: Workspace) -> bool:
    """Rows that lay in the future then may be good now; without such rows, or as of a day that is given, none can."""
    if params.as_of is not None:
        return True
    if not earlier.validation.is_file():
        return False
    tables = read_json(earlier.validation)["tables"]
    reasons = {reason for table in tables.values() for part in ("quarantined", "filtered") for reason in table[part]}
    return not any("future" in reason or "after as_of" in reason for reason in reasons)

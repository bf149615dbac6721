"""What may go, by policy: old runs and reports, model and data versions that nobody needs, caches, leftovers.

What champion, previous and challenger need is kept: their files, the data they were made from, and the versions that a
warm start of theirs goes back to. Every removal is written down before it begins, so that a process that dies in the
midst leaves a list that the next gc completes.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rectory.care.status import leftovers, size
from rectory.data.snapshots import list_snapshots, remove_snapshots
from rectory.files import exclusive, read_json, write_json
from rectory.params.sections import GcParams
from rectory.registry.store import ModelStore, Version
from rectory.workspace import Workspace

_DAY = 86_400.0


@dataclass
class Plan:
    """folders: path -> why it may go. versions, snapshots: what may go. bytes: of the folders and models."""

    folders: dict[Path, str] = field(default_factory=dict)
    versions: list[Version] = field(default_factory=list)
    snapshots: list[str] = field(default_factory=list)
    kept_versions: list[Version] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        return {
            "folders": [{"path": str(path), "why": why, "bytes": size(path)} for path, why in self.folders.items()],
            "versions": [{"version": one.version, "name": one.candidate} for one in self.versions],
            "snapshots": self.snapshots,
            "bytes": sum(size(path) for path in self.folders),
        }


def plan(workspace: Workspace, policy: GcParams, now: float | None = None) -> Plan:
    """Look, and touch nothing."""
    now = time.time() if now is None else now
    store = ModelStore(workspace)
    kept = needed_versions(store.versions(), store.aliases(), policy, now)
    made = Plan(kept_versions=kept)
    numbers = {one.version for one in kept}
    made.versions = [one for one in store.versions() if one.version not in numbers]
    made.snapshots = _old_snapshots(workspace, policy, kept, now)
    made.folders |= dict.fromkeys(leftovers(workspace), "left by a process that died")
    made.folders |= _old_runs(workspace, policy, now)
    made.folders |= _caches(workspace, kept)
    return made


def needed_versions(versions: list[Version], aliases: Mapping[str, str], policy: GcParams, now: float) -> list[Version]:
    """Versions that stay: seated, waiting, young, among the newest of their data set, or ancestors of such."""
    by_key = {one.lineage_key: one for one in versions}
    by_number = {one.version: one for one in versions}
    seated, counted = set(aliases.values()), dict[str, int]()
    stay: dict[str, Version] = {}
    for one in sorted(versions, key=lambda version: int(version.version), reverse=True):
        counted[one.dataset] = counted.get(one.dataset, 0) + 1
        young = now - datetime.fromisoformat(one.created).timestamp() < policy.keep_days * _DAY
        if one.version in seated or young or counted[one.dataset] <= policy.keep_versions:
            stay[one.version] = one
    todo = list(stay.values())
    while todo:
        one = todo.pop()
        for parent in (by_key.get(one.warm_start_of or ""), by_number.get(one.refit_of or "")):
            if parent is not None and parent.version not in stay:
                stay[parent.version] = parent
                todo.append(parent)
    return list(stay.values())


def collect(workspace: Workspace, policy: GcParams, say: Callable[[str], None] = lambda _: None) -> Plan:
    """Remove what `plan` finds.

    Raises:
        BusyError: a run is at work. DataError, StoreError: cache, remote or model store cannot be reached.
    """
    with exclusive(workspace.lock("run"), "rectory gc", timeout_seconds=60):
        _complete(workspace)
        found = plan(workspace, policy)
        store = ModelStore(workspace)
        for version in found.versions:
            say(f"version {version.version} ({version.candidate})")
            places = store.files_of(version)
            _note(workspace, folders=places, version=version.version)
            store.remove(version)
            _remove_noted(workspace, places)
        if found.snapshots:
            say(f"{len(found.snapshots)} data versions")
            _note(workspace, snapshots=found.snapshots)
            remove_snapshots(workspace, found.snapshots, spare=_named_by_dvc(workspace))
        for path, why in found.folders.items():
            say(f"{path}: {why}")
        _remove_noted(workspace, found.folders)
        return found


def _complete(workspace: Workspace) -> None:
    """Finish what a killed gc had begun."""
    if not workspace.gc_note.is_file():
        return
    noted = read_json(workspace.gc_note)
    if noted["version"] in {one.version for one in ModelStore(workspace).versions()}:
        # It was killed before the version was taken off the list: its files are needed as long as it stands there.
        workspace.gc_note.unlink()
        return
    if noted["snapshots"]:
        # Those that a run has made again meanwhile are whole and stay.
        there = {one.hash for one in list_snapshots(workspace)}
        remove_snapshots(workspace, set(noted["snapshots"]) - there, spare=_named_by_dvc(workspace))
    _remove_noted(workspace, [Path(path) for path in noted["folders"]])


def _note(
    workspace: Workspace, folders: Iterable[Path] = (), snapshots: Iterable[str] = (), version: str | None = None
) -> None:
    told = {"folders": [str(path) for path in folders], "snapshots": list(snapshots), "version": version}
    write_json(workspace.gc_note, told)


def _remove_noted(workspace: Workspace, folders: Iterable[Path]) -> None:
    gone = list(folders)
    _note(workspace, folders=gone)
    for path in gone:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    workspace.gc_note.unlink(missing_ok=True)


def _old_runs(workspace: Workspace, policy: GcParams, now: float) -> dict[Path, str]:
    if not workspace.runs.is_dir():
        return {}
    shown_again = {Path(read_json(note)["workspace"]).name for note in (workspace.state / "finished").rglob("*.json")}
    runs = sorted((path for path in workspace.runs.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
    found: dict[Path, str] = {}
    for run in runs[: -policy.keep_runs]:
        if run.name in shown_again or now - run.stat().st_mtime < policy.keep_days * _DAY:
            continue
        found[run] = "an old run"
        if (report := workspace.reports / run.name).is_dir():
            found[report] = "the report of an old run"
    return found


def _old_snapshots(workspace: Workspace, policy: GcParams, kept: list[Version], now: float) -> list[str]:
    needed = {one.tags["snapshot_hash"] for one in kept}
    counted: dict[str, int] = {}
    found = []
    for one in reversed(list_snapshots(workspace)):
        counted[one.dataset] = counted.get(one.dataset, 0) + 1
        made = datetime.fromisoformat(one.created_at)
        age = now - (made if made.tzinfo else made.replace(tzinfo=UTC)).timestamp()
        if one.hash not in needed and counted[one.dataset] > policy.keep_snapshots and age > policy.keep_days * _DAY:
            found.append(one.hash)
    return found


def _caches(workspace: Workspace, kept: list[Version]) -> dict[Path, str]:
    from rectory.data.card import WheelSource, load_card

    models, keys = {one.model_id for one in kept}, {one.lineage_key for one in kept}
    pinned = set()
    for path in (workspace.project / "datasets").glob("*.yaml"):
        source = load_card(path).source
        if isinstance(source, WheelSource):
            pinned.add(source.sha256)
    found = dict.fromkeys(_below(workspace.state / "bundles", models), "a fetched model that is gone")
    found |= dict.fromkeys(_below(workspace.state / "live", keys), "live state of a model that is gone")
    found |= {
        path: "a package that no card pins" for path in _below(workspace.downloads, {*pinned, "terms"}) if path.is_dir()
    }
    return found


def _below(folder: Path, kept: set[str]) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.name not in kept] if folder.is_dir() else []


def _named_by_dvc(workspace: Workspace) -> set[str]:
    """Objects that the project's own dvc.lock needs: the cache is shared with `dvc repro`."""
    from ruamel.yaml import YAML

    lock = workspace.project / "dvc.lock"
    if not lock.is_file():
        return set()
    stages = (YAML(typ="safe").load(lock.read_text(encoding="utf-8")) or {}).get("stages", {})
    return {out["md5"] for stage in stages.values() for out in stage.get("outs", []) if "md5" in out}

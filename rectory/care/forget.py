"""Forgetting a person: out of tables, snapshots, models, scores, reports and logs, kept out for good, and proven.

The ledger comes first: from then on no run takes the person in again. Each file is rewritten in one step, new data
versions are complete before the old ones go: a process that dies leaves nothing half, the same command completes it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rectory.care.bundles import empty_row, row_of
from rectory.care.person import Person, is_distinctive, mentions, take_out
from rectory.data.card import Card, FilesSource, load_card
from rectory.data.forgotten import remember_to_forget
from rectory.data.partitions import parts
from rectory.data.snapshots import Snapshot, add_snapshot, checkout, list_snapshots, objects_of, remove_snapshots
from rectory.errors import DataError
from rectory.files import exclusive, read_json, read_parquet, write_json
from rectory.installation import running
from rectory.registry import audit
from rectory.registry.store import ModelStore, user_name
from rectory.workspace import Workspace

Say = Callable[[str], None]
_REMADE = ("data/features", "data/history", "data/split", "parents")
"""Folders of a run that hold the person as a number among numbers, and that a run makes anew when it needs them."""
_OF_SQLITE = ("-wal", "-shm", "-journal")
"""Endings of what belongs to an open database: SQLite itself writes it back and empties it."""
_OF_DVC = ("data", "models", "metrics", "evaluation", "plots", "scores", "drift", "registry", "refits", "hindsight")


@dataclass
class Erased:
    """files: rewritten or removed. snapshots: old hash -> new. versions: numbers of rewritten models.

    left: places that still have the id, with why or what to do. sources: the source's own files that have it.
    """

    new: bool
    distinctive: bool
    files: list[str] = field(default_factory=list)
    snapshots: dict[str, str] = field(default_factory=dict)
    versions: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)


def forget(workspace: Workspace, dataset: str, user_id: str, say: Say = lambda _: None) -> Erased:
    """Remove a user of one data set from all that the project keeps.

    Raises:
        BusyError: a run is at work. DataError, StoreError: data versions or models cannot be reached.
    """
    card = load_card(workspace.card(dataset))
    with exclusive(workspace.lock("run"), "rectory forget", timeout_seconds=600):
        done = Erased(remember_to_forget(workspace, dataset, user_id), False)
        person = _person(workspace, card, user_id)
        done.distinctive = person.distinctive
        say("data versions")
        done.snapshots = _snapshots(workspace, dataset, person)
        say("models")
        done.versions, elsewhere = _models(workspace, dataset, person, done.snapshots)
        shutil.rmtree(workspace.state / "finished" / dataset, ignore_errors=True)
        workspace.finished(dataset).unlink(missing_ok=True)
        say("files")
        done.files = _files(workspace, dataset, person)
        if done.snapshots:
            remove_snapshots(workspace, done.snapshots)
        facts = {"dataset": dataset, "files": len(done.files), "versions": done.versions, "by": user_name()}
        audit.append(workspace, "forgot a user", facts)
        say("proof")
        done.left = [*elsewhere, *(str(path) for path in scan(workspace, dataset, person))]
        done.sources = [str(path) for path in _source_files(workspace, card) if mentions(path, person)]
        return done


def scan(workspace: Workspace, dataset: str, person: Person) -> Iterator[Path]:
    """Every file of the project's state, runs and results that still has the person in it."""
    for path in _all_files(workspace, dataset):
        try:
            if mentions(path, person):
                yield path
        except (OSError, ValueError):
            yield path


def _person(workspace: Workspace, card: Card, user_id: str) -> Person:
    columns = {"user_id", card.interactions.user_id}
    if card.users is not None:
        columns.add(card.users.id)
    items: set[str] = set()
    for snapshot in list_snapshots(workspace, card.name)[-1:]:
        with tempfile.TemporaryDirectory(prefix="rectory-") as folder:
            tables = Path(folder) / "tables"
            checkout(workspace, snapshot.hash, tables)
            items = set(read_parquet(tables / "interactions.parquet", ["item_id"])["item_id"].unique())
    return Person(user_id, frozenset(columns), is_distinctive(user_id, items))


def _snapshots(workspace: Workspace, dataset: str, person: Person) -> dict[str, str]:
    """Make each version that has the person anew without them; the old ones are removed at the end."""
    made: dict[str, str] = {}
    for snapshot in list_snapshots(workspace, dataset):
        with tempfile.TemporaryDirectory(prefix="rectory-") as folder:
            tables = Path(folder) / "tables"
            try:
                checkout(workspace, snapshot.hash, tables)
            except DataError:
                # Neither cache nor remote has it whole: nothing that could be brought back may stay.
                made[snapshot.hash] = ""
                continue
            if _without_person(tables, person):
                made[snapshot.hash] = add_snapshot(tables, workspace, dataset, _facts(snapshot)).hash
    return made


def _facts(snapshot: Snapshot) -> dict[str, object]:
    return {"summary": snapshot.summary}


def _without_person(tables: Path, person: Person) -> bool:
    found = [path for path in sorted(tables.rglob("*.parquet")) if path.is_file() and mentions(path, person)]
    for path in found:
        path.chmod(0o644)
        take_out(path, person)
    if found:
        facts = read_json(tables / "tables.json")
        for name in facts["rows"]:
            facts["rows"][name] = sum(len(read_parquet(part)) for part in parts(tables / f"{name}.parquet"))
        (tables / "tables.json").chmod(0o644)
        write_json(tables / "tables.json", facts)
    return bool(found)


def _models(
    workspace: Workspace, dataset: str, person: Person, snapshots: dict[str, str]
) -> tuple[list[str], list[str]]:
    """Numbers of the rewritten versions; versions with the person whose files lie where they cannot be rewritten."""
    store, done, elsewhere = ModelStore(workspace), [], []
    for version in store.versions(dataset):
        new_data = snapshots.get(version.tags["snapshot_hash"])
        folder = store.bundle_folder(version)
        if not store.files_of(version):
            if row_of(folder, person.user_id) is not None:
                elsewhere.append(f"model version {version.version}, whose files lie in a remote store")
            continue
        changed = empty_row(folder, person.user_id)
        for place in store.files_of(version):
            # The input example of MLflow's model is made of the first users.
            for path in sorted(place.rglob("*")):
                if path.is_file() and not path.is_relative_to(folder) and _touched(path, person):
                    changed = True
        if changed or new_data:
            store.rewritten(version, new_data)
            done.append(version.version)
    return done, elsewhere


def _touched(path: Path, person: Person) -> bool:
    if not mentions(path, person):
        return False
    take_out(path, person)
    return True


def _files(workspace: Workspace, dataset: str, person: Person) -> list[str]:
    done = []
    for run in _runs_of(workspace, dataset):
        for name in _REMADE:
            if (run / name).is_dir():
                shutil.rmtree(run / name)
                done.append(f"{run / name}/")
    for path in _all_files(workspace, dataset):
        bundle = _bundle_of(path)
        if bundle is not None:
            if path.name == "users.parquet" and row_of(bundle, person.user_id) is not None:
                empty_row(bundle, person.user_id)
                done.append(str(path))
            continue
        if path.is_relative_to(workspace.data_versions / "snapshots"):
            continue
        if path.name.endswith(_OF_SQLITE):
            continue
        if path == workspace.event_log and running(workspace) is not None:
            # The service writes to it, and has taken the person out of it already.
            continue
        if _is_object(path) and mentions(path, person):
            # Its name is the hash of its content: it goes, and whoever needs it makes it anew.
            path.unlink()
            done.append(str(path))
        elif not _is_object(path) and _touched(path, person):
            done.append(str(path))
    return done


def _is_object(path: Path) -> bool:
    """A file of DVC's cache or of a remote in a folder: files/md5/ab/cdef..."""
    return path.parent.parent.name == "md5" and path.parent.parent.parent.name == "files"


def _bundle_of(path: Path) -> Path | None:
    return path.parent if path.name == "users.parquet" and (path.parent / "bundle.json").is_file() else None


def _all_files(workspace: Workspace, dataset: str) -> Iterator[Path]:
    """State, caches, runs and reports of this data set, and what `dvc repro` made in the project's folder."""
    others = {path.stem for path in (workspace.project / "datasets").glob("*.yaml")} - {dataset}
    foreign = {path.name for path in _runs_of(workspace, *others)} if others else set()
    places = [workspace.state, workspace.project / ".dvc" / "cache", workspace.runs, workspace.reports]
    places += [workspace.project / name for name in _OF_DVC]
    kept_out = {workspace.downloads, workspace.state / "locks"}
    theirs = objects_of(workspace, [one.hash for name in sorted(others) for one in list_snapshots(workspace, name)])
    for place in places:
        for path in sorted(place.rglob("*")) if place.is_dir() else []:
            if not path.is_file() or path.is_symlink() or any(path.is_relative_to(out) for out in kept_out):
                continue
            inside = path.relative_to(place).parts[0]
            of_other = place in (workspace.runs, workspace.reports) and inside in foreign
            shared = _is_object(path) and path.parent.name + path.name in theirs
            if not of_other and not shared and not _of_other_state(path, workspace, others):
                yield path


def _of_other_state(path: Path, workspace: Workspace, others: set[str]) -> bool:
    """Parts, kept scores, lists and models that belong to another data set, whose users may have the same ids."""
    names = path.relative_to(workspace.project).parts
    return any(name in others or name.removesuffix(".parquet").removeprefix("scores-") in others for name in names)


def _runs_of(workspace: Workspace, *datasets: str) -> list[Path]:
    found = []
    for run in sorted(workspace.runs.iterdir()) if workspace.runs.is_dir() else []:
        for told in (run / "run.json", run / "data" / "tables" / "tables.json", run / "params.yaml"):
            if told.is_file():
                name = read_json(told).get("dataset")
                if name is not None:
                    if name in datasets:
                        found.append(run)
                    break
    return found


def _source_files(workspace: Workspace, card: Card) -> list[Path]:
    if not isinstance(card.source, FilesSource):
        return []
    found = []
    for table in ("interactions", "users"):
        spec = getattr(card.source, table)
        if spec is not None:
            found += [path for path in sorted(workspace.project.glob(spec.path)) if path.is_file()]
    return found

"""Data versions: each validated set of tables by its content, kept by DVC, brought back without git.

.rectory/data/ is a DVC repository of its own, without git, so that a version outlives the branch it was made on. It
shares cache and remotes with the project's .dvc/config: what `dvc repro` has stored is not stored twice, and a team's
`dvc remote add -d` is honoured. Per version there is a pointer `snapshots/<dataset>/<hash>.dvc` and beside it a small
`<hash>.json` with facts; the pointer is written last, so a version is listed only when it is complete.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rectory.data.storage import Storage, StorageError
from rectory.errors import DataError, UsageError
from rectory.files import exclusive, read_json, replacing, write_json
from rectory.workspace import Workspace, safe_name

_SUFFIX = ".dir"
_MIN_PREFIX = 4


@dataclass(frozen=True)
class Snapshot:
    """One version of a data set's tables.

    hash: DVC's content hash, `<md5>.dir`.
    path: pointer file, relative to the project.
    as_of: newest row, ISO. created_at: when it was first added, ISO.
    pushed: it is in the remote. remote: the remote's name, None when there is none. problem: why it is not pushed.
    new: this call added it.
    summary: what the next validation compares with.
    """

    dataset: str
    hash: str
    path: str
    rows: dict[str, int]
    as_of: str
    created_at: str
    pushed: bool
    remote: str | None
    problem: str | None
    new: bool
    summary: dict[str, Any]


def add_snapshot(tables: Path, workspace: Workspace, dataset: str, facts: Mapping[str, Any] | None = None) -> Snapshot:
    """Put the tables into the cache and the remote; equal tables are one version, however often they come.

    Args:
        tables: folder that `validate` wrote.
        facts: `summary` is kept for the next validation.
    Raises:
        DataError: the folder is no set of tables, or the cache cannot be written.
        BusyError: another process is at it for ten minutes.
    """
    known = read_json(tables / "tables.json")
    safe_name(dataset, "data set")
    with exclusive(workspace.lock("data"), "data versions"), _storage(workspace) as storage:
        _tidy(workspace)
        try:
            content = storage.add(tables)
        except StorageError as error:
            raise DataError(f"{dataset}: the tables could not be put into the data cache: {error}") from error
        pointer = _folder(workspace, dataset) / f"{_stem(content)}.dvc"
        new = not pointer.exists()
        snapshot = Snapshot(
            dataset=dataset,
            hash=content,
            path=pointer.relative_to(workspace.project).as_posix(),
            rows={str(name): int(count) for name, count in known["rows"].items()},
            as_of=known["as_of"],
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            pushed=False,
            remote=storage.remote,
            problem=None,
            new=new,
            summary=dict((facts or {}).get("summary", {})),
        )
        if not new:
            before = _read(pointer)
            snapshot = replace(snapshot, created_at=before.created_at, summary=snapshot.summary or before.summary)
        _write(workspace, snapshot)
        _push_all(workspace, storage, snapshot)
        return replace(_read(pointer), new=new)


def list_snapshots(workspace: Workspace, dataset: str | None = None) -> list[Snapshot]:
    """All versions, the oldest first."""
    pattern = "*" if dataset is None else safe_name(dataset, "data set")
    pointers = (workspace.data_versions / "snapshots").glob(f"{pattern}/*.dvc")
    found = [_read(pointer) for pointer in pointers]
    return sorted(found, key=lambda snapshot: (snapshot.created_at, snapshot.dataset, snapshot.hash))


def previous_snapshot(workspace: Workspace, dataset: str) -> Snapshot | None:
    """The version of this data set with the newest data; None when there is none."""
    found = list_snapshots(workspace, dataset)
    return max(found, key=lambda snapshot: (snapshot.as_of, snapshot.created_at), default=None)


def find_snapshot(workspace: Workspace, content: str) -> Snapshot:
    """The one version whose hash begins with `content`.

    Raises:
        UsageError: none or several do.
    """
    known = list_snapshots(workspace)
    wanted = content.removesuffix(_SUFFIX).lower()
    found = {snapshot.hash: snapshot for snapshot in known if snapshot.hash.startswith(wanted)}
    if len(found) == 1 and len(wanted) >= _MIN_PREFIX:
        return next(iter(found.values()))
    listed = ", ".join(f"{snapshot.hash[:12]} ({snapshot.dataset}, {snapshot.as_of})" for snapshot in known) or "none"
    if len(wanted) < _MIN_PREFIX:
        raise UsageError(f"data hash {content!r}: give at least {_MIN_PREFIX} characters. Known versions: {listed}.")
    problem = "fits several versions" if found else "is no known version"
    raise UsageError(f"data hash {content!r} {problem}. Known versions: {listed}.")


def checkout(workspace: Workspace, content: str, target: Path) -> None:
    """Bring a version's tables to `target`, from the cache or, failing that, from the remote.

    A full hash that is not listed here is looked for too: a model's lineage may come from a colleague's machine.

    Args:
        content: the hash or its beginning (4 characters and more).
    Raises:
        UsageError: no such version is known.
        DataError: it is known, but neither cache nor remote has it.
    """
    full = content.removesuffix(_SUFFIX).lower()
    whole = re.fullmatch(r"[0-9a-f]{32}", full)
    wanted = full + _SUFFIX if whole else find_snapshot(workspace, content).hash
    with exclusive(workspace.lock("data"), "data versions"), _storage(workspace) as storage:
        _tidy(workspace)
        try:
            with storage.fetched(wanted) as folder, replacing(target) as scratch:
                shutil.copytree(folder, scratch)
        except StorageError as error:
            if all(snapshot.hash != wanted for snapshot in list_snapshots(workspace)):
                find_snapshot(workspace, content)
            raise DataError(
                f"data version {wanted} is neither in the cache {storage.cache} nor in the remote "
                f"{storage.remote or '(none is set)'}: {error}. Set the remote that has it with `dvc remote add -d`, "
                "or make the version again from its source with `rectory run` and the same as_of."
            ) from error


def remove_snapshots(workspace: Workspace, hashes: Iterable[str], *, spare: Iterable[str] = ()) -> int:
    """Remove versions with those of their files that no other version has, from cache and remote; gives the files.

    The pointer goes first, so that a version is listed only while it is whole; killed in between, doing it again with
    the same hashes completes it.

    Args:
        hashes: of the versions. spare: objects that somebody else needs, e.g. those that dvc.lock names.
    Raises:
        DataError: the cache or the remote cannot be reached.
    """
    gone = set(hashes)
    with exclusive(workspace.lock("data"), "data versions"), _storage(workspace) as storage:
        _tidy(workspace)
        try:
            files = {name: set(storage.objects(name)) for name in gone}
            for pointer in (workspace.data_versions / "snapshots").glob("*/*.dvc"):
                if pointer.stem + _SUFFIX in gone:
                    pointer.unlink()
                    pointer.with_suffix(".json").unlink(missing_ok=True)
            kept = set(spare)
            for name in [one.hash for one in list_snapshots(workspace)] + [
                one for one in spare if one.endswith(_SUFFIX)
            ]:
                kept |= {name, *storage.objects(name)}
            # The list of a version last: while it is there, its files can be found again.
            own = sorted(set().union(*files.values()) - kept) if files else []
            return storage.drop(own) + storage.drop(sorted(gone - kept))
        except StorageError as error:
            raise DataError(f"data versions could not be removed: {error}. Run the same command again.") from error


def objects_of(workspace: Workspace, hashes: Iterable[str]) -> set[str]:
    """Names in cache and remote of all that these versions are made of, the lists of their files included."""
    found: set[str] = set()
    wanted = list(hashes)
    if not wanted:
        return found
    with exclusive(workspace.lock("data"), "data versions"), _storage(workspace) as storage:
        for name in wanted:
            found |= {name, *storage.objects(name)}
    return found


def damaged_snapshots(workspace: Workspace) -> dict[str, str]:
    """Hash -> what is wrong, for versions that neither the cache nor the remote has whole. Reads every file once.

    Raises:
        DataError: the remote cannot be reached.
    """
    known = list_snapshots(workspace)
    if not known:
        return {}
    found: dict[str, str] = {}
    with exclusive(workspace.lock("data"), "data versions"), _storage(workspace) as storage:
        try:
            verdicts: dict[str, bool] = {}
            for snapshot in known:
                files = storage.objects(snapshot.hash)
                if not files:
                    found[snapshot.hash] = f"{snapshot.dataset} as of {snapshot.as_of}: its list of files is gone"
                    continue
                for one in files:
                    if one not in verdicts:
                        verdicts[one] = storage.intact(one)
                bad = sorted(name for one, name in files.items() if not verdicts[one])
                if bad:
                    found[snapshot.hash] = f"{snapshot.dataset} as of {snapshot.as_of}: damaged or gone: {bad[:5]}"
        except StorageError as error:
            raise DataError(f"data versions could not be looked at: {error}") from error
    return found


def _storage(workspace: Workspace) -> Storage:
    return Storage(workspace.data_versions, workspace.project)


def _folder(workspace: Workspace, dataset: str) -> Path:
    return workspace.data_versions / "snapshots" / dataset


def _stem(content: str) -> str:
    return content.removesuffix(_SUFFIX)


def _tidy(workspace: Workspace) -> None:
    """Remove what a killed process left; the lock is ours, so nobody is using it."""
    shutil.rmtree(workspace.data_versions / "scratch", ignore_errors=True)


def _read(pointer: Path) -> Snapshot:
    return Snapshot(**read_json(pointer.with_suffix(".json")))


def _write(workspace: Workspace, snapshot: Snapshot) -> None:
    pointer = workspace.project / snapshot.path
    write_json(pointer.with_suffix(".json"), asdict(replace(snapshot, new=False)))
    if not pointer.exists():
        with replacing(pointer) as scratch:
            scratch.write_text(pointer_text(snapshot.hash, _stem(snapshot.hash)), encoding="utf-8")


def pointer_text(content: str, path: str) -> str:
    """A .dvc file: what `dvc pull` needs to bring `content` to `path` beside it."""
    return f"outs:\n- md5: {content}\n  hash: md5\n  path: {path}\n"


def _push_all(workspace: Workspace, storage: Storage, current: Snapshot) -> None:
    """Push this version and every earlier one that could not be pushed. A remote that is away loses no data: the cache
    has it, and the next run tries again."""
    if storage.remote is None:
        return
    for snapshot in list_snapshots(workspace):
        if snapshot.pushed and snapshot.remote == storage.remote and snapshot.hash != current.hash:
            continue
        problem = None
        try:
            storage.push(snapshot.hash)
        except StorageError as error:
            problem = str(error)
        _write(workspace, replace(snapshot, pushed=problem is None, problem=problem, remote=storage.remote))

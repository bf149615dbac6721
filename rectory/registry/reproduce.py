"""Make a registered version again, from its record alone, and compare the bytes. See docs/reproduce.md."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rectory.data.snapshots import checkout as checkout_data
from rectory.errors import StoreError, UsageError
from rectory.files import read_json, tree_digests
from rectory.registry.environment import machine
from rectory.registry.lineage import lock_hash
from rectory.registry.rebuild import build_environment, environment_differences, lay_out_code, run_step
from rectory.registry.record import CARD_FILE, DIGESTS_FILE, LOCK_FILE, PARAMS_FILE, PATCH_FILE
from rectory.registry.store import ModelStore, Version
from rectory.workspace import Workspace

_SHOWN = 10


@dataclass(frozen=True)
class Reproduction:
    """identical: every file of the rebuilt bundle has the registered one's bytes.

    differences: files first, then what may explain them; empty when identical. notes: what is not as it was then,
    whether or not it mattered.
    """

    version: str
    candidate: str
    identical: bool
    differences: tuple[str, ...]
    notes: tuple[str, ...]


def reproduce(
    number: str | None,
    workspace: Workspace,
    *,
    build_env: bool = False,
    announce: Callable[[str], None] = lambda _: None,
) -> Reproduction:
    """Rebuild a version in a temporary folder, which is removed however this ends.

    Args:
        number: registered version; None: the champion.
        workspace: the project that has the data versions; its own files are not touched.
        build_env: install the recorded lock into a new environment first, where it is not what is installed.
        announce: is told what happens next.
    Raises:
        UsageError: no such version. StoreError: its record is incomplete. RectoryError: a step failed.
    """
    store = ModelStore(workspace)
    version = _chosen(store, number)
    with tempfile.TemporaryDirectory(prefix="rectory-reproduce-") as folder:
        place = Path(folder).resolve()
        announce(f"code of commit {version.tags['commit'][:12] or '(none)'}")
        patch = store.artifact(version, PATCH_FILE)
        notes = lay_out_code(version, patch.read_bytes() if patch else None, place / "code")
        project = _lay_out_project(store, version, place / "project")
        announce(f"data {version.tags['snapshot_hash']}")
        run = Workspace(place / "run", project.project)
        checkout_data(workspace, version.tags["snapshot_hash"], run.tables)
        python, lock_notes = _python(version, project, workspace, place / "venv", build_env=build_env)
        notes += lock_notes + _machine_notes(version)
        for command in (("tasks.split",), ("tasks.features",), ("tasks.train", version.candidate)):
            announce(" ".join(command))
            places = ["--workspace", str(run.root), "--project", str(project.project)]
            run_step([*command, *places], place / "code", python)
        rebuilt = tree_digests(run.model(version.candidate))
    files = _compared(rebuilt, _recorded_digests(store, version))
    files += _compared(tree_digests(store.bundle_folder(version)), _recorded_digests(store, version), "stored ")
    return Reproduction(
        version.version, version.candidate, not files, tuple(files + notes) if files else (), tuple(notes)
    )


def _chosen(store: ModelStore, number: str | None) -> Version:
    if number is not None:
        return store.version(number)
    champion = store.champion()
    if champion is None:
        raise UsageError("there is no champion to reproduce; name a version, or make one with `rectory run`.")
    return champion


def _lay_out_project(store: ModelStore, version: Version, folder: Path) -> Workspace:
    """params.yaml, the card and the lock as they were recorded."""
    project = Workspace(project=folder)
    # JSON is YAML: the recorded values are read back as they are.
    targets = {PARAMS_FILE: project.params_file, CARD_FILE: project.card(version.dataset)}
    for name, target in targets.items():
        source = store.artifact(version, name)
        if source is None:
            raise StoreError(
                f"version {version.version} has no {name} among the files of its run {version.run_id}: it cannot be "
                "rebuilt. Put the file back, or register the model anew with `rectory run`."
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    if lock := store.artifact(version, LOCK_FILE):
        shutil.copyfile(lock, project.lock_file)
    return project


def _python(
    version: Version, project: Workspace, workspace: Workspace, venv: Path, *, build_env: bool
) -> tuple[Path, list[str]]:
    """The python to run the steps with, and how the packages here differ from the recorded lock."""
    here = Path(sys.executable)
    if not project.lock_file.is_file():
        same = lock_hash(project.lock_file) == version.tags["lock_hash"]
        return here, [] if same else ["lock: none was recorded, and other packages were installed then"]
    differing = environment_differences(project.lock_file.read_text(encoding="utf-8"))
    if differing and build_env:
        return build_environment(project.lock_file, venv), []
    notes = [f"installed package {one}" for one in differing[:_SHOWN]]
    if len(differing) > _SHOWN:
        notes.append(f"and {len(differing) - _SHOWN} more packages")
    if lock_hash(workspace.lock_file) != version.tags["lock_hash"]:
        notes.append("lock: requirements.lock here is not the recorded one (what counts is what is installed)")
    return here, notes


def _machine_notes(version: Version) -> list[str]:
    notes = [
        f"{name}: {version.tags[name]} recorded, {value} here"
        for name, value in machine().items()
        if version.tags.get(name) != value
    ]
    if version.tags["reproducible"] != "true" and version.tags["dirty"] != "true":
        notes.append("threads: the version was fitted with several threads, which is not reproducible to the bit")
    return notes


def _recorded_digests(store: ModelStore, version: Version) -> dict[str, str]:
    kept = store.artifact(version, DIGESTS_FILE)
    return dict(read_json(kept)) if kept else tree_digests(store.bundle_folder(version))


def _compared(found: dict[str, str], recorded: dict[str, str], what: str = "") -> list[str]:
    """One line for each file that differs from the record."""
    lines = []
    for name in sorted(found.keys() | recorded.keys()):
        if name not in found:
            lines.append(f"{what}{name}: recorded, but missing")
        elif name not in recorded:
            lines.append(f"{what}{name}: not recorded")
        elif found[name] != recorded[name]:
            lines.append(f"{what}{name}: other bytes (sha256 {found[name][:12]}, recorded {recorded[name][:12]})")
    return lines

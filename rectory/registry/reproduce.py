"""Make a registered version again, from its record alone, and compare the bytes. See docs/reproduce.md."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rectory.data.snapshots import checkout as checkout_data
from rectory.errors import StoreError, UsageError
from rectory.files import read_json, tree_digests
from rectory.models.warm_start import Plan, lay_out
from rectory.registry.environment import machine
from rectory.registry.lineage import lock_hash
from rectory.registry.rebuild import build_environment, environment_differences, lay_out_code, run_step
from rectory.registry.recipes import Recipe
from rectory.registry.record import CARD_FILE, DIGESTS_FILE, LOCK_FILE, PARAMS_FILE, PATCH_FILE
from rectory.registry.refitting import RECIPE_FILE
from rectory.registry.store import ModelStore, Version
from rectory.registry.warm_start import parent_of
from rectory.workspace import Workspace

_SHOWN = 10


@dataclass(frozen=True)
class Reproduction:
    """identical: every file of the rebuilt bundle has the registered one's bytes.

    differences: files first, then what may explain them; empty when identical. notes: what is not as it was then,
    whether or not it mattered. links: versions that were rebuilt one after the other, the full fit first.
    """

    version: str
    candidate: str
    identical: bool
    differences: tuple[str, ...]
    notes: tuple[str, ...]
    links: tuple[str, ...] = ()


def reproduce(
    number: str | None,
    workspace: Workspace,
    *,
    build_env: bool = False,
    announce: Callable[[str], None] = lambda _: None,
) -> Reproduction:
    """Rebuild a version in a temporary folder, which is removed however this ends.

    A version that continues from another is rebuilt from its full fit on, each link from the rebuilt one before it.

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
    links = store.links(version)
    differing: list[str] = []
    with tempfile.TemporaryDirectory(prefix="rectory-reproduce-") as folder:
        place = Path(folder).resolve()
        rebuilt: Workspace | None = None
        for at, link in enumerate(links, 1):
            if len(links) > 1:
                announce(f"version {link.version}, {at} of {len(links)} in its chain")
            rebuilding = _Rebuilding(store, link, place / link.version, place / "venv", build_env, announce)
            before, (rebuilt, notes) = rebuilt, rebuilding.run(rebuilt)
            if before is not None:
                shutil.rmtree(before.root.parent)  # a chain needs no more room than two of its links
            files = _compared(tree_digests(rebuilding.model), _recorded_digests(store, link))
            if files and link is not version:
                differing.append(f"version {link.version}, {at} of {len(links)} in the chain: {files[0]}")
    files += _compared(tree_digests(store.bundle_folder(version)), _recorded_digests(store, version), "stored ")
    differences = tuple(files + differing[:1] + notes) if files else ()
    told = tuple(notes + differing[:1])
    numbers = tuple(link.version for link in links)
    return Reproduction(version.version, version.candidate, not files, differences, told, numbers)


@dataclass(frozen=True)
class _Rebuilding:
    """One version's steps in `place`. venv: where an environment is built if one is needed; a chain shares it."""

    store: ModelStore
    version: Version
    place: Path
    venv: Path
    build_env: bool
    announce: Callable[[str], None]

    @cached_property
    def recipe(self) -> Recipe | None:
        """What a refit was fitted by; None: the version is no refit."""
        if self.version.refit_of is None:
            return None
        kept = self.store.artifact(self.version, RECIPE_FILE)
        if kept is None:
            raise StoreError(f"version {self.version.version} has no {RECIPE_FILE}: it cannot be rebuilt.")
        return Recipe(read_json(kept))

    @property
    def model(self) -> Path:
        """Bundle of the rebuilt model."""
        run = self._run
        return run.model(self.version.candidate) if self.recipe is None else run.refitted(self.recipe.name)

    @property
    def _run(self) -> Workspace:
        return Workspace(self.place / "run", self.place / "project")

    def run(self, before: Workspace | None) -> tuple[Workspace, list[str]]:
        """The run with the rebuilt model, and what is not as it was.

        Args:
            before: run of the version that this one continues from.
        """
        store, version, workspace = self.store, self.version, self.store.workspace
        self.announce(f"code of commit {version.tags['commit'][:12] or '(none)'}")
        patch = store.artifact(version, PATCH_FILE)
        notes = lay_out_code(version, patch.read_bytes() if patch else None, self.place / "code")
        project = _lay_out_project(store, version, self.place / "project")
        self.announce(f"data {version.tags['snapshot_hash']}")
        run = self._run
        checkout_data(workspace, version.tags["snapshot_hash"], run.tables)
        python, lock_notes = _python(version, project, workspace, self.venv, build_env=self.build_env)
        notes += lock_notes + _machine_notes(version)
        candidate = version.candidate
        steps: tuple[tuple[str, ...], ...] = (("tasks.split",), ("tasks.features",), ("tasks.train", candidate))
        if before is not None:
            plan = Plan(parent_of(version))
            lay_out(run.parent(candidate), plan, before.model(candidate), before.fit_report(candidate))
        if self.recipe is not None:
            # A refit keeps its measured version as long as it is kept itself.
            self.recipe.lay_out(run, store.bundle_folder(store.measured(version)))
            steps = (("tasks.history",), ("tasks.refit", self.recipe.name))
        for command in steps:
            self.announce(" ".join(command))
            places = ["--workspace", str(run.root), "--project", str(project.project)]
            run_step([*command, *places], self.place / "code", python)
        return run, notes


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
        return (venv / "bin" / "python" if venv.is_dir() else build_environment(project.lock_file, venv)), []
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

"""A clean tree with the code of a registered version: from its commit, or from the same sources installed here."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

from rectory.errors import RectoryError, StoreError
from rectory.registry.environment import checkout
from rectory.registry.lineage import candidate_code, refit_code, source_of
from rectory.registry.versions import Version

_PACKAGES = ("tasks", "rectory")
_TAIL = 12


def lay_out_code(version: Version, patch: bytes | None, target: Path) -> list[str]:
    """Put the version's code into the new folder `target`; gives what could not be restored.

    An archive of the commit, not `git worktree add`: however this process ends, the repository keeps no trace of it.

    Raises:
        StoreError: neither the commit nor equal sources are here.
    """
    commit, dirty = version.tags["commit"], version.tags["dirty"] == "true"
    archive = _archive(commit) if commit else None
    target.mkdir(parents=True)
    if archive is None or (dirty and patch is None):
        if _installed_code(version) == version.tags["code_hash"]:
            for package in _PACKAGES:
                shutil.copytree(
                    source_of(package).parent, target / package, ignore=shutil.ignore_patterns("__pycache__")
                )
            return []
        if archive is None:
            raise StoreError(
                f"version {version.version} was made by code at commit {commit or '(none)'}, which is not in this "
                "checkout, and the code here is another. Run `git fetch` in the repository it was made from, then try "
                "again there."
            )
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(target, filter="data")
    if not dirty:
        return []
    if patch is None:
        return [
            f"code: rectory/ or tasks/ differed from commit {commit[:12]} and the difference was too large to keep; "
            "rebuilt from the commit alone"
        ]
    _apply(patch, target)
    return []


def run_step(command: Sequence[str], code: Path, python: Path) -> None:
    """Run `python -m <command>` on the code in `code`, with no other Rectory in sight.

    Raises:
        RectoryError: it failed; its last words are in the text.
    """
    environment = {**os.environ, "PYTHONPATH": str(code), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [str(python), "-m", *command], cwd=code, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        words = "\n".join(done.stderr.strip().splitlines()[-_TAIL:])
        raise RectoryError(f"reproduce: `python -m {' '.join(command[:2])}` ended with {done.returncode}: {words}")


def build_environment(lock: Path, folder: Path) -> Path:
    """A new virtual environment with exactly what `lock` pins; gives its python. Takes minutes and the package index.

    Raises:
        RectoryError: the installation failed.
    """
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
    python = folder / "bin" / "python"
    command = [str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "--no-deps", "-r", str(lock)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        words = "\n".join(done.stderr.strip().splitlines()[-_TAIL:])
        raise RectoryError(f"reproduce: the recorded lock could not be installed: {words}")
    return python


def environment_differences(lock: str) -> list[str]:
    """Packages that the lock pins for this machine and that are installed here in another version, sorted."""
    from importlib.metadata import PackageNotFoundError, version

    from packaging.requirements import InvalidRequirement, Requirement

    found = []
    for line in lock.splitlines():
        text = line.partition(" \\")[0].strip()
        if not text or text.startswith(("#", "-")) or "==" not in text:
            continue
        try:
            asked = Requirement(text)
        except InvalidRequirement:
            continue
        if asked.marker is not None and not asked.marker.evaluate():
            continue
        try:
            here = version(asked.name)
        except PackageNotFoundError:
            found.append(f"{asked.name}: {asked.specifier} recorded, not installed")
            continue
        if not asked.specifier.contains(here, prereleases=True):
            found.append(f"{asked.name}: {asked.specifier} recorded, {here} installed")
    return sorted(found)


def _installed_code(version: Version) -> str:
    kind = version.tags["kind"]
    return candidate_code(kind) if version.refit_of is None else refit_code(kind)


def _archive(commit: str) -> bytes | None:
    """tar of the commit, or None when this checkout does not have it."""
    state = checkout()
    if state.top is None:
        return None
    folder = source_of("rectory").parent.parent
    done = subprocess.run(
        ["git", "-C", str(folder), "archive", "--format=tar", commit], capture_output=True, check=False
    )
    return done.stdout if done.returncode == 0 else None


def _apply(patch: bytes, target: Path) -> None:
    # The ceiling keeps git from taking a repository above the temporary folder for the one to patch.
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(target.parent)}
    command = ["git", "apply", "--whitespace=nowarn", "-"]
    done = subprocess.run(command, cwd=target, input=patch, env=environment, capture_output=True, check=False)
    if done.returncode != 0:
        words = done.stderr.decode(errors="replace").strip()[:300]
        raise StoreError(
            f"the kept difference from the commit does not apply: {words}. "
            "The commit was rewritten, or code.patch of the version's run was changed."
        )

"""Data sets inside published packages: fetched with pip, checked by hash, read as a zip. Their code is never run."""

from __future__ import annotations

import fnmatch
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from rectory.data.card import WheelSource
from rectory.errors import FetchError
from rectory.files import exclusive, replacing, sha256_file
from rectory.workspace import Workspace


def pinned_wheel(source: WheelSource, workspace: Workspace, say: Callable[[str], None]) -> Path:
    """The pinned package's file, from the download cache or the package index.

    Raises:
        FetchError: the index cannot be reached (says how to place the file by hand), or the hash is another.
    """
    folder = workspace.downloads / source.sha256
    with exclusive(workspace.lock(f"download-{source.sha256[:16]}"), f"download of {source.package}"):
        if found := _cached(folder, source):
            return found
        say(f"fetching {source.package} {source.version} (pinned: sha256 {source.sha256[:12]}...)")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".pip-", dir=folder) as scratch:
            _pip_download(source, Path(scratch), folder)
            wheel = next(Path(scratch).glob("*.whl"), None)
            if wheel is None:
                raise FetchError(_by_hand(source, folder, "pip ended well but left no wheel"))
            # pip has compared the hash already; compared again because the file, not pip's word, is what is used.
            _require_hash(wheel, source)
            target = folder / wheel.name
            with replacing(target) as part:
                shutil.move(wheel, part)
        return target


def extract_members(wheel: Path, pattern: str, folder: Path) -> tuple[list[Path], list[str]]:
    """Unpack a member, or the members that a glob matches, in sorted order.

    Returns:
        the files, named 0000-<last part of the member's name> below `folder`, and the members' names.
    Raises:
        FetchError: no member matches, or the zip is damaged.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            known = archive.namelist()
            members = [pattern] if pattern in known else sorted(fnmatch.filter(known, pattern))
            if not members:
                near = sorted(name for name in known if Path(name).suffix == Path(pattern).suffix)[:20]
                raise FetchError(
                    f"{wheel.name} has no member {pattern}; with that ending it has {near}. Mend the card."
                )
            folder.mkdir(parents=True, exist_ok=True)
            files = []
            for number, member in enumerate(members):
                # Own names: a member called ../../x must not choose where it lands.
                target = folder / f"{number:04d}-{Path(member).name}"
                with archive.open(member) as packed, target.open("wb") as plain:
                    shutil.copyfileobj(packed, plain)
                files.append(target)
            return files, members
    except zipfile.BadZipFile as error:
        raise FetchError(f"{wheel} is damaged ({error}). Delete it and run again.") from error


def _cached(folder: Path, source: WheelSource) -> Path | None:
    wheels = sorted(folder.glob("*.whl"))
    for wheel in wheels:
        if sha256_file(wheel) == source.sha256:
            return wheel
    if wheels:
        _require_hash(wheels[0], source)
    return None


def _require_hash(wheel: Path, source: WheelSource) -> None:
    found = sha256_file(wheel)
    if found != source.sha256:
        raise FetchError(
            f"{wheel} has sha256 {found}, but the card pins {source.package} {source.version} to {source.sha256}: it "
            "is not the file that was reviewed. Delete it; if the publisher has replaced it on purpose, review the new "
            "file and change `sha256:` in the card."
        )


def _pip_download(source: WheelSource, target: Path, folder: Path) -> None:
    pip = _pip_command()
    if pip is None:
        raise FetchError(_by_hand(source, folder, "this Python has no pip"))
    requirements = target / "requirements.txt"
    requirements.write_text(f"{source.package}=={source.version} --hash=sha256:{source.sha256}\n", encoding="utf-8")
    # only-binary: building a source package would run its code. The data do not depend on the Python version.
    flags = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--ignore-requires-python", "--no-input"]
    quiet = ["--disable-pip-version-check", "--progress-bar=off", "--retries=2"]
    done = subprocess.run(
        [*pip, "download", *flags, *quiet, "--dest", str(target), "--requirement", str(requirements)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return
    said = done.stdout + done.stderr
    if "DO NOT MATCH THE HASHES" in said.upper():
        raise FetchError(
            f"{source.package} {source.version} on the package index has not the pinned sha256 {source.sha256}: it is "
            "not the file that was reviewed, and was thrown away. If the publisher has replaced it on purpose, review "
            "the new file and change `sha256:` in the card."
        )
    errors = [line.removeprefix("ERROR:").strip() for line in said.splitlines() if line.startswith("ERROR:")]
    # Addresses may carry a login.
    reason = re.sub(r"\w+://\S+", "<address>", errors[-1] if errors else f"pip ended with {done.returncode}")
    raise FetchError(_by_hand(source, folder, reason))


def _pip_command() -> list[str] | None:
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    found = shutil.which("pip") or shutil.which("pip3")
    return [found] if found else None


def _by_hand(source: WheelSource, folder: Path, reason: str) -> str:
    name = re.sub(r"[-_.]+", "_", source.package)
    return (
        f"could not fetch {source.package} {source.version} from the package index ({reason}). Check the network and "
        f"pip's settings and run again; or, where there is a network, run `pip download --no-deps "
        f"{source.package}=={source.version}` and place {name}-{source.version}-*.whl (sha256 {source.sha256}) "
        f"in the folder {folder.resolve()}."
    )

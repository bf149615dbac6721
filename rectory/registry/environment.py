"""Facts about the machine and the checkout that a model was made on; `reproduce` compares them."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

from rectory.registry.lineage import source_of

MAX_PATCH_BYTES = 5_000_000
"""A larger difference from the commit is not kept; the version is then not reproducible from its record alone."""
_CODE = ("rectory", "tasks")


@dataclass(frozen=True)
class Checkout:
    """The git state of the code.

    top: folder of the checkout; None: the code is not under git (an installed package).
    commit: "" without git or without a commit. dirty: rectory/ or tasks/ differ from the commit.
    patch: the difference, new files included, to be applied with `git apply`; None when clean or too large.
    """

    top: Path | None
    commit: str
    dirty: bool
    patch: bytes | None


def machine() -> dict[str, str]:
    """python, platform, cpu (digest of the CPU's flags: LightFM is built with -march=native)."""
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system().lower()}-{platform.machine()}",
        "cpu": cpu_digest(),
    }


def cpu_digest(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Short digest of the instruction sets of this CPU; its name where the system does not list them."""
    flags = platform.processor() or platform.machine()
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("flags", "Features"):
                flags = " ".join(sorted(value.split()))
                break
    return hashlib.sha256(flags.encode()).hexdigest()[:16]


def checkout() -> Checkout:
    """Git state of the folder that this process imports rectory from; git may be absent."""
    folder = source_of("rectory").parent.parent
    top = _git(folder, "rev-parse", "--show-toplevel")
    # A virtual environment inside somebody's repository is not that repository's code.
    if top is None or _git(folder, "ls-files", "--error-unmatch", "rectory/__init__.py") is None:
        return Checkout(None, "", False, None)
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    if commit is None:
        return Checkout(Path(top.decode().strip()), "", True, None)
    status = _git(folder, "status", "--porcelain", "--untracked-files=all", "--", *_CODE) or b""
    dirty = bool(status.strip())
    patch = difference(folder) if dirty else None
    return Checkout(Path(top.decode().strip()), commit.decode().strip(), dirty, patch)


def difference(folder: Path) -> bytes | None:
    """`git diff HEAD` of the code with its new files, or None when it is larger than MAX_PATCH_BYTES."""
    parts = [_git(folder, "diff", "--binary", "--relative", "HEAD", "--", *_CODE) or b""]
    new = (_git(folder, "ls-files", "--others", "--exclude-standard", "-z", "--", *_CODE) or b"").split(b"\0")
    # `git add -N` would put them into one diff but would change the user's index.
    parts += [_diff_of_new(folder, name.decode()) for name in new if name]
    patch = b"".join(parts)
    return patch if len(patch) <= MAX_PATCH_BYTES else None


def _diff_of_new(folder: Path, name: str) -> bytes:
    """A patch that creates an untracked file. git ends with 1 here: the two sides differ."""
    command = ["git", "-C", str(folder), "diff", "--binary", "--no-index", "--", "/dev/null", name]
    return subprocess.run(command, capture_output=True, check=False, timeout=60).stdout


def _git(folder: Path, *arguments: str) -> bytes | None:
    """Output of git in `folder`, or None when git is absent, fails or hangs."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=False, timeout=60)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None

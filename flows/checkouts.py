"""Is the code that a worker runs the code that was deployed? A deployment's version is the commit it was made from."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from rectory.errors import UsageError
from rectory.registry.environment import checkout

_LENGTH = 12
_SECONDS = 30


@dataclass(frozen=True)
class Compared:
    """How this process's code stands to what was asked for. text: in words; empty when it is the same."""

    found: Literal["same", "newer", "older", "unknown"]
    text: str = ""


def code_version() -> str:
    """`3f2a9c1b7d04`, with `+` when rectory/ or tasks/ differ from that commit; the package's version without git."""
    code = checkout()
    if code.commit:
        return code.commit[:_LENGTH] + ("+" if code.dirty else "")
    try:
        return f"v{version('rectory')}"
    except PackageNotFoundError:
        return "v0"


def compare(expected: str | None) -> Compared:
    """This process's code against the version that a deployment names."""
    here, wanted = code_version().rstrip("+"), (expected or "").rstrip("+")
    if not wanted or wanted == here:
        return Compared("same")
    top = checkout().top
    if top is None or wanted.startswith("v"):
        return Compared("unknown", f"the deployment was made from {wanted}, this worker runs {here}")
    if not _git(top, "cat-file", "-e", f"{wanted}^{{commit}}"):
        return Compared("older", f"this worker's checkout, at {here}, does not know commit {wanted}")
    if _git(top, "merge-base", "--is-ancestor", wanted, here):
        return Compared("newer", f"this worker runs {here}, newer than {wanted} that was deployed")
    return Compared("older", f"this worker's checkout is at {here}, without commit {wanted}")


def require_deployed(expected: str | None) -> Compared:
    """Refuse to work with code that is older than what was deployed; newer code may.

    Raises:
        UsageError: the worker's checkout lacks the commit.
    """
    found = compare(expected)
    if found.found == "older":
        raise UsageError(
            f"this deployment was made from commit {expected}, but {found.text}: nothing was done. Update the worker's "
            "checkout (`git pull`) and start the worker again, or deploy what it has: `rectory deploy`."
        )
    return found


def _git(folder: Path, *arguments: str) -> bool:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=False, timeout=_SECONDS)
    return done.returncode == 0

"""What the numbers were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

_PACKAGES = ("rectools-lightfm", "pm-implicit", "numpy", "scipy", "prefect", "mlflow", "dvc", "evidently")
_BUSY_SHARE = 0.25
"""Load per core above which the machine counts as busy with something else."""


@dataclass(frozen=True)
class Machine:
    """load: runnable processes, mean of the minute before the bench began. commit: ends in + with local changes.
    bytecode: packages are compiled on disk. Without it each process compiles what it imports: over a second for a
    candidate's step, more for the Prefect server.
    """

    processor: str
    cores: int
    memory_gib: float
    system: str
    python: str
    packages: dict[str, str]
    commit: str
    bytecode: bool
    load: float

    @property
    def busy(self) -> bool:
        return self.load > _BUSY_SHARE * self.cores


def this_machine(project: Path) -> Machine:
    """Facts of now."""
    import psutil

    affinity = getattr(os, "sched_getaffinity", None)
    return Machine(
        processor=_processor(),
        cores=len(affinity(0)) if affinity else os.cpu_count() or 1,
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        packages={name: version(name) for name in _PACKAGES},
        commit=_commit(project),
        bytecode=_compiled("pandas"),
        load=round(os.getloadavg()[0], 2),
    )


def _compiled(package: str) -> bool:
    spec = find_spec(package)
    return bool(spec and spec.cached and Path(spec.cached).is_file())


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    if facts.is_file():
        for line in facts.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _commit(project: Path) -> str:
    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(project), *words], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    commit = git("rev-parse", "--short", "HEAD")
    return f"{commit}+" if commit and git("status", "--porcelain", "--untracked-files=no") else commit or "unknown"

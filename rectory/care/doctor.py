"""Is this installation sound? Each finding says what is wrong and what to do about it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rectory.errors import RectoryError
from rectory.files import sha256_json, tree_digests
from rectory.workspace import Workspace

Status = Literal["ok", "warn", "fail"]
_LEAST_FREE_BYTES = 2_000_000_000
_QUIET = {"DO_NOT_TRACK": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. text: what was found; for warn and fail also what to do."""

    name: str
    status: Status
    text: str


def examine(workspace: Workspace, say: Callable[[str], None] = lambda _: None) -> list[Finding]:
    """Look at everything; a check that breaks is itself a finding."""
    checks: list[tuple[str, Callable[[Workspace], Iterator[Finding]]]] = [
        ("python", _python),
        ("packages", _packages),
        ("compiler", _compiler),
        ("params and cards", _params),
        ("model store", _store),
        ("data versions", _data),
        ("disk", _disk),
        ("clock", _clock),
        ("permissions", _permissions),
        ("leftovers", _leftovers),
        ("telemetry", _telemetry),
    ]
    found: list[Finding] = []
    for name, check in checks:
        say(name)
        try:
            found += list(check(workspace))
        except (RectoryError, OSError) as error:
            found.append(Finding(name, "fail", str(error)))
    return found


def facts(found: list[Finding]) -> dict[str, Any]:
    worst = "fail" if any(one.status == "fail" for one in found) else "ok"
    if worst == "ok" and any(one.status == "warn" for one in found):
        worst = "warn"
    return {"status": worst, "findings": [asdict(one) for one in found]}


def _python(_: Workspace) -> Iterator[Finding]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        yield Finding("python", "ok", f"Python {version}.")
    else:
        yield Finding("python", "fail", f"Python {version}; Rectory needs 3.11 to 3.13. Make the environment anew.")


def _packages(workspace: Workspace) -> Iterator[Finding]:
    from rectory.registry.rebuild import environment_differences

    if not workspace.lock_file.is_file():
        yield Finding(
            "packages", "warn", f"{workspace.lock_file} is missing: runs cannot say what they were made with."
        )
        return
    different = environment_differences(workspace.lock_file.read_text(encoding="utf-8"))
    if different:
        shown = "; ".join(different[:5])
        yield Finding(
            "packages", "warn", f"{len(different)} packages are not those of the lock: {shown}. Run `make setup`."
        )
    else:
        yield Finding("packages", "ok", "Those of requirements.lock.")


def _compiler(_: Workspace) -> Iterator[Finding]:
    compilers = [name for name in ("gcc", "cc", "clang") if shutil.which(name)]
    done = subprocess.run(
        [sys.executable, "-c", "import lightfm._lightfm_fast"], capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        yield Finding("lightfm", "ok", f"LightFM loads; compilers here: {', '.join(compilers) or 'none'}.")
        return
    said = done.stderr.strip().splitlines()[-1:] or [f"signal {-done.returncode}"]
    cure = "install libgomp1" if "libgomp" in done.stderr else "install gcc, then build it again with `make setup`"
    if done.returncode < 0:
        cure = "it was built for another processor: build it again with LIGHTFM_NO_CFLAGS=1"
    yield Finding("lightfm", "fail", f"LightFM does not load ({said[0]}): {cure}.")


def _params(workspace: Workspace) -> Iterator[Finding]:
    from rectory.data.card import load_card
    from rectory.params import load_params

    params = load_params(workspace.params_file)
    yield Finding("params.yaml", "ok", f"Parses; {len(params.train.candidates)} candidates.")
    cards = sorted((workspace.project / "datasets").glob("*.yaml"))
    good = 0
    for path in cards:
        try:
            load_card(path)
            good += 1
        except RectoryError as error:
            yield Finding(f"card {path.stem}", "fail", str(error))
    yield Finding("cards", "ok" if cards else "fail", f"{good} of {len(cards)} data cards parse.")
    if not workspace.card(params.dataset).is_file():
        yield Finding("dataset", "fail", f"params.yaml names {params.dataset!r}, which has no card in datasets/.")


def _store(workspace: Workspace) -> Iterator[Finding]:
    from rectory.registry.store import ModelStore

    store = ModelStore(workspace, patience_seconds=5)
    aliases, versions = store.aliases(), {one.version: one for one in store.versions()}
    if not aliases:
        yield Finding("model store", "ok", "No champion yet: `rectory run` makes one.")
        return
    for alias, number in sorted(aliases.items()):
        if number not in versions:
            yield Finding(
                f"alias {alias}", "fail", f"Points to version {number}, which is not there: `rectory promote VERSION`."
            )
    for number in sorted(set(aliases.values()) & set(versions), key=int):
        version = versions[number]
        seats = ", ".join(sorted(alias for alias, held in aliases.items() if held == number))
        name = f"version {number} ({seats})"
        digest = sha256_json(tree_digests(store.bundle_folder(version)))
        if digest != version.tags.get("bundle_hash"):
            yield Finding(
                name,
                "fail",
                "Its files are not those that were registered. Put them back from a backup, or seat another version: "
                f"`rectory rollback`; `rectory reproduce {number}` tells what differs.",
            )
        else:
            yield Finding(name, "ok", f"{version.candidate} on {version.dataset}: its files are whole.")


def _data(workspace: Workspace) -> Iterator[Finding]:
    from rectory.data.snapshots import damaged_snapshots, list_snapshots

    known = list_snapshots(workspace)
    bad = damaged_snapshots(workspace)
    for content, why in bad.items():
        yield Finding(
            f"data {content[:12]}",
            "fail",
            f"{why}. Make it again from its source with `rectory run` and the same as_of.",
        )
    if not bad:
        yield Finding("data versions", "ok", f"{len(known)} versions, every file of them is whole.")
    late = [one for one in known if not one.pushed and one.remote is not None]
    if late:
        yield Finding(
            "data remote",
            "warn",
            f"{len(late)} versions are not in the remote: {late[-1].problem}. The next run tries again.",
        )


def _disk(workspace: Workspace) -> Iterator[Finding]:
    free = shutil.disk_usage(workspace.project).free
    text = f"{free / 1e9:.1f} GB free."
    if free < _LEAST_FREE_BYTES:
        yield Finding("disk", "fail", f"{text} A run needs about 2 GB: `rectory gc` removes what is old.")
    else:
        yield Finding("disk", "ok", text)


def _clock(workspace: Workspace) -> Iterator[Finding]:
    """A clock that runs backwards makes rows lie in the future and runs sort wrongly."""
    newest = max((path.stat().st_mtime for path in workspace.state.glob("*")), default=0.0)
    if newest > time.time() + 60:
        yield Finding(
            "clock",
            "fail",
            f"Files in {workspace.state} are {newest - time.time():.0f} s ahead of this machine's clock: it was set "
            "back. Mend it (`timedatectl`), then run again.",
        )
        return
    yield Finding("clock", "ok", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()))


def _permissions(workspace: Workspace) -> Iterator[Finding]:
    for path in (workspace.project, workspace.state, workspace.runs, workspace.reports):
        if path.exists() and not os.access(path, os.W_OK | os.X_OK):
            yield Finding("permissions", "fail", f"{path} cannot be written by this user: chown or chmod it.")
    ledger = workspace.forgotten
    if ledger.is_file() and stat.S_IMODE(ledger.stat().st_mode) & 0o077:
        yield Finding("permissions", "warn", f"{ledger} can be read by others: `chmod 600 {ledger}`.")
    yield Finding("permissions", "ok", "The project's folders were looked at.")


def _leftovers(workspace: Workspace) -> Iterator[Finding]:
    from rectory.care.status import stuck

    left = stuck(workspace)
    for text in left:
        yield Finding("leftovers", "warn", text)
    if workspace.gc_note.is_file():
        yield Finding(
            "leftovers", "warn", "A `rectory gc` was killed: run it again, and it completes what it had begun."
        )
    elif not left:
        yield Finding("leftovers", "ok", "Nothing half-written, no run that hangs.")


def _telemetry(workspace: Workspace) -> Iterator[Finding]:
    loud = [name for name, quiet in _QUIET.items() if os.environ.get(name, quiet).lower() not in (quiet, "1", "true")]
    loud = [name for name in loud if not (name.startswith("PREFECT") and os.environ.get(name, "").lower() == "false")]
    config = workspace.project / ".dvc" / "config"
    if config.is_file() and "analytics = false" not in config.read_text(encoding="utf-8"):
        loud.append("core.analytics of .dvc/config")
    if loud:
        yield Finding("telemetry", "warn", f"May leave this machine: {', '.join(loud)}. Unset them or set them off.")
    else:
        yield Finding("telemetry", "ok", "Prefect, MLflow, DVC and Evidently tell nobody.")

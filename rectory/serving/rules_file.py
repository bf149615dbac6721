"""The section `rules` of params.yaml as it stands now: read again when the file changes, each change audited."""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rectory.files import sha256_json
from rectory.params.load import describe
from rectory.params.rules import RulesParams
from rectory.registry import audit
from rectory.serving.rules import Rules
from rectory.workspace import Workspace

_log = logging.getLogger("rectory.serving")
CHANGED = "rules"
"""Name of the event in the audit log."""
_LOOK_SECONDS = 1.0


class RulesFile:
    """Rules in force. What cannot be read or breaks a limit changes nothing: the rules before stay in force.

    Only the section `rules` is looked at: a fault elsewhere in the file is no matter of serving.

    Args:
        workspace: the project.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._read_at: tuple[int, int, int] | None = None
        self._lock = threading.Lock()
        self._looked = 0.0
        self.fault: str | None = None
        self.rules = Rules(RulesParams())
        self.look()

    def __call__(self) -> Rules:
        """The rules in force; the file is looked at once a second at most."""
        now = time.monotonic()
        if now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            self.look()
        return self.rules

    def look(self) -> None:
        """Read the file again if it has changed."""
        with self._lock:
            at = _mark(self._workspace.params_file)
            if at == self._read_at:
                return
            self._read_at = at
            try:
                params = _section(self._workspace.params_file)
            except ValueError as error:
                self.fault = str(error)
                _log.warning("the rules in force stay: %s", error)
                return
            self.fault = None
            self.rules = Rules(params)
            self._audit(params)

    def _audit(self, params: RulesParams) -> None:
        """One line for each change, however many workers see it."""
        told = params.model_dump(mode="json", exclude_defaults=True)
        digest = sha256_json(told)
        before = [line for line in audit.read(self._workspace) if line["event"] == CHANGED]
        if (before[-1]["digest"] if before else sha256_json({})) != digest:
            audit.append(self._workspace, CHANGED, {"digest": digest, "rules": told, "by": f"pid {os.getpid()}"})
            _log.info("other rules are in force: %s", told or "none")


def _mark(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _section(path: Path) -> RulesParams:
    """Raises ValueError: the file is gone or not YAML, or a rule breaks a limit; names the key."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        tree: Any = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return RulesParams()
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise ValueError(f"{path.name} cannot be read: {error}") from error
    section = tree.get("rules") if isinstance(tree, dict) else None
    try:
        return RulesParams.model_validate(section or {})
    except ValidationError as error:
        raise ValueError(f"{path.name}, rules: {describe(error)}") from error

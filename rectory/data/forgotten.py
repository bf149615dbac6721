"""Who is to be forgotten: a ledger that the data steps filter on, and that holds no id itself.

An entry is an HMAC-SHA256 of the id under a key that is drawn for this project. Whoever has the ledger and a list of
ids can still ask which of them are in it, as the filter itself must: keep `.rectory/` as private as the data.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rectory.arrays import BoolArray
from rectory.files import exclusive, read_json, sha256_json, write_json
from rectory.workspace import Workspace

FORGOTTEN = "forgotten"
_WORDS = re.compile(r"[\s,;|\"'{}\[\]:]+")


@dataclass(frozen=True)
class Forgotten:
    """Of one data set. key: hex; marks: HMACs of ids, hex."""

    key: str = ""
    marks: frozenset[str] = frozenset()

    @property
    def digest(self) -> str:
        """Changes when somebody else is to be forgotten; empty while nobody is."""
        return sha256_json([self.key, sorted(self.marks)]) if self.marks else ""

    def has(self, user_id: str) -> bool:
        return _mark(self.key, user_id) in self.marks

    def among(self, ids: Iterable[Any]) -> BoolArray:
        """(n,) bool: which ids are to be forgotten; what is no text is nobody."""
        if not self.marks:
            return np.zeros(len(list(ids)), dtype=bool)
        return np.asarray([isinstance(one, str) and self.has(one) for one in ids], dtype=bool)

    def in_lines(self, lines: Iterable[Any]) -> BoolArray:
        """(n,) bool: texts that could not be read as rows, yet have such an id as a word of theirs."""
        if not self.marks:
            return np.zeros(len(list(lines)), dtype=bool)
        found = [isinstance(line, str) and any(self.has(word) for word in _WORDS.split(line)) for line in lines]
        return np.asarray(found, dtype=bool)


def read_forgotten(workspace: Workspace, dataset: str) -> Forgotten:
    """The project's ledger for one data set; empty when nobody has been forgotten."""
    if not workspace.forgotten.is_file():
        return Forgotten()
    kept = read_json(workspace.forgotten)
    return Forgotten(kept["key"], frozenset(kept["datasets"].get(dataset, ())))


def remember_to_forget(workspace: Workspace, dataset: str, user_id: str) -> bool:
    """Put a user into the ledger; False: was there already."""
    with exclusive(workspace.lock("forgotten"), "the ledger of forgotten users"):
        kept: dict[str, Any] = {"key": secrets.token_hex(32), "datasets": {}}
        if workspace.forgotten.is_file():
            kept = read_json(workspace.forgotten)
        marks, mark = set(kept["datasets"].get(dataset, ())), _mark(kept["key"], user_id)
        if mark in marks:
            return False
        kept["datasets"][dataset] = sorted({*marks, mark})
        write_json(workspace.forgotten, kept)
        workspace.forgotten.chmod(0o600)
        return True


def _mark(key: str, user_id: str) -> str:
    return hmac.new(bytes.fromhex(key), user_id.encode(), hashlib.sha256).hexdigest()

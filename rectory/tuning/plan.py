"""What one call of `tune` wants: read by its workers, each in a process of its own."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rectory.files import read_json, sha256_json, write_json
from rectory.tuning.spaces import Space

MANY = 100_000
"""Trials where only the time is limited."""


@dataclass(frozen=True)
class Plan:
    """One study and how far to take it.

    study: name of the study; equal names, equal data, card, code and all that is not tuned.
    trials: that the study shall have in all, those of earlier calls included.
    deadline: seconds since 1970; no trial starts after it and those at work then are given up. None: no limit.
    workers: processes at work on it.
    defaults: the tuned keys as params.yaml has them; tried first.
    """

    dataset: str
    candidate: str
    kind: str
    study: str
    storage: Path
    trials: int
    deadline: float | None
    workers: int
    defaults: dict[str, Any]

    def save(self, path: Path) -> None:
        write_json(path, {**asdict(self), "storage": str(self.storage)})

    @classmethod
    def load(cls, path: Path) -> Plan:
        facts = read_json(path)
        return cls(**{**facts, "storage": Path(facts["storage"])})

    @property
    def scores(self) -> Path:
        """Folder of the per-user scores of this study's trials."""
        return self.storage.with_suffix("") / self.study


def study_name(lineage: dict[str, Any], space: Space) -> str:
    """16 hex digits of the digest of all that a trial's score depends on, without the values that are tuned.

    Args:
        lineage: data, code, lock and `params` as a candidate's lineage has them.
    """
    tuned = {one.key for one in space}
    train = {key: value for key, value in lineage["params"]["train"].items() if key not in tuned}
    # Neither its name nor being a baseline changes what a candidate learns.
    train = {key: value for key, value in train.items() if key not in {"candidate", "baseline"}}
    params = {**lineage["params"], "train": train}
    return sha256_json({**lineage, "params": params, "space": {one.key: one.facts() for one in space}})[:16]

"""Keys of a backtest's pieces of work: equal keys, equal results, so a finished piece is not made again.

A piece notes its key when it has ended. Keys hang on one another as the steps do: what a fit is made from is the
content of the tables that were validated for it, so that rows that came later, other policies or other gate rules cost
no fit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rectory.data.card import Card
from rectory.files import read_json, sha256_file, sha256_json, tree_digests, write_json
from rectory.params import Params, dump_params
from rectory.registry.lineage import CodeGraph, candidate_code, candidate_params, code_hash, lock_hash, recipe
from rectory.workspace import Workspace

_PREPARING = ("tasks.validate", "tasks.split", "tasks.features", "tasks.history")


class Pieces:
    """Keys under one set of params, code and lock.

    Args:
        card_file: of the data set.
        lock_file: hashed requirements.
    """

    def __init__(self, params: Params, card: Card, card_file: Path, lock_file: Path) -> None:
        self._params = params
        self._dumped = dump_params(params)
        self._card = card
        self._card_digest = sha256_file(card_file)
        self._graph = CodeGraph()
        self._lock = lock_hash(lock_file)
        self._codes: dict[tuple[str, ...], str] = {}

    def tables(self, fingerprint: str, as_of: str) -> str:
        """Of everything up to the training sets, from the source's fingerprint on."""
        told = {name: self._dumped[name] for name in ("validate", "split", "features")}
        return self._key("tables", _PREPARING, source=fingerprint, card=self._card_digest, as_of=as_of, **told)

    def train(self, data: str, candidate: str) -> str:
        """Of a fit. data: digest of the validated tables."""
        told = candidate_params(self._params, self._card, candidate)
        code = candidate_code(self._params.train.candidates[candidate].kind, self._graph)
        return sha256_json({"piece": "train", "data": data, "params": told, "code": code, "lock": self._lock})

    def per_model(self, step: str, model: str, candidate: str) -> str:
        """Of a step that looks at one fitted candidate. model: key of its fit."""
        asked = self._dumped["train"]["candidates"][candidate]
        gate = self._dumped["gate"]["metric"]
        told = {"evaluate": self._dumped["evaluate"], "baseline": asked["baseline"], "metric": gate}
        if step == "behave":
            told |= {"behave": self._dumped["behave"], "asked": asked}
        return self._key(step, (f"tasks.{step}",), model=model, **told)

    def replay(self, policies: list[str], models: list[str]) -> str:
        """Of policies that walk through the dates. models: keys of all evaluations, date by date."""
        told = {name: self._dumped[name] for name in ("gate", "evaluate", "drift")}
        names = {name: recipe(self._params, name) for name in self._params.train.candidates}
        return self._key("replay", ("tasks.replay",), policies=policies, models=models, recipes=names, **told)

    def refit(self, data: str, as_of: str, told: dict[str, Any]) -> str:
        """Of a recipe that is fitted again. told: what its file says."""
        code = candidate_code(told["params"]["kind"], self._graph)
        read = {name: self._dumped[name] for name in ("split", "features")}
        return self._key("refit", ("tasks.refit",), data=data, as_of=as_of, recipe=told, kind=code, **read)

    def hindsight(self, model: str, rows: str) -> str:
        """Of a model's score on what followed. rows: digest of the rows that followed."""
        return self._key("hindsight", ("tasks.hindsight",), model=model, rows=rows, k=self._dumped["evaluate"]["k"])

    def _key(self, piece: str, steps: tuple[str, ...], **told: Any) -> str:
        if steps not in self._codes:
            self._codes[steps] = code_hash(self._graph.modules(steps))
        return sha256_json({"piece": piece, "code": self._codes[steps], "lock": self._lock, **told})


def is_done(workspace: Workspace, piece: str, key: str) -> bool:
    """The piece had ended with this key."""
    note = workspace.done(piece)
    return note.is_file() and read_json(note)["key"] == key


def note_done(workspace: Workspace, piece: str, key: str) -> None:
    write_json(workspace.done(piece), {"key": key})


def key_of(workspace: Workspace, piece: str) -> str:
    """Key with which the piece had ended."""
    return str(read_json(workspace.done(piece))["key"])


def tables_digest(workspace: Workspace) -> str:
    """Of the content of the validated tables."""
    return sha256_json(tree_digests(workspace.tables))

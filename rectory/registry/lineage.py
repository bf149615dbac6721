"""What a model was made from, as one key: equal keys, equal models. Why these parts: docs/adr/0003-lineage-key.md."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rectory.data.card import Card
from rectory.errors import StoreError
from rectory.evaluation.behaviour import module_files
from rectory.files import sha256_file, sha256_json
from rectory.models.catalogue import modules_of
from rectory.models.warm_start import Parent
from rectory.params import Params, dump_params

_PACKAGES = ("tasks", "rectory")
_DATA_STEPS = ("tasks.split", "tasks.features")
# fetch and validate are not among them: what they do shows in the data hash.
_CANDIDATE_STEPS = (*_DATA_STEPS, "tasks.train")
_REFIT_STEPS = ("tasks.history", "tasks.refit")
# Tuning proposes values; touching it must not make a run's results look stale.
_NO_PART_OF_A_RUN = ("tasks.tune",)
# Every value that these modules can give is in the key already; a new kind of candidate must not retrain all others.
_VALUES_ONLY = ("rectory.params",)


@dataclass(frozen=True)
class Lineage:
    """The four parts and their digest.

    data: content hash of the snapshot. code: of the modules that the steps import. lock: of the requirements.
    params: what the steps read, card included. key: sha256 over all of it.
    parent: the version that a warm start continued from; its key is then a fifth part.
    """

    data: str
    code: str
    lock: str
    params: dict[str, Any]
    key: str
    parent: Parent | None = None

    @property
    def fresh_key(self) -> str:
        """The key of a fit from scratch."""
        return lineage_key(self.data, self.params, self.code, self.lock)

    @property
    def made_by(self) -> str:
        """Digest of all but the data: equal ones differ in nothing but what was there to learn from."""
        return sha256_json({"params": self.params, "code": self.code, "lock": self.lock})


class CodeGraph:
    """Who imports whom in tasks and rectory, read from the sources that this process would import.

    Nothing is imported and nothing is cached on disk: building it takes about 0.1 s.
    """

    def __init__(self) -> None:
        import grimp

        self._graph = grimp.build_graph(*_PACKAGES, cache_dir=None, exclude_type_checking_imports=True)

    def modules(self, roots: Iterable[str]) -> list[str]:
        """The roots, all that they import directly or not, and the packages around them, sorted."""
        found: set[str] = set()
        for root in roots:
            if root not in self._graph.modules:
                raise StoreError(f"the lineage key needs module {root}, which is not in {', '.join(_PACKAGES)}.")
            found |= {root} | self._graph.find_upstream_modules(root)
        # Importing a.b.c runs a/__init__ and a/b/__init__ too.
        found |= {".".join(name.split(".")[:depth]) for name in found for depth in range(1, name.count(".") + 1)}
        return sorted(name for name in found if not _within(name, _VALUES_ONLY))

    def steps(self) -> list[str]:
        """Modules of all steps of a run."""
        return sorted(self._graph.find_children("tasks") - set(_NO_PART_OF_A_RUN))


def code_hash(modules: Iterable[str]) -> str:
    """sha256 over (name, sha256 of the source) of each module, sorted by name; where the files lie plays no part."""
    digest = hashlib.sha256()
    for name in sorted(set(modules)):
        digest.update(f"{name} {sha256_file(source_of(name))}\n".encode())
    return digest.hexdigest()


def source_of(module: str) -> Path:
    """Source file of a module of tasks or rectory, found without importing its parents.

    Raises:
        StoreError: there is none.
    """
    top, *rest = module.split(".")
    spec = find_spec(top)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        base = Path(folder, *rest)
        for path in (base / "__init__.py", base.with_name(f"{base.name}.py")):
            if path.is_file():
                return path
    raise StoreError(f"no source file of module {module} was found: install Rectory from its sources or a wheel.")


def lock_hash(lock_file: Path) -> str:
    """sha256 of the hashed requirements; without such a file, of the names and versions that are installed."""
    if lock_file.is_file():
        return sha256_file(lock_file)
    from importlib.metadata import distributions

    return "installed-" + sha256_json(sorted({f"{one.metadata['Name']}=={one.version}" for one in distributions()}))


def lineage_key(data: str, params: Mapping[str, Any], code: str, lock: str, parent: str | None = None) -> str:
    """sha256 over the four parts; the order of keys plays no part.

    parent: lineage key of the version that a warm start continued from, a fifth part.
    """
    parts = {"data": data, "params": params, "code": code, "lock": lock}
    return sha256_json(parts if parent is None else {**parts, "warm_start_of": parent})


def candidate_params(params: Params, card: Card, candidate: str) -> dict[str, Any]:
    """What split, features and train read for one candidate; nothing that only tells how fast or what is shown."""
    dumped = dump_params(params)
    mapping = card.model_dump(mode="json", include={"interactions", "items", "users"})
    return {
        "dataset": params.dataset,
        "card": mapping,
        "split": dumped["split"],
        "features": dumped["features"],
        "train": {
            "seed": dumped["train"]["seed"],
            "validation_users": dumped["train"]["validation_users"],
            "candidate": candidate,
            **dumped["train"]["candidates"][candidate],
        },
    }


def recipe(params: Params, candidate: str) -> str:
    """Digest of a candidate's name and params without `baseline`: equal recipes differ in data (and code) only."""
    told = dump_params(params)["train"]["candidates"][candidate]
    return sha256_json({"candidate": candidate, **{key: value for key, value in told.items() if key != "baseline"}})


def candidate_code(kind: str, graph: CodeGraph | None = None) -> str:
    """Code hash of one kind of candidate: the steps that lead to it and its own module, no other model's."""
    return code_hash((graph or CodeGraph()).modules([*_CANDIDATE_STEPS, *modules_of(kind)]))


def candidate_lineage(
    params: Params,
    card: Card,
    data: str,
    lock_file: Path,
    candidate: str,
    *,
    graph: CodeGraph | None = None,
    parent: Parent | None = None,
) -> Lineage:
    """Lineage of one candidate's model.

    Args:
        data: content hash of the validated snapshot.
        lock_file: hashed requirements.
        graph: pass one when asking for several candidates.
        parent: the version that the fit continued from.
    """
    code = candidate_code(params.train.candidates[candidate].kind, graph)
    return _lineage(data, candidate_params(params, card, candidate), code, lock_hash(lock_file), parent)


def refit_code(kind: str, graph: CodeGraph | None = None) -> str:
    """Code hash of fitting one kind of candidate's recipe again."""
    return code_hash((graph or CodeGraph()).modules([*_REFIT_STEPS, *modules_of(kind)]))


def refit_lineage(
    params: Params, card: Card, data: str, lock_file: Path, recipe_told: Mapping[str, Any], *, refit_of: str
) -> Lineage:
    """Lineage of a recipe that is fitted again on everything up to as_of.

    Args:
        recipe_told: as the step refit reads it. refit_of: lineage key of the version whose recipe it is.
    """
    candidate = str(recipe_told["candidate"])
    as_of = None if params.as_of is None else params.as_of.isoformat()
    own = {"recipe": dict(recipe_told), "as_of": as_of, "refit_of": refit_of}
    read = {**candidate_params(params, card, candidate), **own}
    return _lineage(data, read, refit_code(params.train.candidates[candidate].kind), lock_hash(lock_file))


def own_tests(params: Params, project: Path) -> dict[str, str]:
    """File of `behave.modules` -> its sha256: part of a run's lineage, not of a model's."""
    return {name: sha256_file(path) for name, path in module_files(project, params.behave.modules).items()}


def run_lineage(
    params: Params,
    card: Card,
    data: str,
    lock_file: Path,
    *,
    graph: CodeGraph | None = None,
    tests: Mapping[str, str] | None = None,
    parents: Mapping[str, Parent | None] | None = None,
) -> Lineage:
    """Lineage of a whole run: every candidate, and whatever judges, scores and watches them.

    Args:
        tests: `own_tests` of the project.
        parents: candidate -> the version that its fit continued from.
    """
    graph = graph or CodeGraph()
    dumped = dump_params(params)
    read: dict[str, Any] = {name: dumped[name] for name in ("evaluate", "behave", "gate", "score", "drift")}
    read["own_tests"] = dict(tests or {})
    read["candidates"] = {
        name: candidate_lineage(params, card, data, lock_file, name, graph=graph, parent=(parents or {}).get(name)).key
        for name in params.train.candidates
    }
    kinds = {module for one in params.train.candidates.values() for module in modules_of(one.kind)}
    return _lineage(data, read, code_hash(graph.modules([*graph.steps(), *kinds])), lock_hash(lock_file))


def _lineage(data: str, params: dict[str, Any], code: str, lock: str, parent: Parent | None = None) -> Lineage:
    key = lineage_key(data, params, code, lock, parent.lineage_key if parent else None)
    return Lineage(data, code, lock, params, key, parent)


def _within(module: str, packages: Iterable[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)

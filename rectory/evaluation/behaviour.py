"""Behavioural tests: what must hold of any recommender, whatever its accuracy.

A test asks the fitted bundle, or asks the recipe what-if questions by refitting it on changed samples of the log. Ours
are in `behaviour_tests.py`; `load_tests` adds those of a user's own files. Source of the idea: Ribeiro et al., "Beyond
Accuracy: Behavioral Testing of NLP Models with CheckList", ACL 2020; for recommenders: Tagliabue et al., "RecList",
WWW 2022.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from rectory.arrays import Array, Float64Array, Int32Array
from rectory.errors import UsageError
from rectory.evaluation.behaviour_log import Changed, Relabelled, changed, relabelled, sample_log
from rectory.evaluation.relevance import Window
from rectory.features.training_set import TrainingSet
from rectory.models.bundle import Bundle
from rectory.models.catalogue import build
from rectory.models.protocol import NO_ITEM, Recommender, TopK
from rectory.params.candidates import CandidateParams
from rectory.params.sections import BehaveParams

K = 10
_Z = 1.96
_LEAST_USERS = 30
"""Users of the sample below which a what-if question has no answer."""
_DECIMALS = 4


@dataclass(frozen=True)
class Finding:
    """What a test found: whether it passed, a sentence with the numbers, the measured value and its limit."""

    passed: bool
    text: str
    value: float | None = None
    limit: float | None = None


class NotApplicable(Exception):
    """Raised by a test that has nothing to ask of this model or this log; its text says why."""


@dataclass(frozen=True)
class Result:
    """One test's result. `applicable` is false where it could not be asked; it then counts as passed, and says so."""

    name: str
    passed: bool
    text: str
    value: float | None
    limit: float | None
    applicable: bool = True

    def to_dict(self) -> dict[str, Any]:
        numbers = {key: _rounded(getattr(self, key)) for key in ("value", "limit")}
        return {"name": self.name, "applicable": self.applicable, "passed": self.passed, "text": self.text, **numbers}


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95% interval, by the normal approximation."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


class Context:
    """What a test may look at. Whatever costs a fit is made once, by the first test that asks.

    Args:
        bundle: the fitted candidate.
        train: what it was fitted on.
        window: today's test window.
        candidate: its section in params.yaml.
        chosen: what its fit chose (`report.chosen`); refits choose nothing anew.
        seed, validation_users: of params.yaml's `train`.
    """

    def __init__(
        self,
        bundle: Bundle,
        train: TrainingSet,
        window: Window,
        *,
        candidate: CandidateParams,
        chosen: dict[str, Any],
        seed: int,
        validation_users: int,
        params: BehaveParams,
    ) -> None:
        self.bundle = bundle
        self.train = train
        self.window = window
        self.candidate = candidate
        self.chosen = chosen
        self.seed = seed
        self._validation_users = validation_users
        self._params = params

    # The sample and refits on it.

    @cached_property
    def sample(self) -> TrainingSet:
        """A small part of the log, the same for every candidate: `behaviour_log.sample_log`."""
        return sample_log(self.train, self._params)

    def refit(self, train: TrainingSet, seed: int | None = None) -> Recommender:
        """The candidate's recipe on another training set: same params, same choices, nothing searched."""
        chosen_seed = self.seed if seed is None else seed
        return build(self.candidate, chosen_seed, self._validation_users).refit(train, self.chosen)

    @cached_property
    def base(self) -> Recommender:
        """The recipe on the sample."""
        return self.refit(self.sample)

    @cached_property
    def reseeded(self) -> Recommender:
        """The same with another seed: how far two fits differ that mean the same."""
        return self.refit(self.sample, self.seed + 1)

    @cached_property
    def shuffled(self) -> tuple[Relabelled, Recommender]:
        """The sample under other codes, and the recipe on it."""
        other = relabelled(self.sample, self.seed)
        return other, self.refit(other.train)

    @cached_property
    def changed(self) -> tuple[Changed, Recommender]:
        """The sample with some pasts changed, and the recipe on it."""
        other = changed(self.sample, self.users, self.seed)
        return other, self.refit(other.train)

    # Lists.

    @cached_property
    def users(self) -> Int32Array:
        """All users of the sample, in an order that has nothing to do with their codes or their past."""
        order = np.random.default_rng(self.seed).permutation(self.sample.n_users)
        return order.astype(np.int32)

    def lists(self, model: Recommender, users: Int32Array, k: int = K) -> TopK:
        """Lists by a model of the sample; without what the user had in the sample where the card excludes repeats."""
        exclude = None if self.sample.repeats else self._seen[users]
        return model.recommend(users, k, exclude=exclude)

    @cached_property
    def base_lists(self) -> TopK:
        """`base` for `users`."""
        return self.lists(self.base, self.users)

    @cached_property
    def reseeded_lists(self) -> TopK:
        """`reseeded` for `users`."""
        return self.lists(self.reseeded, self.users)

    @cached_property
    def deterministic(self) -> bool:
        """Whether the seed plays no part in the lists."""
        one, other = self.base_lists, self.reseeded_lists
        return np.array_equal(one.items, other.items) and np.array_equal(one.scores, other.scores)

    @cached_property
    def personal(self) -> bool:
        """Whether any user of the sample is told something else than an unknown one would be, had it the same past."""
        everybody = np.full(len(self.users), -1, dtype=np.int32)
        exclude = None if self.sample.repeats else self._seen[self.users]
        return not np.array_equal(self.base_lists.items, self.base.recommend(everybody, K, exclude=exclude).items)

    @cached_property
    def _seen(self) -> Any:
        return self.sample.counts()


@dataclass(frozen=True)
class BehaviouralTest:
    """A named function from a context to a finding; needs: names in NEEDS, which must hold for it to be applicable."""

    name: str
    needs: tuple[str, ...]
    function: Callable[[Context], Finding]

    def run(self, context: Context) -> Result:
        """The result, whatever happens: a test that breaks has failed, and says how."""
        try:
            for need in self.needs:
                NEEDS[need](context)
            found = self.function(context)
        except NotApplicable as why:
            return Result(self.name, True, f"not applicable: {why}", None, None, applicable=False)
        except Exception as error:  # noqa: BLE001 - a broken test must refuse a promotion, not end the night's run
            return Result(self.name, False, f"could not be run: {type(error).__name__}: {error}", None, None)
        return Result(self.name, bool(found.passed), found.text, found.value, found.limit)


def behavioural_test(name: str, needs: str | Sequence[str] = ()) -> Callable[[Callable[..., Finding]], BehaviouralTest]:
    """Make a function of a `Context` a behavioural test. The gate knows it as `behaviour:<name>`.

    Args:
        needs: "item_features", "personal", "users" (enough of them in the sample), in the order they are asked.
    Raises:
        UsageError: an unknown need, or a name that is empty or has spaces.
    """
    asked = (needs,) if isinstance(needs, str) else tuple(needs)
    if unknown := [need for need in asked if need not in NEEDS]:
        raise UsageError(f"behavioural test {name!r} needs {unknown}; there are {', '.join(NEEDS)}.")
    if not name or name.split() != [name]:
        raise UsageError(f"behavioural test {name!r}: give it a name without spaces, e.g. no_adult_items.")

    def made(function: Callable[..., Finding]) -> BehaviouralTest:
        return BehaviouralTest(name, asked, function)

    return made


def run_tests(tests: Iterable[BehaviouralTest], context: Context) -> list[Result]:
    """All results, in the order of the tests."""
    return [test.run(context) for test in tests]


def found_in(module: ModuleType) -> list[BehaviouralTest]:
    """The tests that a module defines, in the order they stand in it."""
    return [found for found in vars(module).values() if isinstance(found, BehaviouralTest)]


def load_tests(project: Path, files: Sequence[str]) -> list[BehaviouralTest]:
    """Our tests, then those of the user's files.

    Raises:
        UsageError: a file is missing, lies outside the project, cannot be imported or has no test; a name is taken.
    """
    from rectory.evaluation import behaviour_tests

    found = found_in(behaviour_tests)
    for file in files:
        own = found_in(_imported(project, file))
        if not own:
            raise UsageError(
                f"behave.modules: {file} has no function with @behavioural_test(...). See docs/behaviour.md."
            )
        found += own
    names = [test.name for test in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"behavioural test(s) {twice} are there twice: rename yours in {', '.join(files)}.")
    return found


def module_files(project: Path, files: Sequence[str]) -> dict[str, Path]:
    """File as params.yaml names it -> where it is.

    Raises:
        UsageError: it is missing or outside the project's folder.
    """
    paths = {}
    for file in files:
        path = project / file
        if not path.resolve().is_relative_to(project.resolve()):
            raise UsageError(f"behave.modules: {file} lies outside the project's folder; put a copy into it.")
        if not path.is_file():
            raise UsageError(
                f"behave.modules: there is no file {file} in the project's folder; name one that is there."
            )
        paths[file] = path
    return paths


def estimate(values: Array) -> Estimate:
    """Mean of (n,) values, n >= 1."""
    values = np.asarray(values, dtype=np.float64)
    spread = _Z * values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return Estimate(float(values.mean()), float(values.mean() - spread), float(values.mean() + spread))


def difference(one: Array, other: Array) -> Estimate:
    """Mean of `one` minus mean of `other`, two groups of different users."""
    parts = [np.asarray(part, dtype=np.float64) for part in (one, other)]
    spread = (
        _Z * math.sqrt(sum(part.var(ddof=1) / len(part) for part in parts)) if min(map(len, parts)) > 1 else math.inf
    )
    value = float(parts[0].mean() - parts[1].mean())
    return Estimate(value, value - spread, value + spread)


def overlap(one: Int32Array, other: Int32Array) -> Float64Array:
    """(n,) share of the items of each list of `one` (n, k) that stand anywhere in the list of `other` (n, l); nan where
    the list is empty."""
    there = (one[:, :, None] == other[:, None, :]).any(axis=2) & (one != NO_ITEM)
    length = (one != NO_ITEM).sum(axis=1)
    return np.where(length > 0, there.sum(axis=1) / np.maximum(length, 1), np.nan)


def _imported(project: Path, file: str) -> ModuleType:
    path = module_files(project, [file])[file]
    spec = importlib.util.spec_from_file_location(f"behaviour_of_project_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"behave.modules: {file} is no Python file (name it *.py).")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"behave.modules: {file} cannot be imported: {type(error).__name__}: {error}") from error
    return module


def _need_item_features(context: Context) -> None:
    if not context.train.item_features.names:
        raise NotApplicable("the card declares no item features, or none with values that items share")


def _need_users(context: Context) -> None:
    if context.sample.n_users < _LEAST_USERS:
        raise NotApplicable(f"only {context.sample.n_users} users have enough history, {_LEAST_USERS} are needed")


def _need_personal(context: Context) -> None:
    if not context.personal:
        raise NotApplicable("every user is told what an unknown one is told")


NEEDS: dict[str, Callable[[Context], None]] = {
    "users": _need_users,
    "item_features": _need_item_features,
    "personal": _need_personal,
}
"""Name -> raises NotApplicable where it is missing."""


def _rounded(number: float | None) -> float | None:
    if number is None or not math.isfinite(number):
        return None
    return round(float(number), _DECIMALS) + 0.0

"""From the `kind` of a candidate to its class. A new model adds one line here."""

from __future__ import annotations

import importlib
from typing import cast

from rectory.errors import UsageError
from rectory.models.protocol import Recommender
from rectory.params.candidates import CandidateParams

# Names, not imports: a candidate's lineage follows its own module only, and nobody pays for another model's libraries.
_CLASSES = {
    "blend": "rectory.models.blend:Blend",
    "popularity": "rectory.models.popularity:Popularity",
    "personal_frequency": "rectory.models.personal_frequency:PersonalFrequency",
    "item_knn": "rectory.models.item_knn:ItemKnn",
    "user_knn": "rectory.models.user_knn:UserKnn",
    "ease": "rectory.models.ease:Ease",
    "transitions": "rectory.models.transitions:Transitions",
    "content": "rectory.models.content:Content",
    "als": "rectory.models.als:Als",
    "bpr": "rectory.models.bpr:Bpr",
    "lightfm_hybrid": "rectory.models.lightfm_hybrid:LightFMHybrid",
}

# What a fit imports when it begins. Two threads that import one library at once may each get half of it.
_FITTED_WITH = {
    "als": "implicit.cpu.als",
    "bpr": "implicit.cpu.bpr",
    "ease": "scipy.linalg.lapack",
    "item_knn": "implicit._nearest_neighbours",
    "lightfm_hybrid": "lightfm",
    "user_knn": "implicit._nearest_neighbours",
}

# Any other kind may be one of their sources.
_MADE_OF_OTHERS = ("blend",)


def kinds() -> tuple[str, ...]:
    """All kinds that can be built, sorted."""
    return tuple(sorted(_CLASSES))


def module_of(kind: str) -> str:
    """Dotted name of the module that holds the model of this kind.

    Raises:
        UsageError: there is no such kind.
    """
    return _place(kind)[0]


def modules_of(kind: str) -> tuple[str, ...]:
    """The modules whose code decides what a model of this kind is: its own, and those of what it is made of.

    Raises:
        UsageError: there is no such kind.
    """
    return tuple(module_of(one) for one in kinds()) if kind in _MADE_OF_OTHERS else (module_of(kind),)


def model_class(kind: str) -> type[Recommender]:
    """The class of this kind; its module is imported now.

    Raises:
        UsageError: there is no such kind.
    """
    module, name = _place(kind)
    return cast("type[Recommender]", getattr(importlib.import_module(module), name))


def import_for_fit(kind: str) -> None:
    """Import all that fitting this kind imports: before several kinds are fitted in threads.

    Raises:
        UsageError: there is no such kind.
    """
    model_class(kind)
    if kind in _FITTED_WITH:
        importlib.import_module(_FITTED_WITH[kind])


def build(candidate: CandidateParams, seed: int, validation_users: int) -> Recommender:
    """An unfitted model.

    Args:
        candidate: its section in params.yaml.
        seed: of every random choice.
        validation_users: validation users that are scored at most.
    """
    model: Recommender = model_class(candidate.kind)(candidate, seed, validation_users)  # type: ignore[call-arg]
    return model


def _place(kind: str) -> tuple[str, str]:
    if kind not in _CLASSES:
        raise UsageError(f"no model of kind {kind!r}; there are {', '.join(kinds())}. See docs/models.md.")
    module, _, name = _CLASSES[kind].partition(":")
    return module, name

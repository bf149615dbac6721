"""A log with four tastes, a sound model of it, and models that are each broken in one way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from rectory.data.card import Card
from rectory.evaluation.behaviour import Context
from rectory.evaluation.relevance import build_window
from rectory.features.training_set import TrainingSet
from rectory.models.bundle import Bundle
from rectory.models.protocol import NO_ITEM, TopK
from rectory.models.topk import excluding_self
from rectory.params.candidates import PopularityParams
from rectory.params.sections import BehaveParams
from tests.conformance.synthetic import training_set

USERS, ITEMS, TASTES = 160, 120, 4
CARD = Card.model_validate(
    {
        "name": "small",
        "source": {"kind": "files", "interactions": {"path": "log.csv"}},
        "interactions": {"user_id": "u", "item_id": "i", "timestamp": {"column": "t"}, "repeats": "allow"},
    }
)


def log(*, repeats: bool = True, features: bool = True, meaningful: bool = True, rows: int = 24) -> TrainingSet:
    """Item i is of taste i % 4; user u takes mostly of its tastes u % 4 and (u + 1) % 4, popular items more often.

    Args:
        meaningful: false: the declared group of an item has nothing to do with its taste.
    """
    draw = np.random.default_rng(3)
    user = np.repeat(np.arange(USERS), rows)
    taste = np.where(draw.random(len(user)) < 0.6, user % TASTES, (user + 1) % TASTES)
    taste = np.where(draw.random(len(user)) < 0.1, draw.integers(0, TASTES, len(user)), taste)
    item = taste + TASTES * np.minimum(draw.geometric(0.12, len(user)) - 1, ITEMS // TASTES - 1)
    groups = np.arange(ITEMS) % TASTES if meaningful else draw.integers(0, TASTES, ITEMS)
    return training_set(
        user,
        item,
        draw.random(len(user)) * 199,
        n_users=USERS,
        n_items=ITEMS,
        repeats=repeats,
        item_groups=groups if features else None,
    )


def later(train: TrainingSet) -> pd.DataFrame:
    """A test window in the same tastes."""
    draw, codes = np.random.default_rng(4), np.repeat(train.users.encode([f"u{user:04d}" for user in range(USERS)]), 6)
    user = codes[codes >= 0]
    taste = np.where(draw.random(len(user)) < 0.6, user % TASTES, (user + 1) % TASTES)
    item = taste + TASTES * np.minimum(draw.geometric(0.12, len(user)) - 1, ITEMS // TASTES - 1)
    ids = {"user_id": train.users.ids[user], "item_id": [f"i{code:04d}" for code in item]}
    return pd.DataFrame(ids).assign(event="interaction", value=np.float32(1))


class Sound:
    """What the takers of a user's items take: history times the cosines of the items' takers."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def refit(self, train: TrainingSet) -> Sound:
        self.train = train
        counts = train.counts().toarray()
        unit = counts / np.maximum(np.linalg.norm(counts, axis=0), 1e-9)
        self.likeness = unit.T @ unit
        self.popular = counts.sum(axis=0) / max(counts.sum(), 1)
        self.known = np.vstack([counts @ self.likeness + self.popular, self.popular])
        return self

    def scores(self, users: Any) -> Any:
        return self.known[users]

    def recommend(self, users: Any, k: int, *, exclude: csr_array | None = None, items: Any = None) -> TopK:
        scores = np.array(self.scores(users), dtype=np.float64)
        if exclude is not None:
            scores[exclude.toarray() != 0] = -np.inf
        if items is not None:
            scores[:, np.setdiff1d(np.arange(scores.shape[1]), items)] = -np.inf
        return ranked(scores, k)

    def similar(self, items: Any, k: int) -> TopK:
        likeness = np.where(excluding_self(items, len(self.popular)).toarray() > 0, -np.inf, self.likeness[items])
        return ranked(likeness, k)


def ranked(scores: Any, k: int) -> TopK:
    lists = np.full((len(scores), k), NO_ITEM, dtype=np.int32)
    values = np.full((len(scores), k), -np.inf, dtype=np.float32)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    found = np.take_along_axis(scores, order, axis=1)
    lists[:, : order.shape[1]] = np.where(np.isneginf(found), NO_ITEM, order)
    values[:, : order.shape[1]] = found
    return TopK(lists, values)


class Noisy(Sound):
    """Sound, with a little luck that the seed and the order of the rows decide, as in any stochastic fit."""

    def refit(self, train: TrainingSet) -> Noisy:
        super().refit(train)
        luck = np.random.default_rng([self.seed, len(train.user), int(train.item[0])])
        self.known = self.known * luck.normal(1.0, 0.02, self.known.shape)
        return self


class SmallCodesFirst(Sound):
    """Memorises codes: adds more to an item, the smaller its code."""

    def scores(self, users: Any) -> Any:
        codes = np.arange(len(self.popular))
        return self.known[users] - 100.0 * codes


class DeafToHistory(Sound):
    """Personal by the user's code alone."""

    def scores(self, users: Any) -> Any:
        return np.vstack([np.roll(self.popular, 7 * int(user)) if user >= 0 else self.popular for user in users])


class Chaotic(Sound):
    """A list that any change of the history makes another one."""

    def scores(self, users: Any) -> Any:
        counts = self.train.counts().toarray().astype(int)
        pasts = [counts[user].tolist() if user >= 0 else [0] for user in users]
        return np.vstack([np.random.default_rng(past).random(len(self.popular)) for past in pasts])


class OffersTheDeparted(Sound):
    """Does not look at which items may be ranked."""

    def recommend(self, users: Any, k: int, *, exclude: csr_array | None = None, items: Any = None) -> TopK:  # noqa: ARG002
        return super().recommend(users, k, exclude=exclude)


class LikensAnything(Sound):
    """Similar items are drawn, not found."""

    def similar(self, items: Any, k: int) -> TopK:
        return ranked(np.random.default_rng(0).random((len(items), len(self.popular))), k)


class WildlyWrong(Sound):
    """Personal lists of items that have nothing to do with the user."""

    def scores(self, users: Any) -> Any:
        draw = np.random.default_rng(1).random((len(self.known), len(self.popular)))
        return draw[users]


class Popular(Sound):
    """The same list for all, also as likeness."""

    def scores(self, users: Any) -> Any:
        return np.tile(self.popular, (len(users), 1))

    def similar(self, items: Any, k: int) -> TopK:
        scores = np.tile(self.popular, (len(items), 1))
        return ranked(np.where(excluding_self(items, len(self.popular)).toarray() > 0, -np.inf, scores), k)


class Asking(Context):
    """A context whose recipe is a class of this file."""

    recipe: Callable[[int], Sound]

    def refit(self, train: TrainingSet, seed: int | None = None) -> Any:
        return self.recipe(self.seed if seed is None else seed).refit(train)


def ask(recipe: Callable[[int], Sound], train: TrainingSet | None = None, available: Any = None) -> Asking:
    """A context for the tests to ask."""
    train = log() if train is None else train
    window = build_window(later(train), train, CARD, head_share=0.2)
    bundle = Bundle.of("mine", "mine", recipe(42).refit(train), train, titles=None, dataset="small")  # type: ignore[arg-type]
    context = Asking(
        replace(bundle, available=available),
        train,
        window,
        candidate=PopularityParams(kind="popularity"),
        chosen={},
        seed=42,
        validation_users=100,
        params=BehaveParams(),
    )
    context.recipe = recipe
    return context

"""A log small enough to work out by hand, and bundles that answer with fixed lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from rectory.data.card import Card
from rectory.data.ids import IdMap
from rectory.features.training_set import FeatureBlock, TrainingSet
from rectory.models.protocol import TopK

# anna: a a b c;  bob: a b;  carl: a.  d stands only in the item table; dora only in the user table.
BEFORE = [("anna", "a"), ("anna", "a"), ("anna", "b"), ("anna", "c"), ("bob", "a"), ("bob", "b"), ("carl", "a")]
TEST = [
    ("anna", "a", "buy"), ("anna", "d", "buy"), ("anna", "d", "buy"),
    ("bob", "b", "view"), ("bob", "c", "buy"),
    ("dora", "a", "buy"), ("dora", "new", "buy"),
    ("eve", "b", "buy"),
]  # fmt: skip


def make_card(repeats: str = "allow", **interactions: Any) -> Card:
    return Card.model_validate(
        {
            "name": "small",
            "source": {"kind": "files", "interactions": {"path": "log.csv"}, "users": {"path": "users.csv"}},
            "interactions": {
                "user_id": "user", "item_id": "item", "timestamp": {"column": "time"}, "event": "event",
                "repeats": repeats, **interactions,
            },
            "users": {
                "id": "user",
                "features": {
                    "age": {"column": "age", "kind": "numeric"},
                    "city": {"column": "city"},
                    "likes": {"column": "likes", "kind": "multi"},
                    "about": {"column": "about", "kind": "text"},
                },
            },
        }
    )  # fmt: skip


def make_train(repeats: bool = True, features: bool = True) -> TrainingSet:
    users, items = IdMap(["anna", "bob", "carl", "dora"]), IdMap(["a", "b", "c", "d"])
    n = len(BEFORE)
    described = csr_array(np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]], dtype=np.float32))
    matrix = described if features else csr_array((4, 0), dtype=np.float32)
    return TrainingSet(
        users=users,
        items=items,
        user=users.encode([user for user, _ in BEFORE]),
        item=items.encode([item for _, item in BEFORE]),
        time=np.arange(n, dtype=np.float64),
        weight=np.ones(n, dtype=np.float32),
        target=np.ones(n, dtype=bool),
        validation_start=5.0,
        end=float(n),
        repeats=repeats,
        user_features=FeatureBlock(csr_array((4, 0), dtype=np.float32), ()),
        item_features=FeatureBlock(matrix, ("kind=x", "kind=y")[: matrix.shape[1]]),
    )


def make_test(rows: Sequence[tuple[str, str, str]] = tuple(TEST)) -> pd.DataFrame:
    frame = pd.DataFrame(list(rows), columns=["user_id", "item_id", "event"])
    return frame.assign(value=np.float32(1))


@dataclass
class FixedLists:
    """A model that gives user u the best of `order[u]` (or `order[None]`) that is not excluded."""

    users: IdMap
    items: IdMap
    order: dict[str | None, list[str]]

    def recommend(self, users: Any, k: int, *, exclude: csr_array | None = None, items: Any = None) -> TopK:
        assert items is None
        lists = np.full((len(users), k), -1, dtype=np.int32)
        for row, code in enumerate(users):
            name = None if code < 0 else str(self.users.ids[code])
            left_out = set() if exclude is None else set(exclude[[row]].indices.tolist())
            codes = [c for c in self.items.encode(self.order.get(name, self.order[None])) if c not in left_out][:k]
            lists[row, : len(codes)] = codes
        return TopK(lists, np.where(lists < 0, -np.inf, -np.arange(k)).astype(np.float32))


def make_bundle(order: dict[str | None, list[str]], users: Sequence[str], items: Sequence[str]) -> Any:
    maps = IdMap(users), IdMap(items)
    model = FixedLists(*maps, order)
    return SimpleNamespace(model=model, users=maps[0], items=maps[1], recommend_codes=model.recommend)

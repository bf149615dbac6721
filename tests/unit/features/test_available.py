"""Items that have left the catalogue: from the card's column to lists without them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rectory.data.card import Card
from rectory.data.entities import canonical_entities
from rectory.data.ids import IdMap
from rectory.errors import CardError, DataError
from rectory.features.build import available_items
from rectory.features.training_set import TrainingSet
from rectory.models.bundle import Bundle
from rectory.models.catalogue import build
from rectory.models.protocol import NO_ITEM
from rectory.params.candidates import PopularityParams
from tests.conformance.synthetic import two_tastes


def card(**items: object) -> Card:
    table = {"path": "x.csv"}
    return Card.model_validate(
        {
            "name": "shop",
            "source": {"kind": "files", "interactions": table, "items": table, "users": table},
            "interactions": {"user_id": "u", "item_id": "i", "timestamp": {"column": "t"}},
            "items": {"id": "sku", "available": "stock", **items},
            "users": {"id": "who"},
        }
    )


def read(cells: list[object]) -> list[object]:
    raw = pd.DataFrame({"sku": [f"s{place}" for place in range(len(cells))], "stock": pd.Series(cells, dtype=object)})
    return list(canonical_entities(card(), "items", raw)[0].frame["available"])


def test_words_and_numbers_are_read_and_nothing_written_says_nothing() -> None:
    assert read(["yes", "No", " TRUE ", "false", "0", "17", "-3", None, ""]) == [
        True, False, True, False, False, True, False, None, None,
    ]  # fmt: skip
    assert read([True, False, 0, 2.0]) == [True, False, False, True]


def test_a_column_that_says_something_else_is_refused_with_its_cells() -> None:
    with pytest.raises(DataError, match="'soon'"):
        read(["yes", "soon"])


def test_the_name_is_reserved_and_users_cannot_leave() -> None:
    with pytest.raises(CardError, match=r"rename `items\.features\.available`"):
        canonical_entities(
            card(features={"available": {"column": "stock"}}), "items", pd.DataFrame({"sku": ["a"], "stock": ["1"]})
        )
    with pytest.raises(ValueError, match="key of `items:`"):
        Card.model_validate(card().model_dump() | {"users": {"id": "who", "available": "x"}})


def test_an_item_without_a_row_has_left_and_one_without_a_word_has_not() -> None:
    ids = IdMap(["gone", "kept", "left", "unsaid"])
    table = pd.DataFrame({"item_id": ["kept", "left", "unsaid"], "available": [True, False, None]})
    found = available_items(table, ids)
    assert found is not None
    assert found.tolist() == [False, True, False, True]
    assert available_items(table.drop(columns="available"), ids) is None


@pytest.fixture
def train() -> TrainingSet:
    whole = two_tastes(repeats=True)
    return replace(whole, available=np.arange(whole.n_items) % 3 > 0)


def test_lists_and_likenesses_hold_only_what_can_be_had(train: TrainingSet, tmp_path: Path) -> None:
    model = build(PopularityParams(kind="popularity"), 1, 100).fit(train)
    bundle = Bundle.of("mine", "popularity", model, train, titles=None, dataset="shop")
    bundle.save(tmp_path / "bundle")
    for one in (bundle, Bundle.load(tmp_path / "bundle")):
        lists = one.recommend_codes(np.array([0, -1], dtype=np.int32), 40).items
        likes = one.similar_codes(np.array([1, 5], dtype=np.int32), 40).items
        assert {tuple(sorted(row[row != NO_ITEM].tolist())) for row in lists} == {
            tuple(np.flatnonzero(train.available).tolist())
        }
        assert (np.sum(likes != NO_ITEM, axis=1) == 25).all()  # 26 available, without the item itself
        assert (likes[likes != NO_ITEM] % 3 > 0).all()
        asked = [f"i{code:04d}" for code in (0, 1, 2, 3)]
        assert set(one.recommend(["u0001"], 10, items=asked)["item_id"]) == {"i0001", "i0002"}
        assert not set(one.similar(["i0001"], 3)["similar_item_id"]) & {f"i{code:04d}" for code in range(0, 40, 3)}


def test_a_training_set_keeps_what_is_known_and_what_is_not(train: TrainingSet, tmp_path: Path) -> None:
    train.save(tmp_path / "known")
    known = TrainingSet.load(tmp_path / "known").available
    assert known is not None
    assert known.tolist() == train.available.tolist()
    replace(train, available=None).save(tmp_path / "unknown")
    assert TrainingSet.load(tmp_path / "unknown").available is None

"""Lists that were noted at registration: what serves must come to the same, whatever was learned since."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from rectory.data.ids import IdMap
from rectory.params.candidates import EaseParams, PersonalFrequencyParams, PopularityParams
from rectory.registry.sample_lists import COMPARED, difference, sample_lists
from rectory.serving.champion import Champion
from rectory.serving.engine import LiveEngine
from rectory.serving.types import Item
from tests.unit.serving.small import bought, small_engine

KINDS = (
    PopularityParams(kind="popularity"),
    PersonalFrequencyParams(kind="personal_frequency"),
    EaseParams(kind="ease"),
)


def found(engine: LiveEngine, sample: dict) -> str | None:
    return difference(sample, lambda user: engine.batch_list(user, COMPARED))


@pytest.mark.parametrize("repeats", [True, False])
@pytest.mark.parametrize("params", KINDS, ids=lambda one: one.kind)
def test_what_serves_gives_the_lists_of_the_batch(params, repeats: bool) -> None:
    engine = small_engine(params=params, repeats=repeats)
    sample = json.loads(json.dumps(sample_lists(engine.champion.bundle)))
    users = [one["user_id"] for one in sample["lists"]]
    assert len(users) == 32 and users[0] == "u0000" and users[-1] == "u0058", "59 users have a history"
    for one in sample["lists"]:
        batch = engine.champion.bundle.recommend([one["user_id"]], COMPARED)["item_id"].tolist()
        assert engine.batch_list(one["user_id"], COMPARED) == batch == one["items"][:COMPARED]
    assert found(engine, sample) is None
    engine.learn([bought("u0000", f"i{code:04d}") for code in range(12)])
    engine.put_items([Item("brand-new")])
    engine.remove_item(sample["lists"][0]["items"][0])
    assert found(engine, sample) is None, "what happened since is no difference"


@pytest.mark.parametrize("params", KINDS[1:], ids=lambda one: one.kind)
def test_permuted_ids_are_found(params) -> None:
    engine = small_engine(params=params)
    bundle = engine.champion.bundle
    sample = sample_lists(bundle)
    users = engine._users
    users.ids.reverse()
    users._code = {one: code for code, one in enumerate(users.ids)}
    assert "sampled users would get other lists" in (found(engine, sample) or "")
    users.ids.reverse()
    users._code = {one: code for code, one in enumerate(users.ids)}
    assert found(engine, sample) is None
    engine._items.ids.reverse()
    assert (found(engine, sample) or "").startswith("32 of 32")


def test_another_order_of_the_bundle_itself_is_found() -> None:
    engine = small_engine(params=KINDS[1])
    sample = sample_lists(engine.champion.bundle)
    bundle = engine.champion.bundle
    assert difference(sample, lambda user: bundle.recommend([user])["item_id"].tolist()) is None
    other = replace(bundle, items=IdMap(np.roll(bundle.items.ids, 1)))
    assert difference(sample, lambda user: other.recommend([user])["item_id"].tolist()) is not None
    engine._champion = Champion(replace(bundle, model=small_engine(params=KINDS[0]).champion.bundle.model))
    assert found(engine, sample) is not None, "the lists of another model"


NOTED = {"lists": [{"user_id": "u", "items": list("abcdefghijkl"), "scores": [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, -1]}]}


@pytest.mark.parametrize(
    ("served", "agrees"),
    [
        ("abcdefghij", True),
        ("abcdefghik", True),
        ("bacdefghij", False),
        ("abcdefghil", False),
        ("abcdefghix", False),
        ("abcdefghi", False),
        ("abcdefghii", False),
        ("", False),
    ],
    ids=["same", "equal score", "swapped", "lower score", "unknown item", "shorter", "twice", "empty"],
)
def test_only_equal_scores_may_change_places(served: str, agrees: bool) -> None:
    assert (difference(NOTED, lambda _: list(served)) is None) == agrees


def test_a_list_shorter_than_what_is_compared_is_the_whole_list() -> None:
    short = {"lists": [{"user_id": "u", "items": ["a", "b"], "scores": [1.0, 0.5]}]}
    assert difference(short, lambda _: ["a", "b"]) is None
    assert difference(short, lambda _: ["a", "b", "c"]) is not None
    assert difference({"lists": []}, lambda _: []) is None

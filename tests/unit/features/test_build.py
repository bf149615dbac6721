"""The training set is made of the windows before the test window and of nothing else."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rectory.data.card import Card
from rectory.errors import DataError
from rectory.features.build import build_training_set
from rectory.features.training_set import TrainingSet
from rectory.files import tree_digests, write_json, write_parquet
from rectory.params.sections import FeaturesParams

PARAMS = FeaturesParams(min_value_count=1)


def card(*, tables=True, **interactions) -> Card:
    file = {"path": "x.csv"}
    tree = {
        "name": "shop",
        "source": {"kind": "files", "interactions": file},
        "interactions": {"user_id": "u", "item_id": "i", "timestamp": {"column": "t"}, **interactions},
    }
    if tables:
        tree["source"] |= {"items": file, "users": file}
        tree["items"] = {"id": "i", "features": {"colour": {"column": "c"}}}
        tree["users"] = {"id": "u", "features": {"city": {"column": "c"}}}
    return Card.model_validate(tree)


def rows(*lines) -> pd.DataFrame:
    """(user, item, day, event, value)"""
    frame = pd.DataFrame(lines, columns=["user_id", "item_id", "day", "event", "value"])
    frame["timestamp"] = pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(frame.pop("day"), unit="D")
    frame["event"] = frame["event"].astype("category")
    return frame.astype({"value": "float32"})


TRAIN = [("007", "apple", 0, "buy", 2), ("7", "pear", 1, "view", 1), ("007", "pear", 2, "buy", 3)]
VALID = [("é x", "apple", 10, "buy", 1)]
TEST = [("new", "kiwi", 20, "buy", 1)]


def write(folder, train=TRAIN, valid=VALID, test=TEST):
    split, tables = folder / "split", folder / "tables"
    split.mkdir(parents=True)
    tables.mkdir()
    for name, lines in (("train", train), ("valid", valid), ("test", test)):
        write_parquet(rows(*lines), split / f"{name}.parquet")
    facts = {
        "train_start": "2024-01-01",
        "valid_start": "2024-01-11T00:00:00+00:00",
        "test_start": "2024-01-21T00:00:00Z",
    }
    write_json(split / "split.json", facts)
    write_parquet(pd.DataFrame({"item_id": ["apple", "plum"], "colour": ["red", "blue"]}), tables / "items.parquet")
    write_parquet(pd.DataFrame({"user_id": ["7", "zoe"], "city": ["Rome", None]}), tables / "users.parquet")
    return split, tables


def test_ids_are_those_of_both_windows_and_the_tables_sorted(tmp_path):
    built = build_training_set(*write(tmp_path), card(), PARAMS)
    assert built.users.ids.tolist() == ["007", "7", "zoe", "é x"]
    assert built.items.ids.tolist() == ["apple", "pear", "plum"]


def test_rows_are_coded_in_order_of_time_with_the_windows_moments(tmp_path):
    built = build_training_set(*write(tmp_path), card(), PARAMS)
    assert built.users.decode(built.user).tolist() == ["007", "7", "007", "é x"]
    assert built.items.decode(built.item).tolist() == ["apple", "pear", "pear", "apple"]
    assert (np.diff(built.time) > 0).all()
    assert built.time[-1] == built.validation_start == pd.Timestamp("2024-01-11", tz="UTC").timestamp()
    np.testing.assert_allclose(built.age_days(), [20, 19, 18, 10])
    assert len(built.before_validation().user) == 3


def test_events_weigh_what_the_card_says(tmp_path):
    split, tables = write(tmp_path)
    built = build_training_set(split, tables, card(weights={"view": 0.25}, targets=["buy"]), PARAMS)
    assert built.weight.tolist() == [1.0, 0.25, 1.0, 1.0]
    assert built.target.tolist() == [True, False, True, True]
    built = build_training_set(split, tables, card(weights={"view": 0}, value_as_weight=True), PARAMS)
    assert built.weight.tolist() == [2.0, 3.0, 1.0]
    assert built.target.all()
    assert "7" in built.users.ids, "a user is known by a row that trains nothing"


def test_values_that_cannot_weigh_are_left_out(tmp_path):
    bad = [*TRAIN, ("7", "plum", 3, "buy", np.nan), ("7", "plum", 4, "buy", -2), ("7", "plum", 5, "buy", 0)]
    built = build_training_set(*write(tmp_path, train=bad), card(value_as_weight=True), PARAMS)
    assert len(built.user) == 4


def test_nothing_left_is_refused_with_the_keys_to_change(tmp_path):
    with pytest.raises(DataError, match="weights"):
        build_training_set(*write(tmp_path), card(weights={"buy": 0, "view": 0}), PARAMS)


def test_features_come_from_the_tables(tmp_path):
    built = build_training_set(*write(tmp_path), card(), PARAMS)
    assert built.item_features.names == ("colour=blue", "colour=red")
    np.testing.assert_array_equal(built.item_features.matrix.toarray(), [[0, 1], [0, 0], [1, 0]])
    assert built.user_features.names == ("city=Rome",)
    assert built.user_features.matrix.shape == (4, 1)


def test_without_tables_there_are_no_features(tmp_path):
    built = build_training_set(*write(tmp_path), card(tables=False), PARAMS)
    assert built.item_features.matrix.shape == (2, 0)
    assert built.user_features.matrix.shape == (3, 0)


def test_rows_of_the_test_window_never_reach_the_training_set(tmp_path):
    one = build_training_set(*write(tmp_path / "one"), card(), PARAMS)
    two = build_training_set(*write(tmp_path / "two", test=[("007", "plum", 25, "buy", 9)] * 5), card(), PARAMS)
    one.save(tmp_path / "first")
    two.save(tmp_path / "second")
    assert tree_digests(tmp_path / "first") == tree_digests(tmp_path / "second")
    assert "kiwi" not in one.items.ids


def test_save_and_load_give_the_same_set_and_the_same_bytes(tmp_path):
    built = build_training_set(*write(tmp_path), card(repeats="allow"), PARAMS)
    built.save(tmp_path / "first")
    again = TrainingSet.load(tmp_path / "first")
    again.save(tmp_path / "second")
    assert tree_digests(tmp_path / "first") == tree_digests(tmp_path / "second")
    assert again.repeats
    np.testing.assert_array_equal(again.weight, built.weight)

"""Feature blocks: columns named feature=value, rows that weigh at most 1 for each feature."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest

from rectory.data.card import Feature
from rectory.data.ids import IdMap
from rectory.features.blocks import feature_block
from rectory.params.sections import FeaturesParams

IDS = IdMap(["a", "b", "c", "d"])
ALL = FeaturesParams(min_value_count=1)


def block(values, kind, params=ALL, ids=("a", "b", "c", "d")):
    table = pd.DataFrame({"item_id": list(ids), "f": values})
    return feature_block(table, "item_id", IDS, {"f": Feature(column="f", kind=kind)}, params)


def test_categorical_is_one_hot_and_null_is_no_value():
    built = block(["x", None, "y", "x"], "categorical")
    assert built.names == ("f=x", "f=y")
    np.testing.assert_array_equal(built.matrix.toarray(), [[1, 0], [0, 0], [0, 1], [1, 0]])
    assert built.matrix.dtype == np.float32


def test_multi_shares_one_among_its_values():
    built = block([["x", "y"], [], None, ["y", "y"]], "multi")
    assert built.names == ("f=x", "f=y")
    np.testing.assert_array_equal(built.matrix.toarray(), [[0.5, 0.5], [0, 0], [0, 0], [0, 1]])


def test_numeric_of_few_values_keeps_them():
    built = block([1990.0, 1991.5, np.nan, 1990.0], "numeric")
    assert built.names == ("f=1990", "f=1991.5")
    assert built.matrix[[2]].nnz == 0


def test_numeric_of_many_values_is_cut_into_equal_shares():
    n = 1000
    ids = IdMap([f"{code:04d}" for code in range(n)])
    table = pd.DataFrame({"item_id": ids.ids, "f": np.random.default_rng(0).normal(size=n)})
    built = feature_block(table, "item_id", ids, {"f": Feature(column="f", kind="numeric")}, FeaturesParams())
    assert len(built.names) == 10
    np.testing.assert_allclose(built.matrix.sum(axis=0), 100, atol=1)
    np.testing.assert_allclose(built.matrix.sum(axis=1), 1)


def test_infinite_numbers_are_no_value():
    built = block([1.0, np.inf, -np.inf, 1.0], "numeric")
    assert built.names == ("f=1",)
    assert built.matrix.nnz == 2


def test_text_becomes_words_of_which_rare_ones_weigh_more():
    built = block(["Red wine", "red WINE 2019", "red beer", None], "text")
    assert built.names == ("f=beer", "f=red", "f=wine")
    beer, red, wine = built.matrix.toarray()[2]
    assert beer > red > wine == 0
    np.testing.assert_allclose(built.matrix.sum(axis=1), [1, 1, 1, 0], rtol=1e-6)


def test_rare_values_are_left_out_and_frequent_ones_kept():
    built = block(["x", "x", "y", "z"], "categorical", FeaturesParams(min_value_count=2))
    assert built.names == ("f=x",)
    built = block(["y", "x", "y", "z"], "categorical", FeaturesParams(min_value_count=1, max_values=2))
    assert built.names == ("f=x", "f=y")


def test_feature_of_all_distinct_values_drops_out_with_the_reason(caplog):
    with caplog.at_level(logging.WARNING):
        built = block(["p", "q", "r", "s"], "categorical", FeaturesParams(min_value_count=2))
    assert built.names == ()
    assert built.matrix.shape == (4, 0)
    assert "f: left out, none of its 4 values is shared by 2" in caplog.text


def test_declared_feature_without_a_column_is_named(caplog):
    table = pd.DataFrame({"item_id": ["a"]})
    with caplog.at_level(logging.WARNING):
        assert feature_block(table, "item_id", IDS, {"f": Feature(column="f")}, ALL).names == ()
    assert "feature f" in caplog.text


def test_rows_follow_the_id_map_not_the_table():
    built = block(["w", "x", "y", "z"], "categorical", ids=("d", "unknown", "a", "b"))
    assert built.names == ("f=w", "f=y", "f=z")
    np.testing.assert_array_equal(built.matrix.toarray().argmax(axis=1)[[0, 1, 3]], [1, 2, 0])


def test_second_row_of_an_id_is_ignored():
    built = block(["x", "y", "z", "z"], "categorical", ids=("a", "a", "b", "c"))
    assert built.names == ("f=x", "f=z")


@pytest.mark.parametrize("kind", ["categorical", "multi", "numeric", "text"])
def test_all_null_column_gives_no_column(kind):
    assert block([None] * 4, kind).names == ()


def test_order_of_the_table_changes_nothing():
    table = pd.DataFrame({"item_id": list("abcd"), "f": [["x", "y"], ["y"], ["z", "x"], ["x"]]})
    one, two = (
        feature_block(t, "item_id", IDS, {"f": Feature(column="f", kind="multi")}, ALL)
        for t in (table, table.iloc[::-1].reset_index(drop=True))
    )
    assert one.names == two.names
    np.testing.assert_array_equal(one.matrix.toarray(), two.matrix.toarray())

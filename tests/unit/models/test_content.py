"""Likeness by declared features alone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from rectory.features.training_set import FeatureBlock
from rectory.models.content import Content, distinct_rows, newness, rare_features
from rectory.params.candidates import ContentParams
from tests.conformance.synthetic import training_set

PLAIN = {
    "half_life_days": None,
    "lean_on": "popularity",
    "popularity_weight": 0.01,
    "popularity_window_days": None,
}


def fitted(train, chosen=PLAIN, **keys):
    return Content(ContentParams(kind="content", **keys), 0, 100).refit(train, chosen)


def first(model, user, k=1, **how):
    return model.recommend(np.array([user], dtype=np.int32), k, **how).items[0].tolist()


def films(**keys):
    """Items 0-3 of genre 0, 4-7 of genre 1; 3 and 7 untouched. User 0 takes genre 0, 1 genre 1, 2 nothing."""
    user = [0, 0, 1, 1, 1, 3, 3, 3]
    item = [0, 1, 4, 5, 6, 4, 0, 2]
    day = [10, 20, 10, 20, 30, 40, 50, 60]
    groups = {"user_groups": [0, 1, 1, -1, -1], "item_groups": [0, 0, 0, 0, 1, 1, 1, 1]}
    return training_set(user, item, day, n_users=5, n_items=8, **(groups | keys))


def test_an_untouched_item_of_the_right_kind_is_listed_before_all_of_the_wrong_kind():
    train = films()
    model = fitted(train)
    seen = train.counts()
    assert first(model, 0, 2, exclude=seen[[0]]) == [2, 3]
    assert first(model, 1, 1, exclude=seen[[1]]) == [7]


def test_among_equally_alike_items_the_popular_one_leads_and_the_untouched_one_ends():
    assert first(fitted(films()), 0, 4) == [0, 1, 2, 3]


def test_a_user_without_a_history_is_asked_by_those_who_share_a_user_feature():
    """User 2 shares a group with user 1, who takes genre 1."""
    assert set(first(fitted(films()), 2, 4)) == {4, 5, 6, 7}


def test_who_shares_nothing_gets_popular_items():
    popular = first(fitted(films()), -1, 8)
    assert popular == first(fitted(films()), 4, 8)
    assert popular[:2] == [0, 4]


def test_recent_taste_leads_with_a_half_life():
    train = training_set(
        [0, 0, 0, 0], [0, 1, 2, 4], [1, 2, 3, 190], n_users=1, n_items=8, item_groups=[0, 0, 0, 0, 1, 1, 1, 1]
    )
    assert first(fitted(train), 0) == [0]
    assert first(fitted(train, PLAIN | {"half_life_days": 10.0}), 0) == [4]


def test_a_rare_feature_outweighs_a_common_one():
    """Value 0 is on all items but the last, value 1 on the first two only."""
    block = csr_array(np.array([[1, 1], [1, 1], [1, 0], [1, 0], [1, 0], [0, 0]], dtype=np.float32))
    rows = rare_features(block).toarray()
    assert rows[0, 1] > rows[0, 0] > 0
    assert np.linalg.norm(rows, axis=1)[:5] == pytest.approx(1)
    assert rows[5].sum() == 0


def test_without_item_features_it_says_so_and_answers_with_popular_items():
    train = films(item_groups=None)
    model = Content(ContentParams(kind="content"), 0, 100).fit(train)
    assert model.report.chosen["features_used"] is False
    assert "no declared features" in model.report.notes[0]
    assert first(model, 1, 2) == [0, 4]


def test_newness_halves_in_a_month_and_is_nothing_for_the_untouched():
    train = training_set([0, 0, 0], [0, 1, 0], [140, 170, 199], n_users=1, n_items=3)
    assert newness(train) == pytest.approx([0.25, 0.5, 0.0])


def test_leaning_on_newness_puts_the_latest_arrival_first_among_equals():
    model = fitted(films(), PLAIN | {"lean_on": "newness"})
    assert first(model, 0, 3) == [2, 1, 0]
    assert first(model, -1, 2) == [0, 4], "unknown users are still answered by popularity"


def test_similar_items_share_features_and_reasons_name_them():
    train = films()
    assert set(fitted(train).similar(np.array([7], dtype=np.int32), 3).items[0].tolist()) == {4, 5, 6}
    assert [reason.text for reason in fitted(train).explain(0, 3)] == [
        "the user's taste for items with group=0",
        "popular with everyone",
    ]


def test_a_value_that_no_item_has_harms_nobody():
    train = films()
    wider = csr_array(
        (train.item_features.matrix.data, train.item_features.matrix.indices, train.item_features.matrix.indptr),
        shape=(8, 3),
    )
    object.__setattr__(train, "item_features", FeatureBlock(wider, ("group=0", "group=1", "group=2")))
    assert first(fitted(train), 0) == [0]


def test_equal_rows_are_told_from_others():
    dense = np.array([[0, 1], [1, 0], [0, 1], [0, 0], [1, 1], [0, 0]], dtype=np.float32)
    first, sort = distinct_rows(csr_array(dense))
    assert len(first) == 4
    np.testing.assert_array_equal(dense[first][sort], dense)

"""The validation score: who is scored, on what, and what is left out."""

from __future__ import annotations

import numpy as np

from rectory.models.popularity import Popularity
from rectory.models.protocol import TopK
from rectory.models.validation import Validation
from rectory.params.candidates import PopularityParams
from tests.conformance.synthetic import training_set


class Always:
    """Recommends the given items to everyone and keeps what it was asked."""

    def __init__(self, *items):
        self._items = items
        self.exclude = None

    def recommend(self, users, k, *, exclude=None):
        self.exclude = exclude
        lists = np.full((len(users), k), -1, dtype=np.int32)
        lists[:, : len(self._items)] = self._items
        return TopK(lists, np.zeros(lists.shape, dtype=np.float32))


# Before validation (day < 180): user 0 had item 0, user 1 had item 1. Then: 0 -> 0 and 2, 1 -> 1, 2 (new) -> 3.
ROWS = {"user": [0, 1, 0, 0, 1, 2], "item": [0, 1, 0, 2, 1, 3], "day": [10, 20, 185, 186, 187, 188]}


def make(repeats, **extra):
    return training_set(**ROWS, n_users=4, n_items=5, repeats=repeats, **extra)


def test_with_repeats_all_later_items_are_relevant():
    validation = Validation(make(repeats=True), 100, 0)
    assert validation.users.tolist() == [0, 1, 2]
    # User 0: items 0 and 2; one hit at the first of two places.
    one_of_two = 1 / (1 + 1 / np.log2(3))
    assert np.isclose(validation.score(Always(0)), one_of_two / 3)


def test_without_repeats_earlier_items_are_neither_relevant_nor_recommended():
    validation = Validation(make(repeats=False), 100, 0)
    assert validation.users.tolist() == [0, 2], "user 1 only repeats"
    model = Always(2)
    assert validation.score(model) == 0.5
    assert model.exclude[[0]].indices.tolist() == [0]
    assert model.exclude[[1]].nnz == 0


def test_rows_that_are_no_targets_are_not_relevant():
    target = [True, True, True, True, True, False]
    assert Validation(make(repeats=True, target=target), 100, 0).users.tolist() == [0, 1]


def test_users_are_sampled_by_seed_above_the_limit():
    train = training_set(
        np.arange(200) % 100, np.arange(200) % 7, np.arange(200), n_users=100, n_items=7, repeats=True, valid_days=100
    )
    one, two, other = (Validation(train, 30, seed).users for seed in (1, 1, 2))
    assert len(one) == 30
    assert one.tolist() == two.tolist() != other.tolist()


def test_nobody_to_score_gives_zero():
    assert Validation(make(repeats=True, target=[False] * 6), 100, 0).score(Always(0)) == 0.0


def test_popularity_is_fitted_before_the_window_it_is_scored_on():
    """Item 4 is only taken in the validation window: the score may not know it, the refit must."""
    train = training_set([0, 1, 2, 3], [0, 0, 4, 4], [10, 20, 190, 191], n_users=4, n_items=5, repeats=True)
    model = Popularity(PopularityParams(kind="popularity"), 0, 100).fit(train)
    assert np.isclose(model.report.score, 1 / np.log2(6)), "ranked after codes 0..3, all but the first by code"
    assert set(model.recommend(np.array([0], dtype=np.int32), 2).items[0].tolist()) == {0, 4}


def test_popularity_chooses_the_window_that_predicts():
    """Item 1 was loved long ago, item 2 lately; item 2 goes on."""
    user = np.arange(60)
    item = np.r_[np.full(30, 1), np.full(15, 2), np.full(15, 2)]
    day = np.r_[np.linspace(0, 50, 30), np.linspace(165, 179, 15), np.linspace(181, 199, 15)]
    train = training_set(user, item, day, n_users=60, n_items=3, repeats=True)
    params = PopularityParams(kind="popularity", windows_days=(None, 20.0))
    model = Popularity(params, 0, 100).fit(train)
    assert model.report.chosen == {"window_days": 20.0, "half_life_days": None}
    np.testing.assert_allclose([step["score"] for step in model.report.curve], [1 / np.log2(3), 1.0])


def test_a_models_observer_hears_every_score_user_by_user():
    train, heard = make(repeats=True), []
    model = Popularity(PopularityParams(kind="popularity", windows_days=(None, 1.0)), 0, 100)
    model.observer = lambda values: heard.append(values.copy())
    model.fit(train)
    assert len(heard) == 2, "one for each window"
    assert [len(values) for values in heard] == [3, 3]
    assert max(float(values.mean()) for values in heard) == model.report.score

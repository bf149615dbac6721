"""Factorisations: what becomes of who was not trained, recency, and equal bytes."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from rectory.models.bpr import drawn_pairs
from rectory.models.catalogue import build
from rectory.models.factors import Factors
from rectory.models.search import search_by_turns, search_epochs
from rectory.params.candidates import CandidateParams
from tests.conformance.synthetic import training_set, two_tastes

SMALL = {"components": 4, "half_lives_days": [None], "popularity_weights": [0.01]}


def model(kind, **keys):
    return build(TypeAdapter(CandidateParams).validate_python({"kind": kind, **SMALL, **keys}), 7, 100)


def codes(*values):
    return np.array(values, dtype=np.int32)


def test_who_was_not_trained_gets_the_mean_of_those_that_were():
    user, item = np.array([[1.0, 0], [9, 9], [0, 1]]), np.array([[2.0, 0], [0, 4], [7, 7]])
    factors = Factors.of(user, item, np.array([1.0, 3, 7]), codes(0, 2), codes(0, 1))
    assert factors.user.tolist() == [[1, 0], [0.5, 0.5], [0, 1], [0.5, 0.5]]
    scale = factors.item[0, 0] / 2
    assert factors.item / scale == pytest.approx(np.array([[2.0, 0], [0, 4], [1, 2]]))


def test_the_average_user_has_untrained_items_at_the_end():
    user, item = np.array([[1.0, 0], [0, 1]]), np.array([[2.0, 0], [0, 4], [7, 7], [0.5, 0.5]])
    factors = Factors.of(user, item, np.array([0.0, 0, 9, 0]), codes(0, 1), codes(0, 1, 3))
    average = factors.item @ factors.user[-1] + factors.level
    assert average[2] == pytest.approx(average[[0, 1, 3]].min())


def test_best_scores_are_one_on_average():
    rng = np.random.default_rng(0)
    factors = Factors.of(
        rng.normal(size=(50, 3)), rng.normal(size=(80, 3)) * 9, rng.normal(size=80), np.arange(50), np.arange(80)
    )
    assert (factors.user[:50] @ factors.item.T + factors.level).max(axis=1).mean() == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("kind", ["als", "bpr"])
def test_an_unknown_user_is_answered_with_what_most_take(kind):
    train = two_tastes(repeats=True, features=False)
    fitted = model(kind, regularizations=[0.1]).fit(train)
    taken = np.bincount(train.item, minlength=train.n_items)
    top = fitted.recommend(codes(-1, 59), 5).items
    assert (top[0] == top[1]).all()
    assert taken[top[0]].mean() > 1.3 * taken[taken > 0].mean()


@pytest.mark.parametrize("kind", ["als", "bpr"])
def test_recent_interactions_win_with_a_half_life(kind):
    """Everybody took five of the first ten items eight times, long ago, and five of the others once, lately."""
    rng = np.random.default_rng(0)
    early, late = (np.array([rng.permutation(10)[:5] for _ in range(60)]) for _ in range(2))
    user = np.repeat(np.arange(60), 5)
    train = training_set(
        np.concatenate([np.tile(user, 8), user]),
        np.concatenate([np.tile(early.ravel(), 8), 10 + late.ravel()]),
        np.concatenate([rng.uniform(0, 20, 300 * 8), rng.uniform(180, 199, 300)]),
        n_users=60,
        n_items=20,
        repeats=True,
    )
    chosen = {
        "regularization": 0.01,
        "alpha": 10.0,
        "epochs": 40,
        "popularity_weight": 1e-6,
        "popularity_window_days": None,
    }
    share = {}
    for half_life in (10.0, None):
        fitted = model(kind).refit(train, {**chosen, "half_life_days": half_life})
        share[half_life] = (fitted.recommend(np.arange(60, dtype=np.int32), 2).items >= 10).mean()
    assert share[10.0] > 0.95
    assert share[None] < 0.4


def test_pairs_are_stored_as_often_as_their_weight_says():
    train = training_set([0] * 20 + [1], [3] * 20 + [1], np.linspace(1, 199, 21), n_users=2, n_items=4, repeats=True)
    drawn = drawn_pairs(train, None)
    assert drawn[[0]].indices.tolist() == [3] * len(drawn[[0]].indices)
    assert len(drawn[[0]].indices) > len(drawn[[1]].indices) >= 1


def test_each_pass_of_bpr_draws_other_pairs():
    """Its generator goes on: two passes are not one pass twice."""
    train = two_tastes(repeats=True, features=False)
    training = model("bpr")._start(train, {"half_life_days": None, "regularization": 0.01})
    drawn = []
    for _ in range(2):
        training.epoch()
        drawn.append(training._model.random_state.bit_generator.state)
    assert drawn[0] != drawn[1]


def test_turns_keep_the_first_of_equals_and_try_each_value_once():
    tried = []

    def score(chosen):
        tried.append(dict(chosen))
        return float(chosen["a"] == 2) + float(chosen["b"] == 9)

    found = search_by_turns({"a": (1, 2, 3), "b": (8, 9, 10)}, score)
    assert found.chosen == {"a": 2, "b": 9}
    assert found.score == 2
    assert [tuple(one.values()) for one in tried] == [(1, 8), (2, 8), (3, 8), (2, 9), (2, 10)]
    assert search_by_turns({"a": (1, 2)}, lambda _: 0.5).chosen == {"a": 1}


class Climb:
    """Learns `speed` an epoch until `top`, then falls."""

    def __init__(self, speed, top=6):
        self.speed, self.top, self.epochs = speed, top, 0

    def epoch(self):
        self.epochs += 1

    def state(self):
        return self.speed * (self.epochs if self.epochs <= self.top else 2 * self.top - self.epochs)


def test_epochs_go_on_with_the_best_try_until_patience_is_out():
    found = search_epochs({"speed": (1, 3, 2)}, lambda tried: Climb(tried["speed"]), float, max_epochs=50, patience=3)
    assert found.chosen == {"speed": 3, "epochs": 6}
    assert found.score == found.state == 18
    assert max(step["epoch"] for step in found.curve) == 9
    short = search_epochs({"speed": (1, 3)}, lambda tried: Climb(tried["speed"]), float, max_epochs=1, patience=3)
    assert short.chosen == {"speed": 3, "epochs": 1}


@pytest.mark.parametrize("kind", ["popularity", "transitions", "content", "als", "bpr"])
def test_a_list_of_nothing_to_try_is_refused(kind):
    with pytest.raises(ValidationError, match="at least 1 item"):
        TypeAdapter(CandidateParams).validate_python({"kind": kind, "half_lives_days": []})

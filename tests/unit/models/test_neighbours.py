"""Likeness is what its formula says; histories fade; a catalogue too large is restricted and said so."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from scipy.sparse import csr_array

from rectory.errors import RectoryError
from rectory.models import item_to_item
from rectory.models.ease import Ease, ease_weights, gram, kept_items, strongest_per_column
from rectory.models.item_knn import ItemKnn
from rectory.models.neighbours import most_like_items, recent_history, taken, weighted_columns, with_diagonal
from rectory.models.transitions import Transitions
from rectory.models.user_knn import UserKnn, latest_users, most_like_users
from rectory.params.candidates import EaseParams, ItemKnnParams, TransitionsParams, UserKnnParams
from tests.conformance.synthetic import training_set, two_tastes

RNG = np.random.default_rng(5)
TAKEN = csr_array((RNG.random((40, 15)) < 0.3).astype(np.float64))


def dense_likeness(weighting: str) -> np.ndarray:
    """The formulas again, on a dense matrix."""
    x = TAKEN.toarray()
    rarity = np.maximum(np.log(x.shape[1]) - np.log1p(x.sum(axis=1)), 0.0)[:, None]
    if weighting == "bm25":
        size = x.sum(axis=0)
        w = rarity * x * 2.2 / (1.2 * (0.25 + 0.75 * size / size.mean()) + x)
    else:
        w = x * (rarity if weighting == "tfidf" else 1.0)
        w = w / np.linalg.norm(w, axis=0)
    likeness = w.T @ w
    np.fill_diagonal(likeness, 0.0)
    return likeness


@pytest.mark.parametrize("weighting", ["cosine", "tfidf", "bm25"])
def test_likeness_of_items_is_what_its_formula_says(weighting):
    expected = dense_likeness(weighting)
    found = most_like_items(TAKEN, weighting, 15, 1)
    np.testing.assert_allclose(found.toarray(), expected, rtol=1e-5)
    nearest = most_like_items(TAKEN, weighting, 4, 1)
    for item in range(15):
        kept = nearest[[item]]
        assert sorted(kept.data, reverse=True) == pytest.approx(sorted(expected[item], reverse=True)[:4], rel=1e-5)


def test_items_of_too_few_users_are_nobodys_neighbours():
    rare = np.asarray(TAKEN.sum(axis=0)) < 12
    assert 0 < rare.sum() < 15
    found = most_like_items(TAKEN, "cosine", 15, 12).toarray()
    assert not found[rare].any()
    assert not found[:, rare].any()
    assert most_like_items(TAKEN, "cosine", 15, 41).nnz == 0


def test_rare_users_weigh_more_than_those_who_took_nearly_all():
    columns = weighted_columns(csr_array(np.array([[1.0, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 0]])), "bm25").toarray()
    assert columns[0, 0] > 2 * columns[1, 0]


def test_rows_have_a_largest_weight_of_one_on_average_beside_the_diagonal():
    weights = with_diagonal(most_like_items(TAKEN, "bm25", 5, 1), 7.0).toarray()
    assert (weights.diagonal() == 7.0).all()
    np.fill_diagonal(weights, 0.0)
    assert weights.max(axis=1).mean() == pytest.approx(1.0)


def history_of(user, item, day, half_life_days, step_decay):
    train = training_set(user, item, day, n_users=2, n_items=4)
    return recent_history(train, half_life_days, step_decay).toarray()


def test_a_half_life_fades_a_history_by_days_and_a_step_by_moments():
    by_days = history_of([0, 0, 0], [0, 1, 1], [180, 190, 190], 10.0, 1.0)[0]
    np.testing.assert_allclose(by_days[:2] / by_days[1], [0.25, 1.0])
    by_steps = history_of([0, 0, 0, 0, 1], [0, 1, 2, 3, 0], [1, 5, 5, 9, 2], None, 0.5)
    np.testing.assert_allclose(by_steps[0] / by_steps[0, 3], [0.25, 0.5, 0.5, 1.0])
    np.testing.assert_allclose(np.linalg.norm(by_steps, axis=1), 1.0, rtol=1e-6)


def test_correlation_of_users_is_what_numpy_finds():
    everyone = np.arange(40)
    found = most_like_users(TAKEN, everyone, "pearson", 40).toarray()
    expected = np.corrcoef(TAKEN.toarray())
    np.fill_diagonal(expected, 0.0)
    assert (expected < 0).any()
    np.testing.assert_allclose(found, np.maximum(expected, 0.0), atol=1e-6)
    cosine = most_like_users(TAKEN, everyone, "cosine", 3)
    assert (np.diff(cosine.indptr) == 3).all()


def test_only_users_of_the_pool_are_neighbours():
    pool = np.array([3, 8, 21])
    found = most_like_users(TAKEN, pool, "cosine", 10).toarray()
    assert set(np.flatnonzero(found.any(axis=0)).tolist()) <= set(pool.tolist())
    assert not found.diagonal().any()


def test_the_pool_is_who_was_active_last():
    train = training_set([0, 1, 2, 0], [0, 0, 0, 1], [1, 5, 9, 10], n_users=4, n_items=2)
    pool, active = latest_users(train, 2)
    assert pool.tolist() == [0, 2]
    assert active == 3


def test_ease_is_the_ridge_regression_without_the_diagonal():
    x = TAKEN.toarray()
    counts = gram(TAKEN)
    np.testing.assert_allclose(counts, x.T @ x)
    before = counts.copy()
    weights = ease_weights(counts, 2.0)
    np.testing.assert_array_equal(counts, before)
    l2 = 2.0 * np.diag(x.T @ x).mean()
    for item in range(15):
        others = np.delete(np.arange(15), item)
        ridge = np.linalg.solve(x[:, others].T @ x[:, others] + l2 * np.eye(14), x[:, others].T @ x[:, item])
        np.testing.assert_allclose(weights[others, item], ridge, rtol=1e-3, atol=1e-5)
    assert not weights.diagonal().any()
    assert weights.flags.c_contiguous


def test_l2_means_the_same_on_a_log_twice_as_long():
    np.testing.assert_allclose(ease_weights(gram(TAKEN), 1.0), ease_weights(2 * gram(TAKEN), 1.0), atol=1e-6)


def test_a_matrix_that_cannot_be_solved_says_what_to_change():
    with pytest.raises(RectoryError, match="raise `l2`"):
        ease_weights(np.array([[1.0, 2.0], [2.0, 1.0]], dtype=np.float32), 1e-9)


def test_the_strongest_of_each_column_are_kept_with_their_signs():
    weights = np.array([[0, 5, 0], [-3, 0, 1], [2, -1, 0]], dtype=np.float32)
    kept = strongest_per_column(weights, 1).toarray()
    np.testing.assert_array_equal(kept, [[0, 5, 0], [-3, 0, 1], [0, 0, 0]])
    np.testing.assert_array_equal(strongest_per_column(weights, 9).toarray(), weights)


def large_catalogue():
    """90,000 items, of which 3,000 were taken once and 20 by everyone."""
    common = np.tile(np.arange(20), 30)
    item = np.concatenate([common, 1000 + np.arange(3000)])
    user = np.concatenate([np.repeat(np.arange(30), 20), np.arange(3000) % 30])
    return training_set(user, item, 1 + np.arange(len(item)) % 190, n_users=30, n_items=90_000)


def test_a_large_catalogue_is_restricted_and_said_once(caplog):
    train = large_catalogue()
    with caplog.at_level(logging.WARNING):
        model = Ease(EaseParams(kind="ease", max_items=25), seed=1, validation_users=10).fit(train)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "the 25 most taken of 3,020 items (max_items)" in caplog.text
    assert model.report.chosen["items_kept"] == 25
    assert len(model.report.notes) == 1
    kept, touched = kept_items(train, 25)
    assert set(range(20)) <= set(kept.tolist())
    assert touched == 3020
    whole = model.recommend(np.array([0, -1], dtype=np.int32), 90_000)
    assert (np.sort(whole.items, axis=1) == np.arange(90_000)).all()


def test_of_items_taken_as_often_the_lately_taken_are_kept():
    train = training_set([0, 1, 0, 1, 0, 1], [0, 0, 1, 1, 2, 2], [1, 2, 90, 91, 180, 181], n_users=2, n_items=3)
    assert kept_items(train, 2)[0].tolist() == [1, 2]


def test_neighbours_beyond_the_pool_are_said():
    model = UserKnn(UserKnnParams(kind="user_knn", max_users=12), seed=1, validation_users=10).fit(two_tastes())
    assert model.report.chosen["users_kept"] == 12
    assert "the 12 users of 59 that were active last (max_users)" in model.report.notes[0]


@pytest.mark.parametrize(
    ("model", "params"),
    [
        (ItemKnn, ItemKnnParams(kind="item_knn", min_users=1)),
        (UserKnn, UserKnnParams(kind="user_knn")),
        (Ease, EaseParams(kind="ease")),
    ],
)
def test_own_items_come_first_only_where_validation_lets_repeats_win(model, params):
    often = two_tastes(repeats=True)
    first = model(params, 1, 100).fit(often).recommend(np.arange(9, dtype=np.int32), 1).items[:, 0]
    assert (often.counts().toarray()[np.arange(9), first] > 0).all()
    once = two_tastes(repeats=False)
    assert model(params, 1, 100).fit(once).report.chosen["self_weight"] == 0.0


def test_reasons_name_the_items_of_the_history():
    train = two_tastes(repeats=False)
    model = ItemKnn(ItemKnnParams(kind="item_knn", min_users=1), 1, 100).fit(train)
    top = model.recommend(np.array([4], dtype=np.int32), 1, exclude=train.counts()[[4]])
    named = {reason.item for reason in model.explain(4, int(top.items[0, 0])) if "{item}" in reason.text}
    assert named
    assert named <= set(taken(train)[[4]].indices.tolist())


@pytest.mark.parametrize("kind", ["item_knn", "ease", "transitions"])
def test_tries_that_differ_in_popularity_alone_cost_no_product_and_end_alike(kind, monkeypatch):
    params = {
        "item_knn": (ItemKnn, ItemKnnParams(kind="item_knn", min_users=1)),
        "ease": (Ease, EaseParams(kind="ease", max_items=50)),
        "transitions": (Transitions, TransitionsParams(kind="transitions")),
    }
    model_class, asked = params[kind]
    reached, made, reports = model_class._reached, [], []

    def counted(self, rows):
        made[-1] += 1
        return reached(self, rows)

    monkeypatch.setattr(model_class, "_reached", counted)
    for room in (0, 1 << 24):
        monkeypatch.setattr(item_to_item, "_KEPT_ENTRIES", room)
        made.append(0)
        model = model_class(asked, 1, 100).fit(two_tastes())
        assert model._products is None, "what serves remembers nothing"
        reports.append(model.report)
    assert reports[0] == reports[1]
    assert made[0] == len(reports[0].curve)
    fills = len(asked.popularity_weights) - 1 + len(asked.popularity_windows_days) - 1
    assert made[1] <= made[0] - fills + 1, "once the best parts may have to be made again"


def test_products_are_kept_while_there_is_room_and_until_others_are_asked_for(monkeypatch):
    monkeypatch.setattr(item_to_item, "_KEPT_ENTRIES", 3)
    full, made, products = csr_array(np.ones((1, 2))), [], item_to_item._Products()
    history, weights, users = (object() for _ in range(3))

    def ask(of, start):
        def make():
            made.append(start)
            return full

        return products.block(of, start, make)

    for _ in range(2):
        assert ask((history, weights, users), 0) is full
        assert ask((history, weights, users), 64) is full
    assert made == [0, 64, 64]
    for other in ((object(), weights, users), (history, object(), users), (history, weights, object())):
        ask(other, 0)
        assert made[-1] == 0
        made.append("")

"""The graph over item factors: what it finds against what asking all items gives."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.sparse import csr_array

from rectory.models import nearest
from rectory.models.live_history import top_of
from rectory.models.nearest import NearestItems, build_nearest, by_name, restore_nearest, top_by_product
from rectory.models.protocol import NO_ITEM
from rectory.models.topk import rank_factors

N, D = 5000, 12


class Model:
    """Scores are products, and nothing else."""

    def __init__(self, factors, queries):
        self.factors, self.queries, self.nearest = factors, queries, None


@pytest.fixture(scope="module")
def model() -> Model:
    """Tastes in clusters, and item biases of very different sizes: where inner products are hard to search."""
    draw = np.random.default_rng(1)
    centres = draw.normal(size=(40, D))

    def some(n):
        return centres[draw.integers(0, len(centres), n)] + 0.5 * draw.normal(size=(n, D))

    bias = np.log1p(draw.pareto(1.2, N))
    factors = np.column_stack([some(N), np.ones(N), bias]).astype(np.float32)
    queries = np.column_stack([some(300), np.zeros(300), np.ones(300)]).astype(np.float32)
    return Model(factors, queries)


@pytest.fixture(scope="module")
def index(model) -> NearestItems:
    return NearestItems.build(model.factors, model.queries)


def test_it_finds_nearly_all_of_the_exact_first_ten_of_queries_that_it_has_not_seen(model, index):
    unseen = (model.queries[::-1] + np.roll(model.queries, 7, axis=0)).astype(np.float32) / 2
    exact = rank_factors(unseen, model.factors, 10, None, None).items
    assert index.recall >= 0.95
    assert index.recall_of(unseen, exact) >= 0.95


def test_lists_have_exact_scores_and_leave_out_what_they_must(model, index):
    asked = Model(model.factors, model.queries)
    asked.nearest = index
    for query in model.queries[:20]:
        whole = top_of(model.factors @ query, 10, None, None)
        exclude, items = whole.items[0][:4], np.arange(0, N, 2, dtype=np.int32)
        for given in ((None, None), (exclude, None), (None, items), (exclude, items)):
            found = top_by_product(asked, query, 10, *given)
            assert found.items.shape == (1, 10)
            assert NO_ITEM not in found.items
            np.testing.assert_allclose(found.scores[0], model.factors[found.items[0]] @ query, rtol=1e-6)
            assert (np.diff(found.scores[0]) <= 0).all()
            assert given[0] is None or not np.isin(found.items, given[0]).any()
            assert given[1] is None or np.isin(found.items, given[1]).all()


def test_who_excludes_more_than_a_search_gives_is_answered_by_asking_all(model, index):
    asked = Model(model.factors, model.queries)
    asked.nearest = index
    query = model.queries[0]
    exclude = np.argsort(-(model.factors @ query))[:1500].astype(np.int32)
    found = top_by_product(asked, query, 10, exclude, None)
    np.testing.assert_array_equal(found.items, top_of(model.factors @ query, 10, exclude, None).items)


def test_it_comes_back_from_disk_as_it_was(model, index, tmp_path):
    index.save(tmp_path, "one")
    again = NearestItems.load(tmp_path, "one")
    assert again is not None
    assert again.recall == index.recall
    for query in model.queries[:20]:
        np.testing.assert_array_equal(again.near(query, 30), index.near(query, 30))
    assert NearestItems.load(tmp_path, "another") is None


def test_small_catalogues_have_none_and_a_poor_one_is_not_kept(model, tmp_path, monkeypatch):
    model = Model(model.factors, model.queries)
    assert build_nearest(model, tmp_path) == []
    monkeypatch.setattr(nearest, "LEAST_ITEMS", 1000)
    monkeypatch.setattr(nearest, "LEAST_RECALL", 1.01)
    assert "all items are asked" in build_nearest(model, tmp_path)[0]
    restore_nearest(model, tmp_path)
    assert model.nearest is None
    monkeypatch.setattr(nearest, "LEAST_RECALL", 0.95)
    build_nearest(model, tmp_path)
    restore_nearest(model, tmp_path)
    assert model.nearest is not None
    assert json.loads((tmp_path / "nearest.json").read_text())["model"]["recall"] >= 0.95


def test_a_model_that_is_made_of_others_has_one_for_each_that_can_be_searched(model):
    class Whole:
        parts = {"factors": model, "other": csr_array((1, 1))}

    assert list(by_name(Whole())) == ["factors"]

"""Sums of links and what is on top, held against sums over all items and a full sort."""

from __future__ import annotations

import numpy as np
import pytest

from rectory.serving import signals
from rectory.serving.signals import Places, Pull
from rectory.serving.trends import Trend

N_ITEMS = 500


@pytest.fixture(params=["dense", "sparse"])
def form(request, monkeypatch) -> str:
    monkeypatch.setattr(signals, "_DENSE", 16 if request.param == "dense" else 0)
    return request.param


@pytest.mark.parametrize("n_links", [0, 1, 40, 3000])
def test_sums_top_and_lookups_are_those_of_all_items(form, n_links):
    draw = np.random.default_rng(n_links)
    places = Places()
    places.grow(N_ITEMS)
    history = np.array([3, 7, 11], dtype=np.int32)
    for _ in range(5):  # what earlier lists left in `places` must not matter
        column = draw.integers(0, N_ITEMS, n_links).astype(np.int32)
        value, place = draw.random(n_links) * (draw.random(n_links) < 0.9), draw.integers(0, 3, n_links)
        allowed = draw.random(N_ITEMS) < 0.7
        links = dict(zip(history.tolist(), [(column[place == at], value[place == at]) for at in range(3)], strict=True))

        def ask(items, weights, links=links):
            asked = [links[item] for item in items.tolist()]
            values = [weight * value for (_, value), weight in zip(asked, weights, strict=True)]
            return np.concatenate([column for column, _ in asked]), np.concatenate(values)

        pull = Pull.of(ask, history, np.ones(len(history)), places, N_ITEMS)
        sums = np.zeros(N_ITEMS)
        np.add.at(sums, column, value)
        asked = np.unique(draw.integers(0, N_ITEMS, 60)).astype(np.int32)
        np.testing.assert_allclose(pull.totals(asked, places), sums[asked])
        reachable = np.flatnonzero((sums > 0) & allowed)
        top = pull.top(20, allowed)
        assert len(top) == min(20, len(reachable)) == len(np.unique(top))
        assert np.isin(top, reachable).all()
        np.testing.assert_allclose(np.sort(sums[top]), np.sort(sums[reachable])[-20:])
        for item in asked[:5].tolist():
            assert sum(pull.sources_of(item).values()) == pytest.approx(sums[item])
    assert form in {"dense", "sparse"}


def test_what_is_on_top_is_that_of_a_full_sort_whatever_has_happened_since():
    draw = np.random.default_rng(5)
    rows = 2000
    item, time, weight = draw.integers(0, N_ITEMS, rows), np.sort(draw.random(rows)) * 864_000, np.ones(rows)
    trend = Trend(2.0, item, time, weight, n_items=N_ITEMS, now=float(time[-1]))
    trend.top(20)
    taken = []
    for number in range(400):
        new = int(N_ITEMS + number // 50 if number % 7 == 0 else draw.integers(0, N_ITEMS))
        trend.grow(new + 1)
        moment = 864_000.0 + 600 * number
        trend.add(new, moment, 3.0)
        taken.append((new, moment))
        if number % 90 == 89:
            trend.add(*taken[number // 2], -3.0)
        if number % 40 == 39:
            top = trend.top(20)
            whole = trend.best_of(np.arange(trend._items), 20)
            np.testing.assert_allclose(trend.shares(top), trend.shares(whole))

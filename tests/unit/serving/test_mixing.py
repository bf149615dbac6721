"""Weights are what the choices ask for, down to none; intervals decide; links count what follows what."""

from __future__ import annotations

import numpy as np
import pytest

from rectory.models.popularity import Popularity
from rectory.params.candidates import PopularityParams
from rectory.serving.fitting import Tried, _fitted_without, choose_mix, followers, ndcg_of, sampled, save_live
from rectory.serving.links import Links
from rectory.serving.loading import Rows
from rectory.serving.mixing import (
    LINKED,
    PLACE,
    SIGNALS,
    TERMS,
    Examples,
    Mix,
    Settings,
    fit_weights,
    parts,
    places_of,
    squared,
)
from rectory.serving.replay import collect, replay, worth_asking
from tests.conformance.synthetic import training_set
from tests.unit.serving.small import NOW, small_engine


def choices(weights: dict[str, float], n: int = 400, candidates: int = 30, seed: int = 0) -> Examples:
    """Choices drawn by exp(score) among random candidates; the champion's column is a nearness to a random order."""
    draw = np.random.default_rng(seed)
    x = np.zeros((n * candidates, len(TERMS)), dtype=np.float32)
    for name in ("like", "next", "week"):
        x[:, PLACE[name]] = draw.random(len(x))
    order = np.argsort(draw.random((n, candidates)), axis=1)
    x[:, PLACE["champion"]] = (1 / np.log2(order + 2.0)).ravel()
    score = x @ np.array([weights.get(name, 0.0) for name in TERMS])
    chosen = (score.reshape(n, candidates) + draw.gumbel(size=(n, candidates))).argmax(axis=1)
    ends = np.arange(n + 1) * candidates
    return Examples(x, ends, ends[:-1] + chosen)


def test_the_fit_finds_the_weights_that_choices_were_drawn_by():
    true = {"champion": 2.0, "like": 4.0, "week": -1.0}
    found = fit_weights(choices(true, n=4000), penalty=1e-6)
    for name in ("champion", "like", "week", "next"):
        assert found[PLACE[name]] == pytest.approx(true.get(name, 0.0), abs=0.3)


def test_from_wherever_the_fit_starts_it_ends_where_likelihood_is_highest():
    examples, penalty = choices({"champion": 2.0, "like": 4.0, "week": -1.0}, n=1000), 1e-3
    found = fit_weights(examples, penalty)
    again = fit_weights(examples, penalty, np.random.default_rng(1).normal(0.0, 3.0, len(TERMS)))
    np.testing.assert_allclose(again, found, atol=0.02)

    def worth(weights):
        return examples.log_likelihood(weights) - penalty * weights @ weights

    for step in 0.2 * np.eye(len(TERMS)):
        assert worth(found) > max(worth(found + step), worth(found - step))


def test_what_is_spared_weighs_nothing_to_the_bit_wherever_the_others_stood():
    examples = choices({"champion": 2.0, "like": 4.0}, n=500)
    found = _fitted_without(examples, ["like"], fit_weights(examples, 1e-4))
    assert not found[places_of(["like"])].any()
    assert found[PLACE["champion"]] > 0.5


def test_thinned_choices_have_the_same_answer_and_drop_what_was_not_proposed():
    examples = choices({"champion": 2.0, "like": 4.0}, n=3000)
    lost = np.where(np.arange(3000) % 10 == 0, -1, examples.chosen)
    thin = Examples(examples.x, examples.ends, lost).thinned(8, seed=1)
    assert len(thin.chosen) == 2700
    assert (np.diff(thin.ends) == 9).all()
    assert fit_weights(thin, 1e-6)[PLACE["like"]] == pytest.approx(4.0, abs=0.5)


def test_ranks_count_what_scores_higher():
    x = np.zeros((5, len(TERMS)), dtype=np.float32)
    x[:, PLACE["like"]] = [0.1, 0.5, 0.3, 0.9, 0.2]
    examples = Examples(x, np.array([0, 3, 5]), np.array([2, -1]))
    weights = np.zeros(len(TERMS))
    weights[PLACE["like"]] = 1.0
    assert examples.ranks(weights).tolist() == [2.0, np.inf]
    assert ndcg_of(np.array([1.0, 3.0, 11.0, np.inf])).tolist() == [1.0, 0.5, 0.0, 0.0]


def test_without_a_choice_to_learn_from_weights_are_the_cautious_ones_and_one_choice_is_no_evidence():
    nothing = choices({"champion": 1.0}, n=1)._part(0, 0)
    found = choose_mix(Tried(Settings(moment_seconds=0.0), nothing, np.zeros(0, dtype=np.int32)))
    assert found.weights == Mix.untuned().weights
    assert found.settings.moment_seconds == 0.0
    one = choose_mix(Tried(Settings(), choices({"like": 6.0}, n=1), np.zeros(1, dtype=np.int32)))
    assert not one.live


def test_live_signals_that_say_something_stay_and_those_that_say_nothing_go():
    users = np.arange(600, dtype=np.int32) % 150
    lively = choose_mix(Tried(Settings(), choices({"champion": 1.0, "like": 6.0}, n=600), users))
    assert lively.live
    assert lively.facts["gain"]["low"] > 0
    assert "like" in lively.linked and "like" not in lively.facts["left_out"]
    assert "near" in lively.facts["left_out"], "it said nothing, so nobody misses it"
    for name in lively.facts["left_out"]:
        assert all(lively.weights[term] == 0.0 for term in LINKED[name])
    silent = choose_mix(Tried(Settings(), choices({"champion": 6.0}, n=600), users))
    assert not silent.live
    assert silent.weights == Mix.frozen().weights
    assert "beyond chance" in silent.facts["note"]


def test_followers_count_steps_and_a_moment_has_no_order():
    # u0: i0, i1, i2 one after the other; u1: i3 and i4 at one moment, then i0.
    train = training_set([0, 0, 0, 1, 1, 1], [0, 1, 2, 3, 4, 0], [1, 2, 3, 5, 5, 6], n_users=2, n_items=5)
    counts, out = followers(train, moment_seconds=0.0)
    dense = counts.toarray()
    assert dense[0].tolist() == pytest.approx([0, 1 / 2, 1 / 3, 0, 0])
    assert dense[3, 4] == dense[4, 3] == pytest.approx(1.0)
    assert dense[3, 0] == dense[4, 0] == pytest.approx(1 / 2)
    assert dense[0, 3] == 0.0
    assert out[0] == pytest.approx(5 / 6)
    each, _ = followers(train, moment_seconds=-1.0)
    assert each.toarray()[0, 1] == pytest.approx(1.0)


def test_what_follows_what_does_not_go_by_the_order_of_ids_within_a_moment():
    # 300 receipts of the same ten items, in order of ids as in every table: the next id is no nearer than the last one.
    user, item = np.repeat(np.arange(300), 10), np.tile(np.arange(10), 300)
    counts, _ = followers(training_set(user, item, np.repeat(5, 3000), n_users=300, n_items=10), moment_seconds=-1.0)
    dense = counts.toarray()
    assert dense[0, 9] == pytest.approx(dense[0, 1], rel=0.3)
    assert dense[0, 9] > 0


def test_links_are_counted_on_apart_for_each_engine_and_come_back_from_disk(tmp_path):
    train = training_set([0, 0, 1, 1], [0, 1, 0, 1], [1, 2, 3, 4], n_users=2, n_items=3)
    following, out = followers(train, -1.0)
    links = Links(following, following, out, np.array([2.0, 2.0, 0.0]))
    first, second = links.again(), links.again()
    first.take(2, [0], [1.0], [False])
    zero = np.array([0], dtype=np.int32)
    assert 2 in first.next(zero, np.ones(1))[0]
    assert 2 not in second.next(zero, np.ones(1))[0]
    assert (
        save_live(tmp_path / "live", links, Mix.untuned(), Popularity(PopularityParams(kind="popularity"), 0, 0)) == []
    )
    again = Links.load(tmp_path / "live")
    for kept, loaded in zip(second.near(zero, np.ones(1)), again.near(zero, np.ones(1)), strict=True):
        np.testing.assert_allclose(kept, loaded)
    assert Mix.load(tmp_path / "live" / "mix.json") == Mix.untuned()


def rows_of(engine, triples) -> tuple[Rows, list[str], list[str]]:
    users, items = sorted({user for user, _, _ in triples}), sorted({item for _, item, _ in triples})
    rows = Rows(
        np.array([users.index(user) for user, _, _ in triples], dtype=np.int32),
        np.array([items.index(item) for _, item, _ in triples], dtype=np.int32),
        np.array([at for _, _, at in triples]),
        np.ones(len(triples), dtype=np.float32),
        np.ones(len(triples), dtype=bool),
    )
    return rows, users, items


def test_a_replay_ranks_before_it_learns_and_asks_once_for_what_may_not_repeat():
    triples = [("s", "i0001", NOW), ("s", "i0003", NOW + 1), ("s", "i0001", NOW + 2), ("s", "i0005", NOW + 3)]
    engine = small_engine()
    rows, users, items = rows_of(engine, triples)
    asked = worth_asking(rows, rows.part(slice(0, 0)), repeats=False)
    assert asked.tolist() == [True, True, False, True]
    found = replay({"live": engine, "frozen": small_engine(Mix.frozen())}, rows, users, items, asked=asked)
    assert len(found.user) == 3
    # What was just taken is never shown again, so it cannot be what was ranked.
    assert (found.ranks["live"] >= 1).all()
    assert len(engine.taken("s")) == 4
    examples, who = collect(small_engine(), rows, users, items, asked=asked)
    assert len(examples.chosen) == len(who) == 3
    assert len(examples.x) == examples.ends[-1]


def test_samples_are_even_over_time():
    kept = sampled(np.ones(100, dtype=bool), most=10)
    assert kept.sum() == 10
    assert kept[0] and kept[99]


def test_within_a_moment_there_is_no_order_and_so_nothing_to_learn_of_it():
    # Receipts of ten, sorted by id as tables are: who goes by the rows knows that the next id is higher.
    user, item = np.repeat(np.arange(300), 10).astype(np.int32), np.tile(np.arange(10), 300).astype(np.int32)
    time = np.repeat(np.arange(300), 10).astype(np.float64)
    rows = Rows.of(user, item, time, np.ones(3000, dtype=np.float32), np.ones(3000, dtype=bool))
    assert (rows.time == time).all() and (rows.user == user).all()
    ascending = (np.diff(rows.item) > 0)[rows.user[1:] == rows.user[:-1]]
    assert 0.45 < ascending.mean() < 0.55
    again = Rows.of(user, item, time, np.ones(3000, dtype=np.float32), np.ones(3000, dtype=bool))
    assert (again.item == rows.item).all(), "by lot, but the same every time"


def test_what_each_signal_adds_sums_to_the_score_with_its_square_in_it():
    draw = np.random.default_rng(3)
    x, weights = squared(draw.random((7, len(SIGNALS))).astype(np.float32)), draw.normal(size=len(TERMS))
    told = parts(x, weights)
    assert told.shape == (7, len(SIGNALS))
    np.testing.assert_allclose(told.sum(axis=1), x @ weights, rtol=1e-5)
    like, both = PLACE["like"], weights[[PLACE["like"], PLACE["like_squared"]]]
    np.testing.assert_allclose(told[:, like], both[0] * x[:, like] + both[1] * x[:, like] ** 2, rtol=1e-5)


def test_a_signal_that_only_counts_when_it_is_strong_is_found_as_one():
    draw = np.random.default_rng(5)
    x = np.zeros((4000 * 20, len(SIGNALS)), dtype=np.float32)
    x[:, PLACE["like"]] = draw.random(len(x))
    both = squared(x)
    score = (6.0 * both[:, PLACE["like_squared"]]).reshape(4000, 20)
    ends = np.arange(4001) * 20
    found = fit_weights(Examples(both, ends, ends[:-1] + (score + draw.gumbel(size=score.shape)).argmax(axis=1)), 1e-6)
    assert found[PLACE["like_squared"]] == pytest.approx(6.0, abs=1.0)
    assert found[PLACE["like"]] == pytest.approx(0.0, abs=1.0)

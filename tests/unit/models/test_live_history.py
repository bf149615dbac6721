"""Models that can rank for a history give, without news, the lists that they give in batch; news moves them."""

from __future__ import annotations

import numpy as np
import pytest

from rectory.features.training_set import SECONDS_PER_DAY
from rectory.models.blend_history import PAIR, History
from rectory.models.blend_live import Proposing, facts_for
from rectory.models.catalogue import build
from rectory.models.live_history import LiveHistory, SupportsHistory, listed, top_of
from rectory.params.candidates import (
    AlsParams,
    BlendParams,
    BprParams,
    ContentParams,
    EaseParams,
    ItemKnnParams,
    LightFMHybridParams,
    PersonalFrequencyParams,
    TransitionsParams,
    UserKnnParams,
)
from tests.conformance.synthetic import END, two_tastes

LIGHTFM = LightFMHybridParams(
    kind="lightfm_hybrid", components=8, max_epochs=10, learning_rate=0.2, half_lives_days=(None,)
)
KINDS = [
    ItemKnnParams(kind="item_knn"),
    EaseParams(kind="ease"),
    TransitionsParams(kind="transitions"),
    ContentParams(kind="content"),
    PersonalFrequencyParams(kind="personal_frequency"),
    AlsParams(kind="als", components=8, max_epochs=3),
    BprParams(kind="bpr", components=8, max_epochs=60, patience=50, learning_rate=0.2),
    LIGHTFM,
    BlendParams(kind="blend", sources={"lightfm": LIGHTFM, "own": PersonalFrequencyParams(kind="personal_frequency")}),
    BlendParams(kind="blend", sources={"als": AlsParams(kind="als", components=8, max_epochs=3)}),
    BlendParams(kind="blend"),
]


def history_of(train, user: int, *, more=(), now: float = END) -> LiveHistory:
    rows = train.user == user
    items, times = train.item[rows], train.time[rows]
    return LiveHistory(
        user=user,
        items=np.append(items, np.array(more, dtype=np.int32)).astype(np.int32),
        time=np.append(times, now - 10.0 * np.arange(len(more))[::-1]),
        weight=np.ones(len(items) + len(more), dtype=np.float32),
        now=now,
        trained_until=END,
    )


@pytest.mark.parametrize("params", KINDS, ids=lambda params: params.kind)
@pytest.mark.parametrize("repeats", [True, False])
def test_without_news_the_list_is_the_one_of_the_batch_and_survives_keeping(params, repeats, tmp_path):
    train = two_tastes(repeats=repeats)
    model = build(params, 0, 100).fit(train)
    model.save(tmp_path)
    loaded = type(model).load(tmp_path)
    assert isinstance(loaded, SupportsHistory)
    for user in (0, 7, 30):
        exclude = None if repeats else train.counts()[[user]]
        codes = None if exclude is None else exclude.indices
        batch = loaded.recommend(np.array([user], dtype=np.int32), 10, exclude=exclude)
        live, scores = listed(loaded.recommend_for_history(history_of(train, user), 10, exclude=codes))
        assert live.tolist() == batch.items[0][: len(live)].tolist()
        np.testing.assert_allclose(scores, batch.scores[0][: len(live)], rtol=1e-4, atol=1e-5)
        assert len(live) >= 5


@pytest.mark.parametrize("params", [one for one in KINDS if one.kind != "personal_frequency"], ids=lambda one: one.kind)
def test_news_of_a_stranger_moves_the_list_to_that_taste(params):
    train = two_tastes()
    model = build(params, 0, 100).fit(train)

    def share_of_odd(more) -> float:
        items, _ = listed(model.recommend_for_history(history_of(train, -1, more=more, now=END + 60), 10))
        return float(np.mean(items % 2 == 1))

    assert share_of_odd((1, 3, 5, 7)) > share_of_odd((0, 2, 4, 6))


@pytest.mark.parametrize(
    "params", [AlsParams(kind="als", components=8, max_epochs=3), LIGHTFM], ids=lambda one: one.kind
)
def test_a_blend_s_proposals_are_scored_for_the_history_as_it_is_now(params):
    train = two_tastes()
    source = build(params, 0, 100).fit(train)
    now = history_of(train, 0, more=(1, 3, 5), now=END + 60)
    proposals = Proposing({"it": source}, {"it": 10}).propose(now, None)
    expected = source.factors[proposals.item] @ source.query_for(now)
    np.testing.assert_allclose(proposals.scores[:, 0], expected, rtol=1e-5)
    night = source.score_pairs(np.zeros(len(proposals.item), dtype=np.int32), proposals.item)
    assert not np.allclose(proposals.scores[:, 0], night, rtol=1e-3)


def test_likeness_of_users_does_not_pretend_to_read_histories():
    assert not isinstance(build(UserKnnParams(kind="user_knn"), 0, 100), SupportsHistory)


def test_facts_of_one_user_made_anew_are_those_of_the_night():
    train = two_tastes(repeats=True)
    history = History.of(train, 20.0)
    items = np.arange(train.n_items, dtype=np.int32)
    for user in (0, 13):
        asked = np.array([user], dtype=np.int32)
        expected = history.columns(asked, np.zeros(len(items), dtype=np.int64), items)
        np.testing.assert_allclose(facts_for(history, history_of(train, user), items, 20.0), expected, rtol=1e-5)
    nobody = history.columns(np.array([-1], dtype=np.int32), np.zeros(len(items), dtype=np.int64), items)
    np.testing.assert_allclose(facts_for(history, history_of(train, -1), items, 20.0), nobody, rtol=1e-5)
    later = facts_for(history, history_of(train, 0, more=(1,), now=END + 3 * SECONDS_PER_DAY), items, 20.0)
    assert later[1, PAIR.index("pair_idle")] == 0.0


def test_ties_fall_to_the_smaller_code_and_short_catalogues_leave_places_empty():
    top = top_of(np.array([1.0, 2.0, 2.0, 0.5], dtype=np.float32), 6, np.array([0], dtype=np.int32), None)
    assert top.items[0].tolist() == [1, 2, 3, -1, -1, -1]
    assert top_of(np.ones(4, dtype=np.float32), 2, None, np.array([3, 1], dtype=np.int32)).items[0].tolist() == [1, 3]

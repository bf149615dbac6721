"""The engine learns from each event, answers anybody, keeps to filters, and never shows what it must not."""

from __future__ import annotations

import numpy as np
import pytest

from rectory.params.candidates import PersonalFrequencyParams
from rectory.serving.mixing import PLACE, Mix
from rectory.serving.types import Item, NotKnown, Request, User
from tests.unit.serving.small import NOW, bought, ids, small_engine


def group(item: str) -> int:
    return int(item[1:]) % 2


def test_an_answer_carries_what_later_questions_need():
    engine = small_engine()
    answer = engine.recommend(Request("u0003", n=5, now=NOW))
    assert len(answer.items) == 5
    assert answer.model_version == "7"
    assert answer.recommendation_id != engine.recommend(Request("u0003", n=5, now=NOW)).recommendation_id
    scores = [one.score for one in answer.items]
    assert scores == sorted(scores, reverse=True)
    assert len(set(ids(answer))) == 5


def test_pages_follow_one_another():
    engine = small_engine()
    whole = ids(engine.recommend(Request("u0003", n=12, now=NOW)))
    assert ids(engine.recommend(Request("u0003", n=5, offset=7, now=NOW))) == whole[7:]


def test_what_a_newcomer_takes_moves_the_next_list_to_that_taste():
    engine = small_engine()
    before = ids(engine.recommend(Request("stranger", n=8, now=NOW)))
    assert {group(one) for one in before} == {0, 1}
    engine.learn([bought("stranger", "i0001"), bought("stranger", "i0003", NOW + 10)])
    after = ids(engine.recommend(Request("stranger", n=8, now=NOW + 20)))
    assert all(group(one) == 1 for one in after[:5])
    assert not {"i0001", "i0003"} & set(after), "repeats are excluded"


def test_a_session_is_answered_like_a_user_and_leaves_no_trace():
    engine = small_engine()
    history = (bought("x", "i0001"), bought("x", "i0003", NOW + 10))
    answer = engine.recommend(Request(None, n=6, history=history, now=NOW + 20))
    assert all(group(one) == 1 for one in ids(answer)[:4])
    assert answer.items[0].rung == "session"
    fresh = ids(engine.recommend(Request(None, n=6, now=NOW + 20)))
    assert {group(one) for one in fresh} == {0, 1}


def test_an_impression_and_an_event_without_weight_teach_nothing():
    engine = small_engine(weights={"glance": 0.0})
    before = ids(engine.recommend(Request("stranger", now=NOW)))
    engine.learn([bought("stranger", "i0001", NOW, "impression"), bought("stranger", "i0003", NOW, "glance")])
    assert ids(engine.recommend(Request("stranger", now=NOW))) == before


def test_frozen_answers_are_the_champions_lists():
    engine = small_engine(Mix.frozen())
    for user in ("u0000", "u0017", "u0059"):
        expected = engine.champion.bundle.recommend([user], 10)["item_id"].tolist()
        assert ids(engine.recommend(Request(user, now=NOW))) == expected


@pytest.mark.parametrize("repeats", [False, True])
def test_what_may_not_repeat_does_not(repeats):
    engine = small_engine(repeats=repeats)
    engine.learn([bought("u0004", "i0038", NOW)])
    shown = ids(engine.recommend(Request("u0004", n=40, now=NOW + 5)))
    assert ("i0038" in shown) == repeats


def test_filters_exclusions_and_hidden_items_hold_and_the_list_is_still_full():
    engine = small_engine()
    engine.put_items([Item("i0002", hidden=True)])
    engine.remove_item("i0004")
    request = Request("nobody", n=10, where={"group": "0"}, exclude=frozenset({"i0000"}), now=NOW)
    shown = ids(engine.recommend(request))
    assert len(shown) == 10
    assert all(group(one) == 0 for one in shown)
    assert not {"i0000", "i0002", "i0004"} & set(shown)
    cheap = ids(engine.recommend(Request("nobody", n=10, where={"price": {"max": 6}}, now=NOW)))
    assert sorted(cheap) == ["i0000", "i0001", "i0003", "i0005", "i0006"]
    assert ids(engine.recommend(Request("nobody", where={"price": 7}, now=NOW))) == ["i0007"]
    either = ids(engine.recommend(Request("nobody", n=40, where={"group": ["0", "1"]}, now=NOW)))
    assert len(either) == 38


def test_a_new_item_can_be_shown_at_once_to_those_whose_taste_it_is():
    engine = small_engine()
    engine.put_items([Item("novel", features={"group": "1"}, categories=("shoes",), timestamp=NOW)])
    engine.learn([bought("stranger", "i0001"), bought("stranger", "i0003", NOW + 1)])
    engine.learn([bought("other", "i0000"), bought("other", "i0002", NOW + 1)])
    liked, other = (
        {one.item_id: one.score for one in engine.recommend(Request(user, n=40, now=NOW + 5)).items}["novel"]
        for user in ("stranger", "other")
    )
    assert liked > other > 0
    assert ids(engine.recommend(Request("other", n=5, where={"category": "shoes"}, now=NOW + 5))) == ["novel"]
    assert ids(engine.popular("latest", 1)) == ["novel"]


def test_an_item_never_heard_of_is_learned_from_its_events():
    engine = small_engine()
    for at, user in enumerate("abcefg"):
        engine.learn([bought(user, "i0005", NOW + at), bought(user, "unheard", NOW + at + 0.5)])
    engine.learn([bought("d", "i0005", NOW + 10)])
    with_it, without = (ids(engine.recommend(Request(user, n=38, now=NOW + 11))) for user in ("d", "stranger"))
    assert with_it.index("unheard") < without.index("unheard")


def test_trending_moves_with_events_and_popular_hardly():
    engine = small_engine()
    engine.learn([bought(f"n{at}", "i0037", NOW + at) for at in range(40)])
    assert ids(engine.popular("trending", 1)) == ["i0037"]
    assert len(ids(engine.popular("popular", 5, where={"group": "0"}))) == 5


def test_what_is_taken_back_is_as_if_it_had_not_been():
    engine = small_engine()
    before = ids(engine.recommend(Request("stranger", n=5, now=NOW)))
    events = [bought("stranger", "i0001"), bought("stranger", "i0003", NOW + 10)]
    engine.learn(events)
    assert ids(engine.recommend(Request("stranger", n=5, now=NOW))) != before
    engine.unlearn([*events, bought("nobody", "i0001"), bought("stranger", "unheard")])
    assert ids(engine.recommend(Request("stranger", n=5, now=NOW))) == before
    known_item = "i0001"
    engine.unlearn([bought("u0001", one, NOW) for one in (known_item,) * 3])
    assert not (engine.taken("u0001").items == engine.code(known_item)).any()


def test_similar_items_share_takers_and_an_unknown_item_goes_with_nothing():
    engine = small_engine()
    near = ids(engine.similar("i0001", 5))
    assert "i0001" not in near
    assert all(group(one) == 1 for one in near)
    assert ids(engine.similar("no such item", 5)) == []


def test_a_forgotten_user_is_a_stranger():
    engine = small_engine()
    engine.learn([bought("u0003", "i0001"), bought("u0003", "i0005")])
    engine.forget("u0003")
    assert ids(engine.recommend(Request("u0003", now=NOW))) == ids(engine.recommend(Request("stranger", now=NOW)))
    engine.learn([bought("u0003", "i0001", NOW + 5)])
    assert "i0001" not in ids(engine.recommend(Request("u0003", n=40, now=NOW + 6)))
    engine.put_users([User("u0003")])


def test_late_and_future_events_leave_the_history_in_order():
    engine = small_engine()
    engine.learn([bought("s", "i0001", NOW + 100), bought("s", "i0003", NOW - 100)])
    engine.learn([bought("s", "i0005", NOW + 1e9)])
    taken = engine.taken("s")
    assert (np.diff(taken.time) >= 0).all()
    assert len(taken) == 3


def test_contributions_add_up_and_name_what_was_taken():
    engine = small_engine()
    engine.learn([bought("s", "i0001"), bought("s", "i0003", NOW + 1)])
    request = Request("s", n=10, now=NOW + 2)
    for one in engine.recommend(request).items:
        why = engine.why(request, one.item_id)
        assert why.score == pytest.approx(one.score, abs=1e-6)
        assert sum(part for _, part in why.reasons) == pytest.approx(why.score, abs=1e-6)
    words = [text for text, _ in engine.why(request, engine.recommend(request).items[0].item_id).reasons]
    assert any(text in ("because you took Thing i0001", "because you took Thing i0003") for text in words)


def test_why_not_tells_the_stage():
    engine = small_engine()
    engine.learn([bought("s", "i0001")])
    engine.put_items([Item("i0002", hidden=True)])
    request = Request("s", n=3, where={"group": "1"}, exclude=frozenset({"i0005"}), now=NOW + 2)

    def failed(item: str) -> list[str]:
        return [stage for stage, passed, _ in engine.why_not(request, item).stages if not passed]

    with pytest.raises(NotKnown):
        engine.why_not(request, "no such item")
    with pytest.raises(NotKnown):
        engine.why(request, "no such item")
    assert "shown" in failed("i0002")
    assert "filter group" in failed("i0004")
    assert "asked for" in failed("i0005")
    assert "not taken before" in failed("i0001")
    first = ids(engine.recommend(request))[0]
    assert failed(first) == []
    last = ids(engine.recommend(Request("s", n=19, where={"group": "1"}, now=NOW + 2)))[-1]
    stage = {name: text for name, _, text in engine.why_not(request, last).stages}
    assert "below place 3" in stage["ranked"]


@pytest.mark.parametrize("repeats", [True, False])
def test_lists_made_in_advance_are_those_that_would_be_asked_for(repeats):
    params = PersonalFrequencyParams(kind="personal_frequency")
    asked, warmed = (small_engine(Mix.frozen(), repeats=repeats, params=params) for _ in range(2))
    gone = warmed.user_ids[3]
    for engine in (asked, warmed):
        engine.forget(gone)
    assert warmed.warm(30.0) == sum(len(asked.taken(user)) > 0 for user in asked.user_ids) > 50
    assert warmed.user_code(gone) not in warmed.champion._lists
    for user in asked.user_ids:
        expected, found = (engine.recommend(Request(user, n=5)) for engine in (asked, warmed))
        assert [one.item_id for one in found.items] == [one.item_id for one in expected.items]
    assert small_engine(params=params).warm(0.0) <= 128


def test_links_that_weigh_nothing_are_not_summed_up_but_examined_where_weights_are_fitted(monkeypatch):
    engine = small_engine(Mix({"champion": 1.0, "near": 0.5}))
    asked = []
    for name in ("liked", "next", "near"):
        whole = getattr(engine._world.links, name)
        monkeypatch.setattr(
            engine._world.links, name, lambda *of, name=name, whole=whole: (asked.append(name), whole(*of))[1]
        )
    engine.recommend(Request("u0003", n=5))
    assert asked == ["near"]
    _, x = engine.examine(Request("u0003", n=5))
    assert asked[1:] == ["liked", "next", "near"]
    assert x[:, PLACE["like"]].any()

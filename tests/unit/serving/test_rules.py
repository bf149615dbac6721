"""Merchandising rules over a small engine: what each does, and what it may never do."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rectory.params.rules import RulesParams
from rectory.serving.rules import Rules, passes
from rectory.serving.types import Event, Item, ItemFacts, Request
from tests.serving.popular_engine import PopularEngine

NOW = 1_000_000.0
DAY = 86_400.0
BRANDS = ("own", "acme", "zeta")


def engine(items: int = 30) -> PopularEngine:
    """Items i00, i01 ... taken less and less often; three brands and two categories in turn; prices rise."""
    made = PopularEngine()
    made.put_items(
        [
            Item(
                f"i{n:02d}",
                categories=("red" if n % 2 else "white",),
                features={"brand": BRANDS[n % 3], "price": float(n)},
                timestamp=float(n),
                comment=f"Item {n}",
            )
            for n in range(items)
        ]
    )
    made.learn(
        [
            Event(f"e{n}-{times}", f"u{times}", f"i{n:02d}", "buy", NOW - DAY, NOW - DAY)
            for n in range(items)
            for times in range(items - n)
        ]
    )
    return made


def shown(rules: dict[str, Any], request: Request | None = None, over: PopularEngine | None = None) -> list[str]:
    asked = request or Request("stranger", n=10, now=NOW)
    answer = Rules(RulesParams.model_validate(rules)).recommend(over or engine(), asked)
    return [one.item_id for one in answer.items]


def test_without_rules_the_engine_answers_alone() -> None:
    assert Rules(RulesParams()).idle
    assert shown({}) == [f"i{n:02d}" for n in range(10)]


def test_filters_hold_for_every_item_and_the_request_can_narrow_them() -> None:
    assert shown({"filters": {"brand": "own"}}) == [f"i{n:02d}" for n in range(0, 30, 3)]
    narrowed = shown({"filters": {"brand": "own"}}, Request("stranger", 3, where={"category": "red"}, now=NOW))
    assert narrowed == ["i03", "i09", "i15"]


def test_a_pin_stands_at_its_place_and_the_list_keeps_its_length() -> None:
    assert shown({"pins": [{"item": "i20", "place": 2}]}) == ["i00", "i20", *(f"i{n:02d}" for n in range(1, 9))]


def test_a_pinned_item_is_shown_once_and_says_that_it_is_pinned() -> None:
    rules = Rules(RulesParams.model_validate({"pins": [{"item": "i00", "place": 3}]}))
    answer = rules.recommend(engine(), Request("stranger", 4, now=NOW))
    assert [one.item_id for one in answer.items] == ["i01", "i02", "i00", "i03"]
    assert [one.rung for one in answer.items].count("pinned") == 1


@pytest.mark.parametrize(
    "request_",
    [Request("s", 5, exclude=frozenset({"i20"}), now=NOW), Request("s", 5, where={"brand": "own"}, now=NOW)],
)
def test_a_pin_gives_way_to_what_the_request_rules_out(request_: Request) -> None:
    assert "i20" not in shown({"pins": [{"item": "i20"}]}, request_)


def test_a_pin_for_a_category_stands_in_that_categorys_lists_only() -> None:
    pins = {"pins": [{"item": "i20", "where": {"category": "white"}}]}
    assert shown(pins)[0] == "i00"
    assert shown(pins, Request("s", 3, where={"category": "white"}, now=NOW))[0] == "i20"


def test_unknown_and_hidden_pins_are_left_out() -> None:
    over = engine()
    over.put_items([Item("i20", hidden=True)])
    assert not {"i20", "nothing"} & set(shown({"pins": [{"item": "i20"}, {"item": "nothing"}]}, over=over))


def test_a_boost_moves_up_and_below_one_down() -> None:
    up = shown({"boosts": [{"where": {"brand": "zeta"}, "factor": 3.0}]})
    assert up[0] == "i02"
    down = shown({"boosts": [{"where": {"brand": "own"}, "factor": 0.01}]})
    assert "i00" not in down[:5]


def test_caps_count_each_value() -> None:
    found = shown({"caps": {"brand": 2}})
    assert max(Counter(BRANDS[int(one[1:]) % 3] for one in found).values()) == 2
    assert len(found) == 6, "no more of any brand is allowed"


def test_diversity_takes_turns_between_alike_items() -> None:
    over = PopularEngine()
    over.put_items([Item(f"i{n}", features={"brand": "own" if n < 5 else "acme"}) for n in range(10)])
    over.learn([Event(f"{n}-{m}", f"u{m}", f"i{n}", "buy", NOW, NOW) for n in range(10) for m in range(20 - n)])
    assert shown({}, Request("s", 4), over) == ["i0", "i1", "i2", "i3"]
    assert set(shown({"diversity": 0.5}, Request("s", 2), over)) == {"i0", "i5"}


def test_the_cool_down_keeps_away_what_was_just_taken() -> None:
    over = engine()
    over.learn([Event("x", "anna", "i05", "buy", NOW - 2 * DAY, NOW)])
    rules = Rules(RulesParams(cool_down_days=3))
    assert rules._just_taken(over, Request("anna", now=NOW)) == {"i05"}
    assert Rules(RulesParams(cool_down_days=1))._just_taken(over, Request("anna", now=NOW)) == set()
    stages = {name: passed for name, passed, _ in rules.why_not(over, Request("anna", now=NOW), "i05").stages}
    assert stages["cool-down"] is False


def test_the_chain_fills_what_the_engine_leaves_empty_and_says_which_rung_gave_it() -> None:
    over = engine(3)
    over.put_items([Item("house")])
    for item in ("i00", "i01", "i02"):
        over.learn([Event(f"a-{item}", "anna", item, "buy", NOW, NOW)])
    rules = Rules(RulesParams(editorial=("gone", "house"), chain=("personal", "editorial")))
    answer = rules.recommend(over, Request("anna", 5, exclude=frozenset({"house"}), now=NOW))
    assert [one.item_id for one in answer.items] == []
    answer = rules.recommend(over, Request("anna", 5, now=NOW))
    assert [(one.item_id, one.rung) for one in answer.items][-1][0] == "house"
    assert "gone" not in {one.item_id for one in answer.items}


def test_offset_goes_on_where_the_last_page_ended() -> None:
    rules = {"pins": [{"item": "i20", "place": 1}], "caps": {"brand": 6}}
    whole = shown(rules, Request("s", 12, now=NOW))
    assert shown(rules, Request("s", 6, now=NOW)) + shown(rules, Request("s", 6, offset=6, now=NOW)) == whole


def test_wrong_rules_are_refused_by_name() -> None:
    for wrong in ({"caps": {"brand": 0}}, {"pins": [{"item": ""}]}, {"boosts": [{"where": {}, "factor": 0}]}):
        with pytest.raises(ValidationError):
            RulesParams.model_validate(wrong)


def test_ranges_and_lists_of_values() -> None:
    facts = ItemFacts("x", True, features={"price": 5.0, "sizes": ["s", "m"]})
    assert passes(facts, {"price": {"min": 5, "max": 5}}) and not passes(facts, {"price": {"min": 6}})
    assert passes(facts, {"sizes": ["m", "xl"]}) and not passes(facts, {"sizes": "l"}) and not passes(facts, {"no": 1})


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 12),
    offset=st.integers(0, 8),
    diversity=st.sampled_from([0.0, 0.4]),
    cap=st.one_of(st.none(), st.integers(1, 4)),
    pin=st.one_of(st.none(), st.integers(0, 40)),
    exclude=st.sets(st.integers(0, 29), max_size=5),
)
def test_whatever_the_rules_no_item_comes_twice_none_that_is_excluded_and_never_too_many(
    *, n: int, offset: int, diversity: float, cap: int | None, pin: int | None, exclude: set[int]
) -> None:
    rules: dict[str, Any] = {"diversity": diversity, "caps": {"brand": cap} if cap else {}}
    rules["pins"] = [{"item": f"i{pin:02d}", "place": 2}] if pin is not None else []
    without = frozenset(f"i{one:02d}" for one in exclude)
    found = shown(rules, Request("s", n, offset, exclude=without, now=NOW))
    assert len(found) == len(set(found)) <= n and not without & set(found)

"""People alike are those who took the same lately, and what they took around it leads on."""

from __future__ import annotations

import numpy as np
import pytest

from rectory.serving.mixing import Mix, Settings
from rectory.serving.people import People
from rectory.serving.types import Request
from tests.unit.serving.small import NOW, bought, ids, small_engine

NOBODY = -1


def people_of(*histories: list[int], n_items: int = 20) -> People:
    """Users 0, 1, ... with a history each, an item a moment."""
    user = np.concatenate([np.full(len(one), code) for code, one in enumerate(histories)])
    time = np.concatenate([np.arange(len(one)) for one in histories]).astype(float)
    return People(user, np.concatenate(histories), time, n_items)


def led_to(people: People, user: int, items: list[int], n_items: int = 20) -> np.ndarray:
    """(n_items,) what a history, an item a step, leads to."""
    codes = np.array(items, dtype=np.int32)
    found = people.alike(user, codes, np.arange(len(codes))[::-1])
    columns, values = found.links(found.items, found.weights)
    return np.bincount(columns, values, n_items)


def by_hand(histories: dict[int, list[int]], user: int, items: list[int], n_items: int = 20) -> np.ndarray:
    """The same as the definition says it, for histories without repeats."""
    steps = {item: back for back, item in enumerate(reversed(items))}
    takers = {item: [one for one, had in histories.items() if item in had] for item in items}
    alike = {
        one: sum(0.8 ** steps[item] / np.log(2.0 + len(takers[item])) for item in items if item in had)
        for one, had in histories.items()
        if one != user
    }
    sums = np.zeros(n_items)
    for item in items[-5:]:
        for one in takers[item]:
            if one == user:
                continue
            had, at = histories[one], histories[one].index(item)
            for far, other in enumerate(had[at + 1 : at + 11], start=1):
                sums[other] += 0.8 ** steps[item] * alike[one] / far
            for far, other in enumerate(had[:at][::-1][:5], start=1):
                sums[other] += 0.8 ** steps[item] * alike[one] / far / 2
    return sums


def test_what_people_alike_took_next_leads_and_what_they_took_before_follows() -> None:
    people = people_of([1, 2, 3, 4], [2, 3, 9], [7, 8])
    sums = led_to(people, NOBODY, [2, 3])
    assert sums[4] > sums[1] > 0
    assert sums[7] == sums[8] == 0, "nobody who took these took anything of ours"


def test_the_more_two_took_alike_the_more_it_counts() -> None:
    sums = led_to(people_of([1, 2, 3, 4], [9, 3, 5], [8, 3, 6]), NOBODY, [1, 2, 3])
    assert sums[4] > sums[5] == sums[6]


@pytest.mark.parametrize("seed", range(5))
def test_it_is_what_the_definition_says_whether_rows_are_of_the_night_or_came_since(seed: int) -> None:
    draw = np.random.default_rng(seed)
    histories = {user: draw.permutation(20)[: draw.integers(1, 15)].tolist() for user in range(12)}
    asked = histories[3][-7:]
    wanted = by_hand(histories, 3, asked)
    np.testing.assert_allclose(led_to(people_of(*histories.values()), 3, asked), wanted, rtol=1e-5)
    # Only half of the users, and of them the older half, were there in the night.
    people = people_of(*(had[: len(had) // 2] if user < 6 else [] for user, had in histories.items()))
    for user, had in histories.items():
        for item in had[len(had) // 2 if user < 6 else 0 :]:
            people.take(user, item)
    np.testing.assert_allclose(led_to(people, 3, asked), wanted, rtol=1e-5)


def test_whoever_is_forgotten_leads_nowhere() -> None:
    people = people_of([1, 2, 3], [4, 5])
    people.take(0, 6)
    assert led_to(people, NOBODY, [2])[6] > 0
    people.forget(0)
    assert not led_to(people, NOBODY, [2]).any()
    people.take(0, 2)
    people.take(0, 7)
    assert led_to(people, NOBODY, [2])[7] > 0, "what a stranger of that name does is new"


def test_unknown_items_and_an_empty_log_lead_nowhere() -> None:
    assert not led_to(people_of([1, 2]), NOBODY, [15]).any()
    nothing = np.zeros(0, dtype=np.int32)
    people = People(nothing, nothing, np.zeros(0), 0)
    assert not led_to(people, NOBODY, [3]).any()
    people.take(1, 3)
    people.take(1, 4)
    assert led_to(people, NOBODY, [3])[4] > 0


def test_the_engine_follows_people_at_once_and_says_why() -> None:
    engine = small_engine(Mix({"people": 1.0}, Settings()))
    engine.learn([bought("a", "rare", NOW), bought("a", "next", NOW + 1), bought("b", "rare", NOW + 2)])
    request = Request("b", n=3, now=NOW + 3)
    assert ids(engine.recommend(request))[0] == "next"
    why = engine.why(request, "next")
    assert why.reasons == (("people like you took it around rare", pytest.approx(why.score)),)
    engine.forget("a")
    assert engine.recommend(request).items[0].score == 0, "nobody is left who took it"

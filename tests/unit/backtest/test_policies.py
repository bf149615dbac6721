"""What each policy does on a row of days, told by days that are made up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from rectory.errors import DataError, UsageError
from rectory.metrics.bootstrap import Gain, Interval
from rectory.params.sections import GateParams
from rectory.registry.gate import Case, Champion, Contender
from rectory.registry.policies import DEFAULT_POLICIES, Kept, Turn, policy_of, replay
from rectory.registry.served import Recipe, Served, served_by, wanted

RULES = GateParams(max_slice_loss=None)
DATES = ("d1", "d2", "d3")


@dataclass
class MadeUpDay:
    """gain: relative gain on the test window of the day's fit of `best` over whoever holds the seat."""

    date: str
    gain: tuple[float, float, float] = (0.0, 0.0, 0.0)
    status: str = "ok"
    best: str = "hybrid"
    comparable: bool = True
    asked: list[Any] = field(default_factory=list)

    @property
    def moment(self) -> str:
        return f"moment of {self.date}"

    def kept(self, candidate: str) -> Kept:
        return Kept(candidate, self.date, f"key {self.date} {candidate}", f"recipe {candidate}", f"until {self.date}")

    def newest(self) -> Kept:
        return self.kept(self.best)

    def cases(self, seat: Kept | None, rules: GateParams) -> list[Case]:  # noqa: ARG002
        self.asked.append(seat)
        if not self.comparable and seat is not None:
            return []
        contender = Contender(self.best, 0.2, 500, 0.3, 0.5, 1.0, 1.0, recipe=f"recipe {self.best}")
        if seat is None:
            return [Case(contender, None, ())]
        value, low, high = self.gain
        one = Gain(Interval(value / 5, low / 5, high / 5, 500), Interval(value, low, high, 500))
        champion = Champion(seat.candidate, one, 0.3, 0.5, version=seat.version, recipe=seat.recipe)
        return [Case(contender, champion, ())]

    def drift(self, known_until: str) -> dict[str, Any]:
        self.asked.append(known_until)
        return {"status": self.status, "moved": [], "calibrated": True}


def walk(name: str, *days: MadeUpDay) -> list[Turn]:
    return replay(policy_of(name), days, RULES)


def promoted(name: str, *days: MadeUpDay) -> list[bool]:
    return [turn.promoted for turn in walk(name, *days)]


LITTLE = (0.01, -0.02, 0.04)
CLEAR = (0.05, 0.02, 0.08)
LOSS = (-0.05, -0.08, -0.02)


@pytest.mark.parametrize("name", DEFAULT_POLICIES)
def test_all_policies_begin_with_the_same_first_champion(name: str) -> None:
    first = walk(name, MadeUpDay("d1"))[0]
    assert first.seat.model == "d1.hybrid"
    assert (first.promoted, first.retrained, first.before, first.drift) == (False, True, None, None)


@pytest.mark.parametrize(
    ("name", "gain", "expected"),
    [
        ("never", CLEAR, False),
        ("always", LOSS, True),
        ("greater", LITTLE, True),
        ("greater", LOSS, False),
        ("gate", LITTLE, True),  # the same recipe on newer data
        ("gate", LOSS, False),
        ("gate_strict", LITTLE, False),
        ("gate_strict", CLEAR, True),
    ],
)
def test_each_policy_promotes_by_its_own_rule(name: str, gain: tuple[float, float, float], expected: bool) -> None:
    assert promoted(name, MadeUpDay("d1"), MadeUpDay("d2", gain)) == [False, expected]


def test_the_gate_asks_another_recipe_for_a_clear_gain() -> None:
    assert promoted("gate", MadeUpDay("d1", best="popular"), MadeUpDay("d2", LITTLE)) == [False, False]
    assert promoted("gate", MadeUpDay("d1", best="popular"), MadeUpDay("d2", CLEAR)) == [False, True]


def test_without_an_alarm_on_drift_trains_nothing_and_asks_no_gate() -> None:
    days = [MadeUpDay("d1"), MadeUpDay("d2", CLEAR), MadeUpDay("d3", CLEAR, status="drift")]
    turns = walk("on_drift", *days)
    assert [turn.retrained for turn in turns] == [True, False, True]
    assert [turn.promoted for turn in turns] == [False, False, True]
    assert days[1].asked == ["until d1"], "only drift was asked"
    assert turns[1].challenger is None
    assert [turn.alarm for turn in turns] == [False, False, True]


def test_the_champion_that_is_met_is_the_one_that_holds_the_seat() -> None:
    days = [MadeUpDay("d1"), MadeUpDay("d2", LOSS), MadeUpDay("d3", CLEAR)]
    turns = walk("gate", *days)
    assert [turn.seat.version for turn in turns] == ["d1", "d1", "d3"]
    assert turns[2].before is not None and turns[2].before.version == "d1"
    assert [turn.challenger and turn.challenger.model for turn in turns] == ["d1.hybrid", "d2.hybrid", "d3.hybrid"]


def test_no_day_is_asked_before_the_days_before_it_are_decided() -> None:
    """Days are asked in order, so a decision cannot rest on a later one."""
    order: list[str] = []

    class Watching(MadeUpDay):
        def cases(self, seat: Kept | None, rules: GateParams) -> list[Case]:
            order.append(self.date)
            return super().cases(seat, rules)

    walk("gate", *[Watching(date, CLEAR) for date in DATES])
    assert order == list(DATES)


def test_drift_is_asked_since_the_champions_data_ends_and_with_refits_since_the_last_date() -> None:
    days = [MadeUpDay(date, CLEAR) for date in DATES]
    walk("always", *days)
    assert [[one for one in day.asked if isinstance(one, str)] for day in days] == [[], ["until d1"], ["until d2"]]
    again = [MadeUpDay(date) for date in DATES]
    walk("never+refit", *again)
    assert [one for one in again[2].asked if isinstance(one, str)] == ["moment of d2"]


def test_a_champion_that_cannot_be_compared_keeps_its_seat() -> None:
    turn = walk("gate", MadeUpDay("d1"), MadeUpDay("d2", CLEAR, comparable=False))[1]
    assert not turn.promoted
    assert turn.reasons[0]["rule"] == "comparable"


def test_a_refusal_says_what_was_missing_and_a_turn_survives_json() -> None:
    turn = walk("gate", MadeUpDay("d1"), MadeUpDay("d2", LOSS))[1]
    assert [reason["rule"] for reason in turn.reasons if not reason["passed"]] == ["refresh"]
    assert Turn.from_dict(turn.to_dict()) == turn


def test_a_first_day_that_can_seat_nobody_is_refused_with_its_cure() -> None:
    class Empty(MadeUpDay):
        def cases(self, seat: Kept | None, rules: GateParams) -> list[Case]:  # noqa: ARG002
            return [Case(Contender("hybrid", float("nan"), 0, 0.3, 0.5, 1.0, 1.0), None, ())]

    with pytest.raises(DataError, match="later --from"):
        walk("gate", Empty("d1"))


def test_unknown_policies_are_named_with_those_that_exist() -> None:
    with pytest.raises(UsageError, match="on_drift"):
        policy_of("sometimes")
    assert policy_of("gate+refit").refit and not policy_of("gate").refit


def test_policies_that_serve_the_same_model_share_it() -> None:
    turns = {name: walk(name, *[MadeUpDay(date) for date in DATES]) for name in ("never", "never+refit", "gate+refit")}
    recipe = Recipe({"candidate": "hybrid"})
    recipes = {f"{date}.hybrid": recipe for date in DATES}
    served = {name: served_by(policy_of(name), of_policy, recipes) for name, of_policy in turns.items()}
    assert [model.name for model in served["never"].values()] == ["d1.hybrid"] * 3
    assert served["never+refit"] == served["gate+refit"]
    assert served["never+refit"]["d3"] == Served("d3", "hybrid", recipe.name)


def test_what_is_scored_is_what_served_what_challenged_and_what_had_served_until_then() -> None:
    turns = {"gate": walk("gate", MadeUpDay("d1"), MadeUpDay("d2", LOSS), MadeUpDay("d3", CLEAR))}
    served = {"gate": served_by(policy_of("gate"), turns["gate"], {})}
    assert {date: sorted(models) for date, models in wanted(turns, served).items()} == {
        "d1": ["d1.hybrid"],
        "d2": ["d1.hybrid", "d2.hybrid"],
        "d3": ["d1.hybrid", "d3.hybrid"],
    }

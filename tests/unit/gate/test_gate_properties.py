"""What the gate does for every input."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rectory.metrics.bootstrap import Gain, Interval
from rectory.params.sections import GateParams
from rectory.registry.gate import Baseline, Case, Champion, Contender, decide, settle

NUMBER = st.floats(-1, 1) | st.just(float("nan"))


@st.composite
def gains(draw: st.DrawFn) -> Gain:
    low, value, high = sorted(draw(st.tuples(*[st.floats(-1, 1)] * 3)))
    if draw(st.booleans()) and draw(st.booleans()):
        low = float("nan")
    one = Interval(value, low, high, draw(st.sampled_from([0, 1, 30, 5000])))
    return Gain(one, draw(st.sampled_from([one, None])))


contenders = st.builds(
    Contender,
    name=st.just("challenger"),
    value=NUMBER,
    users=st.integers(0, 100),
    coverage=NUMBER,
    popularity_share=NUMBER,
    milliseconds_per_user=NUMBER,
    model_mb=NUMBER,
    baseline=st.booleans(),
    lineage_key=st.sampled_from([None, "k1", "k2"]),
)
champions = st.builds(
    Champion,
    name=st.just("champion"),
    gain=gains(),
    coverage=NUMBER,
    popularity_share=NUMBER,
    slices=st.dictionaries(st.sampled_from(["users=cold", "items=tail"]), gains()),
    lineage_key=st.sampled_from([None, "k1"]),
)
rivals = st.lists(
    st.builds(Baseline, name=st.sampled_from(["a", "b", "c"]), gain=gains()), max_size=3, unique_by=lambda one: one.name
)
rules = st.builds(GateParams, min_gain=st.floats(-0.5, 0.5), beat_baselines=st.booleans())


@given(challenger=contenders, champion=champions, baselines=rivals, asked=rules)
def test_never_promotes_when_the_lower_bound_misses_the_asked_gain(
    challenger: Contender, champion: Champion, baselines: list[Baseline], asked: GateParams
) -> None:
    decision = decide(challenger, champion, baselines, asked)
    deciding = champion.gain.relative
    if deciding is not None and not deciding.low >= asked.min_gain:
        assert not decision.promote
    assert decision.promote == all(reason.passed for reason in decision.reasons)


@given(challenger=contenders, champion=st.none() | champions, baselines=rivals, asked=rules)
def test_reasons_are_never_empty_and_the_decision_is_json(
    challenger: Contender, champion: Champion | None, baselines: list[Baseline], asked: GateParams
) -> None:
    decision = decide(challenger, champion, baselines, asked)
    assert decision.reasons
    assert all(reason.text and reason.rule for reason in decision.reasons)
    json.dumps(decision.to_dict()["reasons"], allow_nan=False)


@given(challenger=contenders, champion=st.none() | champions, baselines=rivals, asked=rules, data=st.data())
def test_order_of_baselines_does_not_matter(
    challenger: Contender, champion: Champion | None, baselines: list[Baseline], asked: GateParams, data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(baselines))
    one = [(r.rule, r.passed, r.text) for r in decide(challenger, champion, baselines, asked).reasons]
    assert one == [(r.rule, r.passed, r.text) for r in decide(challenger, champion, shuffled, asked).reasons]


@given(challenger=contenders, champion=champions, asked=rules, more=st.floats(0, 1))
def test_a_larger_gain_never_turns_a_promotion_into_a_refusal(
    challenger: Contender, champion: Champion, asked: GateParams, more: float
) -> None:
    def shifted(one: Interval) -> Interval:
        return Interval(one.value + more, one.low + more, one.high + more, one.users)

    before = champion.gain
    raised = Gain(shifted(before.absolute), None if before.relative is None else shifted(before.relative))
    if decide(challenger, champion, [], asked).promote:
        assert decide(challenger, replace(champion, gain=raised), [], asked).promote


@given(challengers=st.lists(contenders, min_size=1, max_size=2), baselines=rivals, asked=rules)
def test_an_empty_seat_is_filled_by_any_challenger_that_works(
    challengers: list[Contender], baselines: list[Baseline], asked: GateParams
) -> None:
    decision = settle([Case(one, None, tuple(baselines)) for one in challengers], asked)
    works = [
        decide(one, None, [], GateParams(beat_baselines=False)).reasons[0].rule != "measured" for one in challengers
    ]
    assert decision.promote == any(works)


def test_no_challenger_at_all_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="no challengers"):
        settle([], GateParams())

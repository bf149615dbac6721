"""What may be tuned: every kind is answered for, and every proposal is a valid value."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter

from rectory.errors import UsageError
from rectory.models.catalogue import build, kinds
from rectory.params.candidates import CandidateParams, LightFMHybridParams, PersonalFrequencyParams
from rectory.params.sections import TrainParams
from rectory.tuning.spaces import SPACES, Choice, Number, defaults_of, space_of, with_values
from rectory.tuning.trial import Steps, try_candidate
from tests.conformance.synthetic import two_tastes

TUNABLE = [kind for kind in SPACES if not isinstance(SPACES[kind], str)]


@pytest.fixture(scope="module")
def train():
    return two_tastes(repeats=True)


def candidate(kind: str):
    return TypeAdapter(CandidateParams).validate_python({"kind": kind})


def test_every_kind_has_a_space_or_says_why_not():
    assert set(SPACES) == set(kinds()), "add the kind to rectory/tuning/spaces.py"
    assert all(space for space in SPACES.values())


@pytest.mark.parametrize("kind", TUNABLE)
def test_every_end_of_a_space_is_a_valid_value(kind):
    for one in SPACES[kind]:
        ends = one.values if isinstance(one, Choice) else (one.low, one.high)
        for value in ends:
            changed = with_values(candidate(kind), {one.key: value})
            assert getattr(changed, one.key) == (tuple(value) if isinstance(value, list) else value)


@pytest.mark.parametrize("kind", TUNABLE)
def test_the_defaults_lie_in_the_space_and_come_back_unchanged(kind):
    given = candidate(kind)
    space = space_of(given)
    defaults = defaults_of(given, space)
    assert [one.key for one in space] == list(defaults)
    for one in space:
        default = defaults[one.key]
        assert one.value(one.proposal(default), default) == default
        if isinstance(one, Number):
            assert one.low <= default <= one.high
    assert with_values(given, defaults) == given


@pytest.mark.parametrize("kind", TUNABLE)
def test_a_trial_hears_every_step_and_scores_what_a_whole_fit_reports(kind, train):
    settings = TrainParams(seed=7, validation_users=100, candidates={"it": candidate(kind)})
    heard = []
    outcome = try_candidate(candidate(kind), train, settings, Steps(lambda best, step: heard.append((step, best))))
    report = build(candidate(kind), 7, 100).fit(train).report
    assert outcome.score == report.score
    assert outcome.chosen == report.chosen
    assert [step for step, _ in heard] == list(range(1, len(report.curve) + 1))
    assert heard[-1][1] >= report.score
    assert outcome.per_user is not None
    assert float(outcome.per_user.mean()) == pytest.approx(report.score, abs=1e-9)


def test_a_default_outside_the_limits_widens_them():
    space = {
        one.key: one for one in space_of(LightFMHybridParams(kind="lightfm_hybrid", components=200, item_alpha=0.3))
    }
    assert space["components"].high == 200
    assert space["components"].whole
    assert space["item_alpha"].values[-1] == 0.3


def test_proposed_numbers_are_short_and_the_default_keeps_its_digits():
    rate = Number("rate", 0.01, 0.2, log=True)
    assert rate.value(0.0437281923, 0.05) == 0.0437
    assert rate.value(0.0123456, 0.0123456) == 0.0123456
    assert rate.value(0.01000001, 0.05) == 0.01
    assert Number("n", 1, 10).value(7, 3) == 7


def test_lists_and_booleans_stay_what_they_are():
    choice = Choice("x", ((1, 2), True, 1, None))
    for value in choice.values:
        back = choice.value(choice.proposal(value), None)
        assert back == (list(value) if isinstance(value, tuple) else value)
        assert type(back) is (list if isinstance(value, tuple) else type(value))


def test_a_kind_without_anything_to_tune_says_why():
    with pytest.raises(UsageError, match="tries every pair"):
        space_of(candidate("popularity"))


def test_values_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="greater than 0"):
        with_values(PersonalFrequencyParams(kind="personal_frequency"), {"popularity_window_days": -1})

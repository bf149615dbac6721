"""A study: defaults first, fixed seeds, gone on with after a kill, never a look at the test window."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from rectory.errors import BusyError, DataError, RectoryError, UsageError
from rectory.features.training_set import TrainingSet
from rectory.models.catalogue import build
from rectory.tuning import work as worker
from rectory.tuning.plan import Plan, study_name
from rectory.tuning.spaces import Choice
from rectory.tuning.storage import alone, counted, open_study
from rectory.tuning.trial import Steps, try_candidate
from tests.unit.tuning.conftest import facts

FREQUENCY = "personal_frequency"


def test_defaults_are_the_first_trial_and_are_seen_through(tuned):
    bench, result = tuned
    first = result.trials[0]
    assert (first.number, first.origin, first.state) == (0, "defaults", "complete")
    assert first.values == bench.plan.defaults
    assert result.defaults == first


def test_the_best_is_the_whole_trial_with_the_highest_score(tuned):
    _, result = tuned
    whole = [one for one in result.trials if one.state == "complete"]
    assert len(result.trials) == 12
    assert result.best.score == max(one.score for one in whole)
    assert result.best.score >= result.defaults.score
    assert set(result.changed) <= set(result.best.values)


def test_hopeless_trials_are_ended_early(tuned):
    _, result = tuned
    pruned = [one for one in result.trials if one.state == "pruned"]
    assert pruned, "none of twelve was worse than the median?"
    for one in pruned:
        before = [other for other in result.trials if other.number < one.number and other.state == "complete"]
        level = [other.curve[one.steps - 1] for other in before if other.steps >= one.steps]
        assert one.curve[-1] < np.median(level)
        assert one.steps >= 3


def test_a_trial_scores_what_training_would(tuned):
    bench, result = tuned
    params, train = bench.params(), TrainingSet.load(bench.workspace.features)
    section = params.train.candidates["lightfm_hybrid"]
    report = build(section, params.train.seed, params.train.validation_users).fit(train).report
    assert result.defaults.score == report.score
    assert result.defaults.chosen == report.chosen
    assert result.defaults.curve == np.maximum.accumulate([row["score"] for row in report.curve]).tolist()


def test_per_user_scores_are_those_of_the_score(tuned):
    bench, result = tuned
    for one in (result.defaults, result.best):
        scores = np.load(bench.plan.scores / f"{one.number}.npz")["score"]
        assert len(scores) == result.users
        assert float(scores.mean()) == pytest.approx(one.score, abs=1e-12)


def test_one_worker_gives_the_same_study_again(tuned, bench):
    _, result = tuned
    again = bench.tune("lightfm_hybrid", 6)
    assert facts(again) == facts(result)[:6]
    assert again.study == result.study


@pytest.mark.parametrize("cut", [0, 3])
def test_a_study_that_was_killed_goes_on_to_the_same_end(tuned, bench, monkeypatch, cut):
    _, result = tuned
    bench.prepare("lightfm_hybrid", 5)
    monkeypatch.setattr(worker, "try_candidate", _dies_at(cut))
    with pytest.raises(KeyboardInterrupt):
        bench.work()
    monkeypatch.undo()
    told = bench.prepare("lightfm_hybrid", 5)
    assert (told.before, told.again) == (cut + 1, 1)
    assert f"goes on: {cut + 1} trials" in told.text
    bench.work()
    assert facts(bench.result()) == facts(result)[:5]
    killed = [one for one in open_study(bench.plan, 42).trials if "killed" in one.user_attrs]
    assert [one.number for one in killed] == [cut]


def test_a_trial_whose_worker_died_before_it_was_signed_is_tried_by_the_next(bench):
    bench.prepare(FREQUENCY, 3)
    unsigned = open_study(bench.plan, 42).ask()
    assert "worker" not in unsigned.user_attrs
    assert bench.work() == 3
    study = open_study(bench.plan, 42)
    assert [one.number for one in study.trials if "killed" in one.user_attrs] == [unsigned.number]
    assert not [one for one in study.trials if one.state.name == "RUNNING"]
    first = bench.result().trials[0]
    assert (first.origin, first.values) == ("defaults", bench.plan.defaults)


def _dies_at(nth):
    """As if the process were killed in the second step of its nth trial: nothing is tidied up."""
    calls = []

    def dying(candidate, train, settings, steps):
        calls.append(1)
        if len(calls) == nth + 1:

            def die(best, step):
                if step == 2:
                    raise KeyboardInterrupt

            steps = Steps(die)
        return try_candidate(candidate, train, settings, steps)

    return dying


def test_more_trials_go_on_and_as_many_are_done_already(bench):
    bench.prepare(FREQUENCY, 3)
    assert bench.work() == 3
    bench.prepare(FREQUENCY, 3)
    assert bench.work() == 0
    bench.prepare(FREQUENCY, 5)
    assert bench.work() == 2
    assert len(bench.result().trials) == 5


def test_equal_values_take_over_the_earlier_score(bench, monkeypatch):
    calls = []
    real = worker.try_candidate
    monkeypatch.setattr(worker, "try_candidate", lambda *given: calls.append(1) or real(*given))
    result = bench.tune(FREQUENCY, 10)
    windows = {one.values["popularity_window_days"] for one in result.trials}
    assert len(calls) == len(windows) < 10
    for one in result.trials:
        if one.same_as is not None:
            assert one.score == result.trials[one.same_as].score
    assert sum(one.same_as is None for one in result.trials) == len(windows)


def test_a_new_study_begins_when_anything_but_the_tuned_values_changes(bench):
    first = bench.prepare(FREQUENCY, 1)
    other_default = bench.prepare(FREQUENCY, 1, "train.candidates.personal_frequency.popularity_window_days=7")
    other_lists = bench.prepare(FREQUENCY, 1, "train.candidates.personal_frequency.half_lives_days=[30]")
    assert first.text == f"new study {first.study}"
    assert other_default.study == first.study
    assert other_lists.study != first.study
    assert other_lists.text == (
        f"new study {other_lists.study}: the data, the card, the code or what is not tuned changed since the last one"
    )


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"data": "other"}, False),
        ({"code": "other"}, False),
        ({"lock": "other"}, False),
        ({"params": {"card": {"repeats": "exclude"}}}, False),
        ({"params": {"train": {"seed": 1}}}, False),
        ({"params": {"train": {"rate": 9}}}, True),
        ({"params": {"train": {"candidate": "b"}}}, True),
        ({"params": {"train": {"baseline": True}}}, True),
    ],
)
def test_the_name_of_a_study_follows_what_scores_depend_on(change, same):
    space = (Choice("rate", (1, 2)),)
    train = {"seed": 7, "rate": 1, "candidate": "a", "baseline": False}
    lineage = {"data": "d", "code": "c", "lock": "l", "params": {"card": {"repeats": "allow"}, "train": train}}
    params = {name: {**part, **change.get("params", {}).get(name, {})} for name, part in lineage["params"].items()}
    other = {**lineage, **change, "params": params}
    assert (study_name(other, space) == study_name(lineage, space)) is same
    assert study_name(lineage, (Choice("rate", (1, 2, 3)),)) != study_name(lineage, space)


def test_new_defaults_are_tried_although_the_study_is_full(bench):
    first = bench.tune(FREQUENCY, 1)
    assert first.defaults.values == {"popularity_window_days": 28.0}
    override = "train.candidates.personal_frequency.popularity_window_days=7"
    second = bench.tune(FREQUENCY, 1, override)
    assert second.defaults.values == {"popularity_window_days": 7.0}
    assert len(second.trials) == 2


def test_after_the_deadline_only_the_defaults_are_seen_through(bench):
    bench.prepare("lightfm_hybrid", 5, minutes=1)
    plan = bench.plan
    late = Plan(**{**plan.__dict__, "deadline": time.time() - 1})
    late.save(bench.workspace.tuning_plan)
    assert bench.work() == 1
    result = bench.result()
    assert [one.origin for one in result.trials] == ["defaults"]
    assert result.trials[0].state == "complete"


def test_what_is_at_work_at_the_deadline_is_put_back(bench, monkeypatch):
    bench.prepare("lightfm_hybrid", 5, minutes=60)
    clock = [time.time()]
    monkeypatch.setattr(worker.time, "time", lambda: clock[0])

    def slow(candidate, train, settings, steps):
        watch = steps._watch

        def later(best, step):
            if study_size() > 1 and step == 2:
                clock[0] += 7200
            watch(best, step)

        return try_candidate(candidate, train, settings, Steps(later))

    def study_size():
        return len(counted(open_study(bench.plan, 42)))

    monkeypatch.setattr(worker, "try_candidate", slow)
    bench.work()
    study = open_study(bench.plan, 42)
    assert [one.user_attrs.get("killed") for one in study.trials] == [None, "the time was over", None]
    assert study.trials[2].state.name == "WAITING"
    assert study.trials[2].user_attrs["wanted"] == study.trials[1].user_attrs["values"]


def test_values_that_cannot_be_fitted_are_told_and_the_next_are_tried(bench, monkeypatch):
    def picky(candidate, train, settings, steps):
        if candidate.popularity_window_days == 7.0:
            raise RectoryError("no room for seven")
        return try_candidate(candidate, train, settings, steps)

    monkeypatch.setattr(worker, "try_candidate", picky)
    result = bench.tune(FREQUENCY, 10)
    failed = [one for one in result.trials if one.state == "failed"]
    assert failed
    assert all(one.values == {"popularity_window_days": 7.0} and one.reason == "no room for seven" for one in failed)
    assert len(result.trials) == 10


def test_defaults_that_fail_end_it_with_their_reason(bench, monkeypatch):
    def broken(*given):
        raise RectoryError("diverged")

    monkeypatch.setattr(worker, "try_candidate", broken)
    with pytest.raises(RectoryError, match="no score to compare with: they failed: diverged"):
        bench.tune(FREQUENCY, 2)


def test_nobody_to_score_is_refused(bench):
    train = TrainingSet.load(bench.workspace.features)
    TrainingSet(**{**train.__dict__, "target": np.zeros(len(train.user), dtype=bool)}).save(bench.workspace.features)
    with pytest.raises(DataError, match="nobody to score"):
        bench.prepare(FREQUENCY, 1)


def test_wrong_names_are_told(bench):
    with pytest.raises(UsageError, match="there are popularity"):
        bench.prepare("nobody", 1)
    with pytest.raises(UsageError, match="cannot be tuned"):
        bench.prepare("popularity", 1)


def test_two_calls_do_not_tune_one_candidate_at_a_time(bench):
    storage = bench.workspace.study("shop", FREQUENCY)
    with alone(storage), pytest.raises(BusyError, match="being tuned"), alone(storage):
        pass


def test_workers_and_values_are_noted_with_each_trial(tuned):
    bench, result = tuned
    trials = open_study(bench.plan, 42).trials
    assert {one.user_attrs["worker"] for one in trials} == {os.getpid()}
    assert [one.user_attrs["values"] for one in trials] == [one.values for one in result.trials]

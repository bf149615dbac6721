"""Each behavioural test passes a sound model and fails the model that is broken in the way it looks for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rectory.errors import UsageError
from rectory.evaluation import behaviour_tests as ours
from rectory.evaluation.behaviour import (
    BehaviouralTest,
    Finding,
    behavioural_test,
    found_in,
    load_tests,
    overlap,
    run_tests,
)
from rectory.evaluation.behaviour_log import doubled, only, relabelled, sample_log
from rectory.params.sections import BehaveParams
from tests.unit.evaluation import behaving as models

ALL = found_in(ours)


@pytest.mark.parametrize("repeats", [True, False])
@pytest.mark.parametrize("recipe", [models.Sound, models.Noisy])
def test_a_sound_model_passes_every_test_and_all_of_them_apply(recipe: type[models.Sound], repeats: bool) -> None:
    results = run_tests(ALL, models.ask(recipe, models.log(repeats=repeats)))
    assert len(results) == 7
    assert all(result.passed and result.applicable for result in results), results


@pytest.mark.parametrize(
    ("test", "broken"),
    [
        (ours.duplicate_beside_original, models.SmallCodesFirst),
        (ours.interest_moves_list, models.DeafToHistory),
        (ours.codes_mean_nothing, models.SmallCodesFirst),
        (ours.codes_mean_nothing, models.DeafToHistory),
        (ours.small_change_small_effect, models.Chaotic),
        (ours.departed_items_stay_out, models.OffersTheDeparted),
        (ours.similar_share_features, models.LikensAnything),
        (ours.near_misses_are_near, models.WildlyWrong),
    ],
    ids=lambda value: value.name if isinstance(value, BehaviouralTest) else value.__name__,
)
def test_the_broken_model_fails(test: BehaviouralTest, broken: type[models.Sound]) -> None:
    result = test.run(models.ask(broken))
    assert result.applicable and not result.passed, result
    assert result.value is not None, result.text


def test_what_has_no_meaning_for_a_plain_list_is_skipped_with_its_reason() -> None:
    results = {result.name: result for result in run_tests(ALL, models.ask(models.Popular))}
    skipped = {name for name, result in results.items() if not result.applicable}
    assert skipped == {"interest_moves_list", "similar_share_features", "near_misses_are_near"}
    assert all(results[name].passed and results[name].text.startswith("not applicable: ") for name in skipped)
    assert all(result.passed for result in results.values())


def test_features_that_are_not_there_or_say_nothing_are_no_fault_of_the_model() -> None:
    of_features = (ours.similar_share_features, ours.near_misses_are_near)
    for train in (models.log(features=False), models.log(meaningful=False)):
        results = run_tests(of_features, models.ask(models.Sound, train))
        assert [result.applicable for result in results] == [False, False], results
    moved = ours.interest_moves_list.run(models.ask(models.Sound, models.log(features=False)))
    assert moved.applicable and moved.passed, moved


def test_a_log_with_few_users_answers_no_what_if_question() -> None:
    train = models.log()
    few = models.ask(models.Sound, only(train, train.user < 20))
    result = ours.small_change_small_effect.run(few)
    assert not result.applicable and "only 20 users" in result.text


def test_departed_items_are_counted_and_the_mask_of_a_bundle_keeps_them_out() -> None:
    there = np.arange(models.ITEMS) % 2 == 0
    sound = ours.departed_items_stay_out.run(models.ask(models.Sound, available=there))
    assert sound.passed and "60 have left" in sound.text
    broken = ours.departed_items_stay_out.run(models.ask(models.OffersTheDeparted, available=there))
    assert not broken.passed and broken.value is not None and broken.value > 100


def test_a_test_that_breaks_has_failed_and_says_how() -> None:
    @behavioural_test("broken")
    def broken(context: object) -> Finding:
        raise ZeroDivisionError("of nothing")

    result = broken.run(models.ask(models.Sound))
    assert not result.passed and result.text == "could not be run: ZeroDivisionError: of nothing"
    assert result.to_dict() == {
        "name": "broken", "applicable": True, "passed": False, "text": result.text, "value": None, "limit": None,
    }  # fmt: skip


def test_results_are_equal_each_time() -> None:
    first, second = (run_tests(ALL, models.ask(models.Noisy)) for _ in range(2))
    assert first == second


OWN = """
from rectory.evaluation.behaviour import Context, Finding, behavioural_test

@behavioural_test("no_item_for_everybody", needs="users")
def no_item_for_everybody(context: Context) -> Finding:
    shown = context.base_lists.items
    most = max((shown == item).any(axis=1).mean() for item in range(context.sample.n_items))
    return Finding(most <= 0.9, f"one item stands in {most:.0%} of all lists, 90% are allowed", most, 0.9)
"""


def test_a_test_of_ones_own_runs_beside_ours(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OWN, encoding="utf-8")
    tests = load_tests(tmp_path, ["mine.py"])
    assert [test.name for test in tests] == [*(test.name for test in ALL), "no_item_for_everybody"]
    assert not tests[-1].run(models.ask(models.Popular)).passed
    assert tests[-1].run(models.ask(models.Sound)).passed


def test_the_example_of_the_docs_runs_as_it_stands(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "behaviour.md").read_text(encoding="utf-8")
    example = page.partition("```python\n")[2].partition("```")[0]
    (tmp_path / "my_tests.py").write_text(example, encoding="utf-8")
    own = load_tests(tmp_path, ["my_tests.py"])[-1]
    assert own.name == "no_item_for_everybody"
    assert not own.run(models.ask(models.Popular)).passed
    assert own.run(models.ask(models.Sound)).passed


@pytest.mark.parametrize(
    ("text", "files", "match"),
    [
        (None, ["gone.py"], "no file gone.py"),
        (None, ["../mine.py"], "outside the project"),
        ("x = 1", ["mine.py"], "no function with @behavioural_test"),
        ("import nothing_of_that_name", ["mine.py"], "cannot be imported: ModuleNotFoundError"),
        (OWN.replace("no_item_for_everybody", "codes_mean_nothing"), ["mine.py"], "there twice"),
        (OWN.replace('needs="users"', 'needs="luck"'), ["mine.py"], "there are users, item_features, personal"),
        (OWN.replace('"no_item_for_everybody"', '"no item"'), ["mine.py"], "without spaces"),
    ],
)
def test_a_file_of_ones_own_that_cannot_be_used_is_refused_with_the_cure(
    tmp_path: Path, text: str | None, files: list[str], match: str
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (tmp_path / "mine.py").write_text(OWN, encoding="utf-8")
    if text is not None:
        (project / "mine.py").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=match):
        load_tests(project, files)


def test_the_sample_is_of_the_users_seen_last_with_their_latest_rows() -> None:
    train = models.log(rows=80)
    sample = sample_log(train, BehaveParams(users=50, interactions=1500, items=60))
    assert sample.n_users <= 50 and sample.n_items <= 60 and len(sample.user) <= 1500
    assert np.bincount(sample.user).max() <= 50
    assert (np.diff(sample.time) >= 0).all() and sample.end == train.end
    last = {user: train.time[train.user == user].max() for user in range(models.USERS)}
    latest = sorted(last, key=lambda user: -last[user])[: sample.n_users]
    assert set(train.users.encode(sample.users.ids)) == set(latest)
    row = int(sample.item[0])
    same = int(train.items.encode([sample.items.ids[row]])[0])
    np.testing.assert_array_equal(
        sample.item_features.matrix[[row]].toarray(), train.item_features.matrix[[same]].toarray()
    )


def test_a_twin_has_the_rows_and_features_of_its_original_and_follows_it() -> None:
    train = models.log()
    twins = doubled(train, np.array([5, 2], dtype=np.int32))
    counts = twins.counts().toarray()
    np.testing.assert_array_equal(counts[:, models.ITEMS :], counts[:, [5, 2]])
    np.testing.assert_array_equal(counts[:, : models.ITEMS], train.counts().toarray())
    matrix = twins.item_features.matrix.toarray()
    np.testing.assert_array_equal(matrix[models.ITEMS :], matrix[[5, 2]])
    place = int(np.flatnonzero(twins.item == 5)[0])
    assert twins.item[place + 1] == models.ITEMS and twins.user[place + 1] == twins.user[place]
    assert (np.diff(twins.time) >= 0).all()


def test_shuffled_codes_stand_for_the_same_ids() -> None:
    train = models.log()
    other = relabelled(train, seed=1)
    assert (other.train.users.ids[other.user] == train.users.ids).all()
    np.testing.assert_array_equal(other.train.counts().toarray()[other.user][:, other.item], train.counts().toarray())
    np.testing.assert_array_equal(
        other.train.item_features.matrix.toarray()[other.item], train.item_features.matrix.toarray()
    )


def test_overlap_counts_items_whatever_their_place_and_knows_empty_lists() -> None:
    one = np.array([[1, 2, 3], [4, -1, -1], [-1, -1, -1]], dtype=np.int32)
    other = np.array([[3, 9, 1, 8], [5, -1, -1, -1], [1, 2, 3, 4]], dtype=np.int32)
    np.testing.assert_allclose(overlap(one, other), [2 / 3, 0.0, np.nan])

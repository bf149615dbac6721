"""A parent that cannot be continued gives a full fit, which says why, and a plan that tells what happened."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from rectory.features.training_set import SECONDS_PER_DAY, TrainingSet
from rectory.files import tree_digests, write_json
from rectory.models.blend import Blend
from rectory.models.bundle import Bundle
from rectory.models.lightfm_hybrid import LightFMHybrid
from rectory.models.lightfm_training import Learnt, Training
from rectory.models.popularity import Popularity
from rectory.models.protocol import CannotContinue
from rectory.models.warm_start import Parent, Plan, earlier, fit, lay_out, read_plan, told
from rectory.params.candidates import BlendParams, LightFMHybridParams, PopularityParams
from tests.conformance.synthetic import two_tastes

PARAMS = LightFMHybridParams(kind="lightfm_hybrid", components=8, max_epochs=4, half_lives_days=(None,))
PARENT = Parent("4", "key", ("3", "4"), "2025-01-01T00:00:00+00:00", True)


@pytest.fixture(scope="module")
def today() -> TrainingSet:
    return two_tastes(repeats=True)


@pytest.fixture
def laid_out(today: TrainingSet, tmp_path: Path) -> Path:
    """A parent that was fitted a day earlier."""
    model = hybrid().fit(yesterday(today))
    Bundle.of("mine", "lightfm_hybrid", model, yesterday(today), titles=None, dataset="made_up").save(tmp_path / "then")
    write_json(tmp_path / "fit.json", asdict(model.report))
    lay_out(tmp_path / "parent", Plan(PARENT), tmp_path / "then", tmp_path / "fit.json")
    return tmp_path / "parent"


def hybrid() -> LightFMHybrid:
    return LightFMHybrid(PARAMS, 3, 100)


def yesterday(train: TrainingSet) -> TrainingSet:
    return train.until(train.end - SECONDS_PER_DAY, train.validation_start - SECONDS_PER_DAY)


def saved(model, folder: Path) -> dict[str, str]:
    folder.mkdir()
    model.save(folder)
    return tree_digests(folder)


def test_a_parent_is_continued_and_the_report_says_from_whom(today: TrainingSet, laid_out: Path) -> None:
    report = fit(hybrid(), today, laid_out)
    assert report.start.startswith(
        "Continued from version 4 (full fit of version 3, warm start 2 since): 1 epoch over "
    )
    assert told(asdict(report)) == [report.start]
    assert read_plan(laid_out) == Plan(PARENT)


def test_without_step_sizes_the_fit_is_full_and_the_plan_is_struck(today, laid_out, tmp_path) -> None:
    (laid_out / "bundle" / "model" / "squares.npz").unlink()
    model = hybrid()
    report = fit(model, today, laid_out)
    assert "Fitted from scratch, because version 4 cannot be continued: it was saved without" in report.start
    assert read_plan(laid_out).parent is None and not (laid_out / "bundle").exists()
    assert saved(model, tmp_path / "model") == saved(hybrid().fit(today), tmp_path / "full")
    # And once more, as a killed run does: the same.
    assert fit(hybrid(), today, laid_out).start == report.start


def test_a_model_that_knows_no_warm_start_is_fitted_in_full(today: TrainingSet, laid_out: Path) -> None:
    report = fit(Popularity(PopularityParams(kind="popularity"), 3, 100), today, laid_out)
    assert "Popularity knows no warm start" in report.start


def test_nothing_laid_out_is_a_plain_fit(today: TrainingSet, tmp_path: Path) -> None:
    assert read_plan(tmp_path / "nowhere") == Plan()
    model = hybrid()
    assert fit(model, today, tmp_path / "nowhere") == model.report


def test_a_blend_is_not_continued_without_a_source_or_with_other_columns(today: TrainingSet) -> None:
    sources = {"own": {"kind": "personal_frequency", "half_lives_days": [30]}, "content": {"kind": "content"}}
    params = BlendParams.model_validate({"kind": "blend", "sources": sources, "trees": 10})
    before = Blend(params, 3, 100).fit(yesterday(today))
    assert before._ranker is not None
    bundle = Bundle.of("mine", "blend", before, yesterday(today), titles=None, dataset="made_up")
    with_all = replace(before.report, chosen={**before.report.chosen, "sources": {"own": {}, "content": {}}})
    bare = two_tastes(repeats=True, features=False)
    with pytest.raises(CannotContinue, match="source content has nothing to say"):
        Blend(params, 3, 100).warm_fit(bare, earlier(bundle, with_all, bare))
    own = {"own": before.report.chosen["sources"]["own"]}
    only_own = replace(before.report, chosen={**before.report.chosen, "sources": own})
    with pytest.raises(CannotContinue, match="other columns"):
        Blend(params, 3, 100).warm_fit(bare, earlier(bundle, only_own, bare))


def test_what_is_new_begins_as_the_typical_one_and_has_no_part_in_the_average_before(today: TrainingSet) -> None:
    known = np.where(np.arange(today.n_users) == 7, -1, np.arange(today.n_users)).astype(np.int32)
    items = np.arange(today.n_items, dtype=np.int32)
    first = Training(PARAMS, 3, today, None)
    first.train(3)
    learnt = Learnt({k: v.copy() for k, v in first.parts().items()}, first.squares(), first.users, first.items)
    second = Training(PARAMS, 3, today, None)
    assert second.start_from(learnt, known, items, weight=3) == 1
    typical = learnt.parts["user_embeddings"][first.users.typical]
    np.testing.assert_array_equal(second.model.user_embeddings[7], typical)
    np.testing.assert_array_equal(second.model.user_embeddings[8], learnt.parts["user_embeddings"][8])
    second.train(1)
    average, end = second.parts()["user_embeddings"], second.model.user_embeddings
    np.testing.assert_allclose(average[7], end[7], rtol=1e-5)
    np.testing.assert_allclose(
        average[8], 0.75 * learnt.parts["user_embeddings"][8] + 0.25 * end[8], rtol=1e-4, atol=1e-6
    )

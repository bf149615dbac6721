"""What is special of the blend: past windows, where boosting starts, what is switched on."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from rectory.features.training_set import TrainingSet
from rectory.models.blend import Blend
from rectory.models.blend_choice import Curve, at_best, best_stage, core_of, of_today, optional_of, pay, switched_on
from rectory.models.blend_history import ITEM, PAIR, History
from rectory.models.blend_moment import Moment, days_of
from rectory.models.blend_proposals import nearness, propose
from rectory.models.blend_ranker import Examples, Proposals
from rectory.models.lightgbm_import import import_lightgbm
from rectory.models.popularity import Popularity
from rectory.models.validation import Validation
from rectory.params.candidates import BlendParams, PopularityParams
from tests.conformance.synthetic import training_set, two_tastes

SOURCES = {
    "own": {"kind": "personal_frequency", "half_lives_days": [30]},
    "recent": {"kind": "popularity", "windows_days": [30, None]},
    "transitions": {"kind": "transitions", "popularity_weights": [0.01]},
}


def params(**changes) -> BlendParams:
    return BlendParams.model_validate({"kind": "blend", "sources": SOURCES, "trees": 20, **changes})


def test_the_score_is_that_of_sources_and_ranker_which_never_saw_the_validation_window() -> None:
    """Rows of the validation window decide who is asked and what is right, never what is proposed or learnt."""
    train = two_tastes(repeats=True)
    seen: list[float] = []

    class Spy(Blend):
        def _fit_sources(self, window, settings):  # type: ignore[no-untyped-def]
            seen.append(window.end)
            return super()._fit_sources(window, settings)

    model = Spy(params(), 7, 100).fit(train)
    length = train.end - train.validation_start
    for end in seen[:-1]:
        assert end <= train.validation_start
        assert (train.end - end) / length == pytest.approx(round((train.end - end) / length))
    assert seen[-1] == train.end, "what is kept knows everything before the test window"
    assert model.report.score > 0


def test_each_past_window_is_asked_of_what_was_known_before_it() -> None:
    train = two_tastes(repeats=True)
    windows = Blend(params(windows=3), 7, 100)._windows(train)
    assert len(windows) == 4
    assert windows[0].end == train.end
    for later, earlier in pairwise(windows):
        assert earlier.end == later.validation_start
        assert earlier.time.max() < later.validation_start


def test_a_log_without_a_past_window_is_answered_by_the_best_source_alone() -> None:
    short = two_tastes(repeats=True)
    short = replace(short, validation_start=short.time[0] + 0.9 * (short.end - short.time[0]) / 2)
    model = Blend(params(), 7, 100).fit(short)
    assert model.report.chosen["trees"] == 0
    assert any("too short" in note for note in model.report.notes)
    best = model.report.chosen["best"]
    users = np.arange(59, dtype=np.int32)
    alone = model._sources[best].recommend(users, 5)
    np.testing.assert_array_equal(model.recommend(users, 5).items, alone.items)


def test_without_trees_the_lists_are_those_of_the_best_source() -> None:
    train = two_tastes(repeats=True)
    fitted = Blend(params(), 7, 100).fit(train)
    chosen = {**fitted.report.chosen, "trees": 0, "best": "own"}
    plain = Blend(params(), 7, 100).refit(train, chosen)
    users = np.arange(59, dtype=np.int32)
    np.testing.assert_array_equal(plain.recommend(users, 8).items, plain._sources["own"].recommend(users, 8).items)


def test_sources_that_can_say_nothing_are_off_and_the_report_says_why() -> None:
    train = two_tastes(repeats=False, features=False)
    wide = BlendParams(kind="blend")
    kept, notes = switched_on(wide, train)
    assert "own" not in kept
    assert "content" not in kept
    assert any(note.startswith("own is off") for note in notes)
    assert any(note.startswith("content is off") for note in notes)


def test_the_order_in_which_params_name_the_sources_changes_nothing() -> None:
    train = two_tastes(repeats=True)
    users = np.arange(59, dtype=np.int32)
    one, two = (
        Blend(BlendParams.model_validate({"kind": "blend", "sources": dict(order), "trees": 20}), 7, 100).fit(train)
        for order in (SOURCES.items(), reversed(SOURCES.items()))
    )
    np.testing.assert_array_equal(one.recommend(users, 8).scores, two.recommend(users, 8).scores)


def test_optional_sources_go_where_it_is_clear_that_they_do_not_pay() -> None:
    assert core_of({"a": "lightfm_hybrid", "b": "item_knn", "c": "popularity"}) == ["a", "c"]
    assert core_of({"b": "item_knn"}) == ["b"], "something has to propose"
    rng = np.random.default_rng(0)
    core = rng.uniform(0.0, 0.2, 4000)
    assert pay(core, core * 1.01, ["b"])[0]
    assert not pay(core, core * 1.002, ["b"])[0], "the same users, so it is clear"
    assert not pay(core, core, ["b"])[0], "a source that changes nothing costs nothing to leave out"
    luck = core + rng.normal(0.0, 0.05, len(core))
    assert pay(core, luck - luck.mean() + core.mean(), ["b"])[0], "no gain was seen, but one may well be there"
    assert not pay(core, luck - luck.mean() + core.mean() * 0.96, ["b"])[0]
    pays, sentence = pay(np.zeros(9), np.zeros(9), ["b", "c"])
    assert pays
    assert sentence.startswith("b, c: kept; without them there are too few hits")


def test_trees_are_chosen_by_both_windows_and_reported_for_the_newest() -> None:
    newest = Curve([0, 10, 20], [np.array([0.2, 0.3]), np.array([0.2, 0.4]), np.array([0.1, 0.3])])
    before = Curve([0, 10, 20], [np.array([0.2]), np.array([0.1]), np.array([0.7])])
    assert best_stage([newest]) == 1
    assert best_stage([newest, before]) == 2
    np.testing.assert_array_equal(at_best([newest, before]), [0.1, 0.3, 0.7])
    equal = Curve([0, 10], [np.array([0.5]), np.array([0.5])])
    assert best_stage([equal]) == 0, "the fewest of equals"


def test_no_ranker_is_held_against_a_window_that_it_learnt_from(monkeypatch) -> None:
    learnt: dict[str, list[int]] = {}
    judged = []
    train, curve_of = Blend._train, Curve.of

    def training(self, examples, best, trees, names):  # type: ignore[no-untyped-def]
        ranker = train(self, examples, best, trees, names)
        learnt[ranker.text] = [id(one.proposals) for one in examples]
        return ranker

    def scoring(window, held, column, ranker, most):  # type: ignore[no-untyped-def]
        assert held.n == len(window.users)
        judged.append((id(held.proposals), learnt[ranker.text]))
        return curve_of(window, held, column, ranker, most)

    monkeypatch.setattr(Blend, "_train", training)
    monkeypatch.setattr(Curve, "of", scoring)
    chosen = Blend(params(), 7, 100).fit(two_tastes(repeats=True)).report.chosen
    assert chosen["windows"] > 1
    assert all(held not in of_ranker for held, of_ranker in judged)
    assert [len(of_ranker) for _, of_ranker in judged[-2:]] == [chosen["windows"]] * 2


def test_optional_sources_are_judged_group_by_group_each_beside_what_was_kept_before(monkeypatch) -> None:
    """Factors that do not pay take no neighbours with them, and pay or not where neighbours went."""
    assert optional_of({"a": "als", "c": "content", "e": "ease", "l": "lightfm_hybrid"}) == [["c", "e"], ["a"]]
    assert optional_of({"a": "als", "l": "lightfm_hybrid"}) == [["a"]]
    assert optional_of({"a": "als"}) == [], "something has to propose"
    train = two_tastes(repeats=True)
    sources = {**SOURCES, "als": {"kind": "als", "components": 4, "max_epochs": 2}}
    scores = {
        ("own", "recent"): 0.10,
        ("own", "recent", "transitions"): 0.12,
        ("als", "own", "recent", "transitions"): 0.11,
        ("als", "own", "recent"): 0.11,
    }

    judged = Blend._judged

    def judge(self, held, examples, column, names):  # type: ignore[no-untyped-def]
        sources = tuple(name.removeprefix("rank_") for name in names if name.startswith("rank_"))
        curves = [Curve([0], [np.full(len(window.users), scores[sources])]) for window in held]
        return curves, judged(self, held, examples, column, names)[1]

    monkeypatch.setattr(Blend, "_judged", judge)
    kept = Blend(params(sources=sources), 7, 100).fit(train).report
    assert set(kept.chosen["sources"]) == {"own", "recent", "transitions"}
    assert any(note.startswith("transitions: kept.") for note in kept.notes)
    assert any(note.startswith("als: dropped") for note in kept.notes)
    scores["own", "recent", "transitions"] = 0.10
    kept = Blend(params(sources=sources), 7, 100).fit(train).report
    assert set(kept.chosen["sources"]) == {"own", "recent", "als"}


def test_proposals_are_the_union_with_each_source_s_place() -> None:
    train = training_set([0, 0, 1], [0, 1, 2], [10, 20, 30], n_users=2, n_items=4)
    one = Popularity(PopularityParams(kind="popularity"), 0, 10).refit(
        train, {"window_days": None, "half_life_days": None}
    )
    two = Popularity(PopularityParams(kind="popularity"), 0, 10).refit(
        train, {"window_days": 175.0, "half_life_days": None}
    )
    found = propose({"ever": one, "late": two}, np.array([0, -1], dtype=np.int32), {"ever": 2, "late": 1}, None)
    assert found.row.tolist() == [0, 0, 0, 1, 1, 1] or found.row.tolist() == [0, 0, 1, 1]
    by_pair = {(row, item): tuple(ranks) for row, item, ranks in zip(found.row, found.item, found.ranks, strict=True)}
    assert by_pair[0, 0] == (1, 0)
    assert by_pair[0, 2] == (0, 1)
    exclude = csr_array((np.ones(1, np.float32), [2], [0, 1, 1]), shape=(2, 4))
    hidden = propose({"late": two}, np.array([0, -1], dtype=np.int32), {"late": 1}, exclude)
    assert (0, 2) not in set(zip(hidden.row.tolist(), hidden.item.tolist(), strict=True))


def test_history_knows_frequency_recency_and_rhythm_of_a_pair() -> None:
    """User 0 takes item 0 every ten days, last ten days ago, and item 1 once, long ago."""
    day = np.array([150, 160, 170, 180, 190, 100])
    train = training_set([0] * 6, [0] * 5 + [1], day, n_users=2, n_items=3, repeats=True)
    history = History.of(train, 20.0)
    users = np.array([0, -1], dtype=np.int32)
    columns = history.columns(users, np.array([0, 0, 0, 1]), np.array([0, 1, 2, 0], dtype=np.int32))
    at = {name: columns[:, place] for place, name in enumerate(history.names)}
    assert at["pair_due"][0] == pytest.approx(1.0), "ten days since, every ten days: due now"
    assert at["pair_rate"][0] == 1.0
    assert at["pair_rate"][1] < 0.5
    assert np.isnan(at["pair_rate"][2]), "never had it: not a frequency of zero days"
    assert np.isnan(at["pair_rate"][3])
    assert at["pair_idle"][0] == pytest.approx(np.log1p(10.0))
    assert at["user_unknown"].tolist() == [0.0, 0.0, 0.0, 1.0]
    assert at["item_untouched"].tolist() == [0.0, 0.0, 1.0, 0.0]
    assert len(PAIR) + len(ITEM) < len(history.names)


def test_each_user_weighs_by_the_root_of_the_hits() -> None:
    proposals = Proposals(
        row=np.array([0, 0, 0, 0, 0, 1, 1, 2]),
        item=np.arange(8, dtype=np.int32),
        ranks=np.ones((8, 1), dtype=np.int32),
        heights=np.ones((8, 1), dtype=np.float32),
        scores=np.empty((8, 0), dtype=np.float32),
    )
    hit = np.array([1, 1, 1, 1, 0, 1, 0, 0], dtype=bool)
    weights = Examples(proposals, np.zeros((8, 1), np.float32), hit, 3).weights()
    assert weights[:4].sum() == pytest.approx(2 * weights[5])
    assert weights[4] == pytest.approx(4 * weights[:4].sum())
    assert weights[7] == 0, "a user without a hit teaches no order"


def test_nearness_falls_as_the_discount_of_ndcg() -> None:
    assert nearness(np.array([1, 3, 0])).tolist() == pytest.approx([1.0, 0.5, 0.0])


def test_the_ranker_finds_what_no_source_says_alone() -> None:
    """Each of four own items is taken every 40 days, one in each window: equally often, so only the rhythm tells."""
    rows = [
        (user, (user + part * 3) % 12, day)
        for user in range(120)
        for part in range(4)
        for day in range(user % 10 + 10 * part, 200, 40)
    ]
    user, item, day = (np.array(part) for part in zip(*rows, strict=True))
    train = training_set(user, item, day, n_users=120, n_items=12, repeats=True, valid_days=10)
    model = Blend(params(trees=80), 7, 200).fit(train)
    alone = next(one["score"] for one in model.report.curve if one["trees"] == 0)
    assert model.report.chosen["trees"] > 0
    assert model.report.score > alone + 0.1


def test_examples_of_fewer_sources_or_users_are_those_that_asking_them_alone_gives() -> None:
    """They are cut out of what all of them proposed, which saves a fit of each source in each window."""
    train = two_tastes(repeats=True)
    model = Blend(params(), 7, 100)
    settings = model.fit(train).report.chosen["sources"]
    before = train.before_validation()
    history = History.of(before, days_of(train))
    sources = model._fit_sources(before, settings)
    moment = Moment(sources, history, {"own": 8, "recent": 4, "transitions": 4})
    validation, few = Validation(train, 100, 7), Validation(train, 20, 7)
    assert set(few.users) < set(validation.users)
    cut = moment.narrowed(moment.examples(validation), ["own", "transitions"])
    cut = cut.of_users(np.isin(validation.users, few.users))
    fresh = moment.only(["own", "transitions"]).examples(few)
    np.testing.assert_array_equal(cut.x, fresh.x)
    np.testing.assert_array_equal(cut.hit, fresh.hit)
    np.testing.assert_array_equal(cut.proposals.row, fresh.proposals.row)
    assert cut.n == fresh.n == 20
    assert cut.x.shape[1] == len(moment.only(["own", "transitions"]).names)


def test_history_knows_whom_an_item_draws_and_how_lately_its_kind_was_taken() -> None:
    """Item 0 was taken by user 0 again and again, item 1 by users 1 and 2 once each in the window; both of group 0."""
    day = [100, 150, 185, 190, 195, 198]
    train = training_set(
        [0, 0, 0, 0, 1, 2], [0, 0, 0, 0, 1, 1], day, n_users=4, n_items=3, repeats=True, item_groups=[0, 0, 1]
    )
    history = History.of(train, 20.0)
    assert history.item("item_takers").tolist() == [0.5, 1.0, 0.0]
    assert history.item("item_newcomers").tolist() == [0.0, 1.0, 0.0], "user 0 knew item 0 before the window"
    pull = history.item("item_pull")
    assert pull[1] == 1.0
    assert pull[0] == pytest.approx((1 / (3 - 1 + 1 + 1)) / (2 / (3 - 2 + 2 + 1)))
    users = np.array([0, 3, -1], dtype=np.int32)
    columns = history.columns(users, np.array([0, 0, 1, 2]), np.array([1, 2, 1, 1], dtype=np.int32))
    (place,) = (place for place, name in enumerate(history.names) if name.startswith("fresh_"))
    assert columns[:, place].tolist() == pytest.approx([1 / (1 + 10), 0.0, 0.0, 0.0])


def moving_on() -> TrainingSet:
    """For months all take the first ten items, in the last weeks the next ten: old counts mislead by now."""
    draw = np.random.default_rng(0)
    day = np.sort(draw.uniform(0, 200, 6000))
    item = np.where(day < 165, draw.integers(0, 10, 6000), draw.integers(10, 20, 6000))
    return training_set(draw.integers(0, 300, 6000), item, day, n_users=300, n_items=40)


def test_what_is_popular_is_chosen_anew_where_the_newest_window_says_so_clearly() -> None:
    train = moving_on()
    build_one = {
        "recent": PopularityParams(kind="popularity", windows_days=(None, 10.0)),
        "steady": PopularityParams(kind="popularity", windows_days=(None,)),
    }
    settings: dict[str, dict[str, float | None]] = {
        name: {"window_days": None, "half_life_days": None} for name in build_one
    }
    validation = Validation(train, 1000, 0)
    found, notes = of_today(
        list(build_one), settings, lambda name: Popularity(build_one[name], 0, 1000), train, validation
    )
    assert found == {"recent": {"window_days": 10.0, "half_life_days": None}}
    (note,) = notes
    assert note.startswith("recent: window_days 10, not all time as the window before had it: clearly better")
    assert settings["recent"]["window_days"] is None, "what was found before is not changed"


def test_what_is_kept_learns_from_what_the_sources_as_set_anew_would_have_proposed() -> None:
    """They are asked beside those of before, in the same windows; making all windows again gives the same ranker."""
    train = replace(moving_on(), repeats=True)
    sources = {
        "own": {"kind": "personal_frequency", "half_lives_days": [30]},
        "recent": {"kind": "popularity", "windows_days": [None, 10.0]},
    }
    model = Blend(params(sources=sources), 7, 1000).fit(train)
    chosen = model.report.chosen
    assert chosen["sources"]["recent"]["window_days"] == 10.0
    assert any("clearly better" in note for note in model.report.notes)
    assert list(model.parts) == ["own", "recent"]
    assert chosen["trees"] > 0
    anew = Blend(params(sources=sources), 7, 1000).refit(train, chosen)
    assert model._ranker is not None
    assert anew._ranker is not None
    assert model._ranker.text == anew._ranker.text


def test_a_refit_fits_the_sources_on_all_rows_and_takes_the_trees_as_they_are(tmp_path: Path) -> None:
    train = two_tastes(repeats=True)
    half = train.until(train.validation_start, train.validation_start - (train.end - train.validation_start))
    chosen = {**Blend(params(), 7, 100).fit(half).report.chosen, "trees": 20}
    fitted = Blend(params(), 7, 100).refit(half, chosen)
    (tmp_path / "half").mkdir()
    fitted.save(tmp_path / "half")
    asked: list[float] = []

    class Spy(Blend):
        def _fit_sources(self, window, settings):  # type: ignore[no-untyped-def]
            asked.append(window.end)
            return super()._fit_sources(window, settings)

    again = Spy(params(), 7, 100).refit_keeping(train, chosen, tmp_path / "half")
    assert asked == [train.end]
    assert again._ranker is not None and fitted._ranker is not None
    assert again._ranker.text == fitted._ranker.text
    anew = Blend(params(), 7, 100).refit(train, chosen)
    assert anew._ranker is not None and anew._ranker.text != again._ranker.text
    for name, source in anew.parts.items():
        users = np.arange(59, dtype=np.int32)
        np.testing.assert_array_equal(again.parts[name].recommend(users, 5).items, source.recommend(users, 5).items)


def test_lightgbm_is_never_asked_for_more_than_one_thread(monkeypatch) -> None:
    """Its number of threads holds for the whole process: a call that changes it breaks those that are under way."""
    lightgbm = import_lightgbm()
    asked: list[object] = []
    fit, predict = lightgbm.train, lightgbm.Booster.predict

    def training(settings, *args, **rest):  # type: ignore[no-untyped-def]
        asked.append(settings["num_threads"])
        return fit(settings, *args, **rest)

    def predicting(self, *args, **rest):  # type: ignore[no-untyped-def]
        asked.append(rest.get("num_threads"))
        return predict(self, *args, **rest)

    monkeypatch.setattr(lightgbm, "train", training)
    monkeypatch.setattr(lightgbm.Booster, "predict", predicting)
    model = Blend(params(), 7, 100).fit(two_tastes(repeats=True))
    item = int(model.recommend(np.array([3], dtype=np.int32), 1).items[0, 0])
    assert model.explain(3, item)
    ranker = model._ranker
    assert ranker is not None
    many = np.random.default_rng(0).normal(size=(5000, len(ranker.columns))).astype(np.float32)
    in_pieces = np.concatenate([ranker.beyond(many[start : start + 500]) for start in range(0, 5000, 500)])
    np.testing.assert_array_equal(ranker.beyond(many), in_pieces)
    assert len(asked) > 20
    assert set(asked) == {1}

"""What every model must do. A new model is one entry in ENTRIES; nothing else changes here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter
from scipy.sparse import csr_array

from rectory.files import tree_digests
from rectory.models.bundle import Bundle
from rectory.models.catalogue import build, kinds, model_class
from rectory.models.protocol import NO_ITEM, ScoresPairs, SupportsExplain, SupportsKeptPart
from rectory.params.candidates import CandidateParams
from tests.conformance.synthetic import favourite_of, training_set, two_tastes


@dataclass(frozen=True)
class Entry:
    """One model under test.

    personal: two users with different pasts get different lists.
    remembers: what one user took most comes first for this user.
    metadata: cold users and items are ranked by their features.
    needs_features: without declared features there is nothing personal about it.
    """

    kind: str
    params: dict[str, Any] = field(default_factory=dict)
    personal: bool = True
    remembers: bool = False
    metadata: bool = False
    needs_features: bool = False

    def model(self, seed=7):
        return build(TypeAdapter(CandidateParams).validate_python({"kind": self.kind, **self.params}), seed, 100)


# A thousand rows need larger steps and more of them than a real log.
SMALL = {"components": 8, "learning_rate": 0.2, "max_epochs": 60, "patience": 30, "half_lives_days": [30, None]}
SOURCES = {
    "lightfm": {"kind": "lightfm_hybrid", **SMALL},
    "own": {"kind": "personal_frequency", "half_lives_days": [30]},
    "recent": {"kind": "popularity", "windows_days": [30, None]},
    "transitions": {"kind": "transitions", "popularity_weights": [0.01]},
}
ENTRIES = [
    Entry("popularity", {"windows_days": [30, None], "half_lives_days": [None, 14]}, personal=False),
    Entry("personal_frequency", {"half_lives_days": [None, 30]}, remembers=True),
    Entry("item_knn", {"min_users": 1}),
    Entry("user_knn", {"max_users": 50}),
    Entry("ease", {"max_items": 35}),
    Entry("transitions", {"half_lives_days": [None, 30]}),
    Entry("content", {"half_lives_days": [None, 30]}, metadata=True, needs_features=True),
    Entry("als", {"components": 4, "half_lives_days": [30, None]}),
    Entry("bpr", {"components": 8, "learning_rate": 0.2, "half_lives_days": [30, None]}),
    Entry("lightfm_hybrid", SMALL, metadata=True),
    Entry("lightfm_hybrid", {**SMALL, "loss": "bpr"}, metadata=True),
    Entry("lightfm_hybrid", {**SMALL, "loss": "logistic"}, metadata=True),
    Entry("blend", {"sources": SOURCES, "trees": 40}),
]


def names(entry: Entry) -> str:
    return "-".join([entry.kind, *(str(value) for key, value in entry.params.items() if key == "loss")])


@pytest.fixture(params=ENTRIES, ids=names, scope="module")
def entry(request) -> Entry:
    return request.param


@pytest.fixture(scope="module")
def train():
    return two_tastes(repeats=True)


@pytest.fixture(scope="module")
def fitted(entry, train):
    return entry.model().fit(train)


def codes(*values):
    return np.array(values, dtype=np.int32)


def is_well_formed(top, n, k, n_items):
    """Shapes, types, falling scores, ties by code, no item twice, padding at the end."""
    assert top.items.shape == top.scores.shape == (n, k)
    assert top.items.dtype == np.int32
    assert top.scores.dtype == np.float32
    for items, scores in zip(top.items, top.scores, strict=True):
        real = items[items != NO_ITEM]
        assert (items[: len(real)] == real).all(), "NO_ITEM stands only at the end"
        assert np.isneginf(scores[len(real) :]).all()
        assert np.isfinite(scores[: len(real)]).all()
        assert len(set(real.tolist())) == len(real)
        assert ((real >= 0) & (real < n_items)).all()
        pairs = list(zip((-scores[: len(real)]).tolist(), real.tolist(), strict=True))
        assert pairs == sorted(pairs), "falling scores, equal ones by code"


def test_every_kind_has_an_entry():
    assert {entry.kind for entry in ENTRIES} == set(kinds())


def test_lists_are_well_formed(fitted, train):
    users = np.arange(-1, train.n_users).astype(np.int32)
    is_well_formed(fitted.recommend(users, 10), len(users), 10, train.n_items)
    is_well_formed(fitted.recommend(users, 10, exclude=train.counts()[np.maximum(users, 0)]), len(users), 10, 40)


def test_a_user_asked_alone_gets_the_list_of_the_batch(fitted, train):
    users = np.arange(-1, train.n_users).astype(np.int32)
    batch = fitted.recommend(users, 5)
    for place in (0, 1, 30, 60):
        alone = fitted.recommend(users[[place]], 5)
        assert alone.items[0].tolist() == batch.items[place].tolist()
        assert alone.scores[0].tolist() == batch.scores[place].tolist()


def test_unknown_user_is_answered(fitted, train):
    is_well_formed(fitted.recommend(codes(-1, -1), 10), 2, 10, train.n_items)
    top = fitted.recommend(codes(-1), 10)
    assert (top.items != NO_ITEM).all()


def test_no_users_no_lists(fitted):
    assert fitted.recommend(codes(), 3).items.shape == (0, 3)


def test_user_with_empty_history_is_answered(fitted, train):
    assert (train.user != 59).all()
    nothing = csr_array((1, train.n_items), dtype=np.float32)
    top = fitted.recommend(codes(59), 10, exclude=nothing)
    is_well_formed(top, 1, 10, train.n_items)
    assert (top.items != NO_ITEM).all()


def test_k_larger_than_the_catalogue_gives_every_item_once_then_nothing(fitted, train):
    top = fitted.recommend(codes(0, -1), 100)
    is_well_formed(top, 2, 100, train.n_items)
    assert ((top.items != NO_ITEM).sum(axis=1) == train.n_items).all()


def test_longer_lists_begin_with_the_shorter_ones(fitted):
    users = codes(0, 7, -1)
    np.testing.assert_array_equal(fitted.recommend(users, 3).items, fitted.recommend(users, 20).items[:, :3])


def test_seen_items_are_really_excluded(fitted, train):
    users = np.arange(train.n_users).astype(np.int32)
    seen = train.counts()
    top = fitted.recommend(users, train.n_items, exclude=seen)
    for user in users:
        left = set(range(train.n_items)) - set(seen[[user]].indices.tolist())
        assert set(top.items[user][top.items[user] != NO_ITEM].tolist()) == left


def test_a_stored_zero_is_excluded_too(fitted, train):
    exclude = csr_array((np.zeros(2, np.float32), [3, 5], [0, 2, 2]), shape=(2, train.n_items))
    top = fitted.recommend(codes(0, 0), train.n_items, exclude=exclude)
    assert not {3, 5} & set(top.items[0].tolist())
    assert {3, 5} <= set(top.items[1].tolist())


def test_everything_excluded_gives_an_empty_list(fitted, train):
    full = csr_array(np.ones((1, train.n_items), dtype=np.float32))
    top = fitted.recommend(codes(0), 5, exclude=full)
    assert (top.items == NO_ITEM).all()
    assert np.isneginf(top.scores).all()


def test_only_allowed_items_are_ranked_and_in_the_same_order(fitted, train):
    allowed = codes(39, 2, 17, 8)
    top = fitted.recommend(codes(1, -1), 10, items=allowed)
    is_well_formed(top, 2, 10, train.n_items)
    whole = fitted.recommend(codes(1, -1), train.n_items)
    for row in range(2):
        assert top.items[row, :4].tolist() == [item for item in whole.items[row] if item in allowed]
    hidden = csr_array((np.ones(1, np.float32), [17], [0, 1]), shape=(1, train.n_items))
    assert set(fitted.recommend(codes(1), 10, items=allowed, exclude=hidden).items[0].tolist()) == {39, 2, 8, NO_ITEM}
    assert (fitted.recommend(codes(1), 4, items=codes()).items == NO_ITEM).all()


def test_ties_go_to_the_smaller_code(entry):
    """Items that nobody took and that share all features cannot be told apart."""
    train = training_set(
        [0, 1, 2, 3] * 5, [0, 1, 0, 0] * 5, np.arange(20) * 10, n_users=4, n_items=300, item_groups=np.zeros(300, int)
    )
    model = entry.model().fit(train)
    for k in (7, 300):
        for users in (codes(0), codes(0, 1, 2, 3, -1)):
            top = model.recommend(users, k)
            is_well_formed(top, len(users), k, 300)
            cold = [item for item in top.items[0].tolist() if item >= 2]
            assert cold == list(range(2, 2 + len(cold)))


def digests(model, folder):
    """Of the files that the model saves in a new folder."""
    folder.mkdir()
    model.save(folder)
    return tree_digests(folder)


def test_two_fits_give_equal_bytes(entry, train, fitted, tmp_path):
    assert digests(fitted, tmp_path / "one") == digests(entry.model().fit(train), tmp_path / "two")


def test_refit_with_what_was_chosen_gives_the_bytes_of_fit(entry, train, fitted, tmp_path):
    again = entry.model().refit(train, fitted.report.chosen)
    assert digests(fitted, tmp_path / "one") == digests(again, tmp_path / "two")


KEEPING = [entry for entry in ENTRIES if issubclass(model_class(entry.kind), SupportsKeptPart)]


@pytest.mark.parametrize("entry", KEEPING, ids=names, indirect=True)
def test_a_refit_that_keeps_a_part_of_this_very_fit_gives_its_bytes(entry, train, fitted, tmp_path):
    whole = digests(fitted, tmp_path / "fit")
    assert set(fitted.kept_files()) <= set(whole)
    again = entry.model().refit_keeping(train, fitted.report.chosen, tmp_path / "fit")
    assert digests(again, tmp_path / "again") == whole


@pytest.mark.parametrize("entry", KEEPING, ids=names, indirect=True)
def test_a_part_that_does_not_suit_the_log_any_more_is_fitted_anew(entry, fitted, tmp_path):
    bare, chosen = two_tastes(repeats=True, features=False), fitted.report.chosen
    digests(fitted, tmp_path / "fit")
    again = entry.model().refit_keeping(bare, chosen, tmp_path / "fit")
    anew = entry.model().refit(bare, chosen)
    assert digests(again, tmp_path / "again") == digests(anew, tmp_path / "anew")


def test_single_pairs_score_as_lists_do(fitted):
    if not isinstance(fitted, ScoresPairs):
        return
    users = codes(0, 30, 59, -1)
    top = fitted.recommend(users, 8)
    np.testing.assert_array_equal(fitted.score_pairs(users.repeat(8), top.items.ravel()), top.scores.ravel())


def test_save_and_load_give_equal_bytes_and_equal_answers(entry, train, fitted, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    fitted.save(tmp_path / "one")
    again = model_class(entry.kind).load(tmp_path / "one")
    again.save(tmp_path / "two")
    assert tree_digests(tmp_path / "one") == tree_digests(tmp_path / "two")
    users = np.arange(-1, train.n_users).astype(np.int32)
    for one, two in (
        (fitted.recommend(users, 15), again.recommend(users, 15)),
        (fitted.similar(codes(0, 39), 15), again.similar(codes(0, 39), 15)),
    ):
        np.testing.assert_array_equal(one.items, two.items)
        np.testing.assert_array_equal(one.scores, two.scores)
    suffixes = {path.suffix for path in (tmp_path / "one").rglob("*") if path.is_file()}
    assert suffixes <= {".npz", ".json", ".parquet", ".txt"}, "no pickles"


def test_bundle_answers_the_same_after_save_and_load(entry, train, fitted, tmp_path):
    bundle = Bundle.of("mine", entry.kind, fitted, train, titles={"i0001": "One"}, dataset="made_up")
    bundle.save(tmp_path / "a")
    again = Bundle.load(tmp_path / "a")
    again.save(tmp_path / "b")
    assert tree_digests(tmp_path / "a") == tree_digests(tmp_path / "b")
    ids = ["u0003", "nobody", "u0059"]
    assert again.recommend(ids, 5).equals(bundle.recommend(ids, 5))


def test_similar_leaves_the_item_itself_out(fitted, train):
    top = fitted.similar(codes(4, 39), 50)
    is_well_formed(top, 2, 50, train.n_items)
    assert 4 not in top.items[0]
    assert 39 not in top.items[1]
    assert ((top.items != NO_ITEM).sum(axis=1) == train.n_items - 1).all()


def test_planted_preference_comes_first(entry, fitted):
    """Users take from their own half of the catalogue, and each one's favourite ten times lately."""
    if not entry.personal:
        loved = training_set(
            np.arange(90) % 9,
            np.where(np.arange(90) % 3, 5, np.arange(90) % 8),
            np.arange(90) * 2,
            n_users=9,
            n_items=8,
        )
        assert (entry.model().fit(loved).recommend(codes(0, 3, -1), 1).items == 5).all()
        return
    users = np.arange(59).astype(np.int32)
    if entry.remembers:
        first = fitted.recommend(users, 1).items[:, 0]
        assert first.tolist() == [favourite_of(user) for user in users]
    plain = two_tastes(repeats=True, features=entry.needs_features)
    lists = entry.model().fit(plain).recommend(users, 6).items
    assert np.mean([item % 2 == user % 2 for user in users for item in lists[user]]) > 0.8


def test_the_reasons_add_up_to_the_score(fitted, train):
    assert isinstance(fitted, SupportsExplain)
    for user in (0, 30, 59, -1):
        whole = fitted.recommend(codes(user), train.n_items)
        for item, score in zip(whole.items[0].tolist(), whole.scores[0].tolist(), strict=True):
            reasons = fitted.explain(user, item)
            assert sum(reason.contribution for reason in reasons) == pytest.approx(score, abs=1e-4)
            parts = [reason.contribution for reason in reasons]
            assert parts == sorted(parts, reverse=True)
            assert all(reason.text for reason in reasons)


def test_cold_users_and_items_are_ranked_by_their_features(entry, fitted):
    """User 59 and item 39 are known by their group alone: the odd one."""
    if not entry.metadata:
        return
    odd = fitted.recommend(codes(59), 10).items[0] % 2
    assert odd.mean() > 0.8
    rank_of_cold = [int(np.flatnonzero(fitted.recommend(codes(user), 40).items[0] == 39)[0]) for user in (1, 0)]
    assert rank_of_cold[0] < rank_of_cold[1]
    assert fitted.similar(codes(39), 5).items[0].tolist() != fitted.similar(codes(38), 5).items[0].tolist()


def test_cold_items_do_not_flood_the_lists(entry):
    """Half of the catalogue was never taken: lists are made of the other half."""
    taken = two_tastes(repeats=True)
    train = training_set(
        taken.user, taken.item, taken.time / 86400, n_users=60, n_items=80, repeats=True, item_groups=np.arange(80) % 2
    )
    lists = entry.model().fit(train).recommend(np.arange(59).astype(np.int32), 5).items
    assert (lists >= 39).mean() < 0.1


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(([0], [0], [100.0], 1, 1), id="one row"),
        pytest.param(([0] * 30, np.arange(30) % 7, np.linspace(0, 199, 30), 1, 7), id="one user"),
        pytest.param((np.arange(30) % 7, [0] * 30, np.linspace(0, 199, 30), 7, 1), id="one item"),
        pytest.param((np.arange(20) % 7, np.arange(20) % 5, np.linspace(190, 199, 20), 7, 5), id="all in validation"),
        pytest.param((np.arange(20) % 7, np.arange(20) % 5, np.linspace(0, 9, 20), 7, 5), id="none in validation"),
    ],
)
@pytest.mark.parametrize("repeats", [True, False])
def test_tiny_logs_without_features(entry, rows, repeats):
    user, item, day, n_users, n_items = rows
    train = training_set(user, item, day, n_users=n_users, n_items=n_items, repeats=repeats)
    model = entry.model().fit(train)
    users = np.arange(-1, n_users).astype(np.int32)
    is_well_formed(model.recommend(users, 4), len(users), 4, n_items)
    is_well_formed(model.similar(codes(0), 4), 1, 4, n_items)
    assert np.isfinite(model.report.score)


def test_without_features_lists_are_well_formed(entry):
    train = two_tastes(features=False)
    model = entry.model().fit(train)
    is_well_formed(model.recommend(codes(0, 59, -1), 10, exclude=train.counts()[[0, 59, 0]]), 3, 10, 40)


def test_the_report_names_metric_score_and_choices(entry, fitted):
    report = fitted.report
    assert report.metric == "ndcg@10"
    assert 0 < report.score <= 1
    assert report.chosen
    assert report.curve
    assert report.score in {step["score"] for step in report.curve}, "what was chosen is one of the tries"


def test_validation_rows_never_train_the_fit_that_they_score(entry):
    """The validation window chooses, it never trains the fit that it scores: rows in it do not change its lists."""
    train = two_tastes(repeats=True)
    before = train.before_validation()
    assert before.time.max() < train.validation_start == before.end
    first = entry.model().fit(before)
    moved = replace(train, item=np.where(train.time >= train.validation_start, 0, train.item).astype(np.int32))
    second = entry.model().fit(moved.before_validation())
    users = np.arange(60).astype(np.int32)
    np.testing.assert_array_equal(first.recommend(users, 10).items, second.recommend(users, 10).items)

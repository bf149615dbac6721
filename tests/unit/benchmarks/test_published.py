"""Published protocols are what their words say, and no test row is trained on or tuned with."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy.sparse import csr_array

from benchmarks import protocols
from benchmarks.contestants import EASE, LIGHTFM, ours, theirs
from benchmarks.published import show, verdict
from benchmarks.published_tables import PROTOCOLS
from rectory.data.ids import IdMap
from rectory.features.training_set import FeatureBlock, TrainingSet
from rectory.models.catalogue import kinds
from rectory.models.validation import Validation

START = pd.Timestamp("2001-01-01", tz="UTC")
USERS, ITEMS = 30, 25


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """30 users with 8 to 20 of 25 items, in two tastes; the last three users come late, item i24 comes last."""
    rng = np.random.default_rng(2)
    found = []
    for user in range(USERS):
        first = 80.0 if user >= USERS - 3 else 0.0
        odd = rng.permutation(np.arange(user % 2, ITEMS - 1, 2))[: rng.integers(7, 12)]
        other = rng.permutation(np.arange(1 - user % 2, ITEMS - 1, 2))[:1]
        items = [*odd, *other]
        found += [(user, item, first + rng.uniform(0, 20), rng.integers(1, 6)) for item in items]
    found += [(user, ITEMS - 1, 99.0, 5) for user in range(4)]
    user, item, day, value = zip(*found, strict=True)
    return pd.DataFrame(
        {
            "user_id": [f"u{code:02d}" for code in user],
            "item_id": [f"i{code:02d}" for code in item],
            "timestamp": [START + pd.Timedelta(days=float(when)) for when in day],
            "event": "rating",
            "value": np.asarray(value, dtype=np.float32),
        }
    )


def code(rows: pd.DataFrame, validation_start: pd.Timestamp, end: pd.Timestamp) -> TrainingSet:
    users, items = IdMap(sorted(set(rows["user_id"]))), IdMap(sorted(set(rows["item_id"])))
    time = rows["timestamp"].dt.as_unit("ns").astype("int64").to_numpy() / 1e9
    order = np.argsort(time, kind="stable")
    return TrainingSet(
        users=users,
        items=items,
        user=users.encode(rows["user_id"])[order],
        item=items.encode(rows["item_id"])[order],
        time=time[order],
        weight=np.ones(len(rows), dtype=np.float32),
        target=np.ones(len(rows), dtype=bool),
        validation_start=validation_start.value / 1e9,
        end=end.value / 1e9,
        repeats=False,
        user_features=FeatureBlock(csr_array((len(users), 0), dtype=np.float32), ()),
        item_features=FeatureBlock(csr_array((len(items), 0), dtype=np.float32), ()),
    )


def pairs(train: TrainingSet) -> set[tuple[str, str]]:
    return set(zip(train.users.decode(train.user), train.items.decode(train.item), strict=True))


def asked_for(split: protocols.Split) -> set[tuple[str, str]]:
    """Of the items that training knows."""
    row, column = split.relevant.nonzero()
    known = column < split.train.n_items
    return set(
        zip(
            split.train.users.decode(split.users[row[known]]),
            split.train.items.decode(column[known]),
            strict=True,
        )
    )


def validated(split: protocols.Split) -> TrainingSet:
    """The rows that choose hyperparameters."""
    return split.search.before_validation()


@pytest.mark.parametrize("make", [protocols.stratified, protocols.leave_last, protocols.newest])
def test_no_test_row_is_trained_on_or_tuned_with(rows, make):
    split = make(rows, code)
    assert asked_for(split)
    assert not asked_for(split) & pairs(split.train)
    assert pairs(split.search) == pairs(split.train)
    assert pairs(validated(split)) < pairs(split.train)
    assert len(Validation(split.search, 1000, 1).users)


def test_a_quarter_of_each_users_rows_is_the_test(rows):
    split = protocols.stratified(rows, code)
    sizes = rows.groupby("user_id").size()
    found = pd.Series(np.diff(split.relevant.indptr), index=split.train.users.decode(split.users))
    assert (found == (0.25 * sizes).round()).all()
    assert len(split.train.user) + split.relevant.nnz == len(rows)
    assert len(np.unique(split.train.time)) == 1, "time must say nothing"


def test_the_last_row_is_the_test_and_the_one_before_validates(rows):
    split = protocols.leave_last(rows, code, valid_users=10)
    ordered = rows.sort_values("timestamp", kind="stable")
    last = ordered.drop_duplicates("user_id", keep="last")
    assert split.facts["test users"] == split.facts["test rows"] == USERS
    assert asked_for(split) == {pair for pair in zip(last["user_id"], last["item_id"], strict=True) if pair[1] != "i24"}
    unknown = split.relevant.indices >= split.train.n_items
    assert unknown.sum() == (last["item_id"] == "i24").sum() == 4, "items never trained on are misses"
    before = ordered[ordered.duplicated("user_id", keep="last")].drop_duplicates("user_id", keep="last")
    moved = pairs(split.train) - pairs(validated(split))
    assert len(moved) == 10
    assert moved <= set(zip(before["user_id"], before["item_id"], strict=True))


def test_of_two_rows_of_one_second_the_later_in_the_source_is_the_last(rows):
    twice = pd.concat([rows, rows[rows["user_id"] == "u05"].assign(timestamp=START + pd.Timedelta(days=200))])
    own = twice[(twice["user_id"] == "u05") & (twice["timestamp"] > START + pd.Timedelta(days=150))]
    twice = twice.drop_duplicates(["user_id", "item_id"], keep="last")
    split = protocols.leave_last(twice, code)
    assert ("u05", own["item_id"].iloc[-1]) in asked_for(split)


def test_the_newest_fifth_of_good_ratings_is_the_test_without_strangers(rows):
    split = protocols.newest(rows, code)
    good = rows[rows["value"] >= 3].sort_values("timestamp", kind="stable")
    cut = good["timestamp"].iloc[int(0.8 * len(good))]
    assert pairs(split.train) <= set(zip(good["user_id"], good["item_id"], strict=True))
    assert split.train.time.max() < cut.value / 1e9 <= split.train.end
    known = good[good["timestamp"] < cut]
    later = good[good["timestamp"] >= cut]
    later = later[later["user_id"].isin(known["user_id"]) & later["item_id"].isin(known["item_id"])]
    assert asked_for(split) == set(zip(later["user_id"], later["item_id"], strict=True))
    assert split.train is split.search


def test_ours_and_theirs_are_measured_on_the_same_users(rows):
    split = protocols.stratified(rows, code)
    metrics = ("ndcg@10", "precision@10")
    mine = ours("ease", {"l2": [1.0], "half_lives_days": [None]}, split, metrics)
    popular = ours("often", {"kind": "popularity"}, split, metrics)
    rectools = [theirs(name, split, metrics) for name in (EASE, LIGHTFM)]
    assert {one.users for one in (mine, popular, *rectools)} == {USERS}
    assert (popular.label, popular.kind) == ("often", "popularity")
    assert mine.chosen["l2"] == 1.0
    for one in (mine, *rectools):
        value, low, high = one.metrics["ndcg@10"]
        assert low <= value <= high
        assert value > popular.metrics["ndcg@10"][0], "two tastes are easily told apart"
    # The same model by other hands, at the ridge term that is theirs.
    l2 = rectools[0].chosen["regularization"]
    share = l2 / np.bincount(split.train.item).mean()
    plain = {"half_lives_days": [None], "step_decays": [1.0], "popularity_weights": [1e-6]}
    again = ours("ease", {**plain, "l2": [share]}, split, metrics)
    assert again.metrics["ndcg@10"][0] == pytest.approx(rectools[0].metrics["ndcg@10"][0], abs=0.01)


def test_every_kind_is_measured_or_left_out_for_a_reason():
    for name, protocol in PROTOCOLS.items():
        measured = {str(keys.get("kind", row)) for row, keys in protocol.candidates.items()}
        told = measured | set(protocol.left_out)
        assert not measured & set(protocol.left_out)
        assert set(kinds()) == told, name
        assert any(not row.deep for row in protocol.published)
        assert all(set(row.metrics) == set(protocol.metrics) for row in protocol.published)


def found_row(kind: str, value: float, low: float) -> dict:
    metrics = {"ndcg@10": [value, low, 0.9], "mrr@10": [0.1, 0.0, 0.2]}
    seconds = {"search_seconds": 1.0, "fit_seconds": 2.5, "list_seconds": 0.5}
    return {"label": kind, "kind": kind, "metrics": metrics, "users": 100, "chosen": {}, **seconds}


@pytest.mark.parametrize(
    ("value", "low", "words"),
    [
        (0.3, 0.27, "its whole interval lies above"),
        (0.26, 0.24, "its interval reaches below"),
        (0.2, 0.1, "NOT beaten"),
    ],
)
def test_what_is_not_beaten_is_said(value, low, words):
    protocol = PROTOCOLS["ml-1m-time"]
    # RecTools' own models are no achievement of ours.
    rows = {"ease": found_row("ease", value, low), EASE: found_row(EASE, 0.8, 0.7)}
    told = verdict(protocol, {"rows": rows})
    assert "ItemKNN, 0.258" in told
    assert told.startswith(f"ease has ndcg@10 {value:.3f}")
    assert words in told


def test_the_table_shows_ours_beside_theirs_in_order():
    console = Console(width=160, record=True, file=io.StringIO())
    rows = {"ease": found_row("ease", 0.256, 0.2), LIGHTFM: found_row(LIGHTFM, 0.1, 0.05)}
    show("ml-1m-time", PROTOCOLS["ml-1m-time"], {"rows": rows, "facts": {"test users": 1139}}, console)
    shown = console.export_text()
    places = [shown.index(text) for text in ("ItemKNN", "ease", "Implicit ALS", "Word2Vec (deep)", LIGHTFM)]
    assert places == sorted(places)
    assert "1,139 test users" in shown
    assert "NOT beaten" in shown

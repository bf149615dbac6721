"""What every model that supports a warm start must do. Entries are those of test_every_model.py."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from rectory.data.ids import IdMap
from rectory.features.training_set import SECONDS_PER_DAY, FeatureBlock, TrainingSet
from rectory.files import tree_digests
from rectory.models.bundle import Bundle
from rectory.models.catalogue import model_class
from rectory.models.protocol import FitReport, SupportsWarmStart
from rectory.models.warm_start import earlier
from tests.conformance.synthetic import two_tastes
from tests.conformance.test_every_model import ENTRIES, Entry, codes, is_well_formed, names

WARM = [entry for entry in ENTRIES if issubclass(model_class(entry.kind), SupportsWarmStart)]
NEW_USER, NEW_ITEM, GONE_ITEM = "u0005x", "i0010x", "i0031"
DAY = SECONDS_PER_DAY


@pytest.fixture(params=WARM, ids=names, scope="module")
def entry(request) -> Entry:
    return request.param


@pytest.fixture(scope="module")
def yesterday() -> TrainingSet:
    whole = two_tastes(repeats=True)
    return whole.until(whole.end - DAY, whole.validation_start - DAY)


@pytest.fixture(scope="module")
def today() -> TrainingSet:
    return next_day(two_tastes(repeats=True))


@pytest.fixture(scope="module")
def before(entry, yesterday) -> tuple[Bundle, FitReport]:
    model = entry.model().fit(yesterday)
    return bundle(entry, model, yesterday), model.report


@pytest.fixture(scope="module")
def warm(entry, before, today):
    return continued(entry, before, today)


def next_day(train: TrainingSet) -> TrainingSet:
    """A day later: a new user and a new item of the odd group, in the middle of the ids; a new value; an item gone.

    The new item's group has a new name, `group=2`, and the new user takes odd items, the new one most of all.
    """
    users = [*train.users.ids[:6], NEW_USER, *train.users.ids[6:]]
    items = [one for one in [*train.items.ids[:11], NEW_ITEM, *train.items.ids[11:]] if one != GONE_ITEM]
    user_map, item_map = IdMap(users), IdMap(items)
    user, item = user_map.encode(train.users.ids[train.user]), item_map.encode(train.items.ids[train.item])
    taken = [NEW_ITEM] * 6 + [train.items.ids[code] for code in (1, 3, 5, 7)]
    others = user_map.encode([f"u{code:04d}" for code in range(1, 40, 2)])
    user = np.concatenate([user, np.full(len(taken), user_map.encode([NEW_USER])[0]), others])
    item = np.concatenate([item, item_map.encode(taken), np.full(len(others), item_map.encode([NEW_ITEM])[0])])
    time = np.concatenate([train.time, train.end - DAY * np.linspace(0.9, 0.1, len(taken) + len(others))])
    there = item >= 0
    order = np.argsort(time[there], kind="stable")
    n = len(order)
    return replace(
        train,
        users=user_map,
        items=item_map,
        user=user[there][order].astype(np.int32),
        item=item[there][order].astype(np.int32),
        time=time[there][order],
        weight=np.ones(n, dtype=np.float32),
        target=np.ones(n, dtype=np.bool_),
        user_features=block(users, train.users, train.user_features, {NEW_USER: ["group=1"]}),
        item_features=block(items, train.items, train.item_features, {NEW_ITEM: ["group=1", "group=2"]}),
    )


def block(ids: list[str], known: IdMap, features: FeatureBlock, new: dict[str, list[str]]) -> FeatureBlock:
    columns = (*features.names, "group=2")
    dense = np.zeros((len(ids), len(columns)), dtype=np.float32)
    old = known.encode(ids)
    dense[old >= 0, : len(features.names)] = features.matrix.toarray()[old[old >= 0]]
    for one, values in new.items():
        dense[ids.index(one), [columns.index(value) for value in values]] = 1.0
    return FeatureBlock(csr_array(dense), columns)


def bundle(entry: Entry, model, train: TrainingSet) -> Bundle:
    return Bundle.of("mine", entry.kind, model, train, titles=None, dataset="made_up")


def continued(entry: Entry, before: tuple[Bundle, FitReport], train: TrainingSet):
    return entry.model().warm_fit(train, earlier(*before, train))


def digests(model, folder) -> dict[str, str]:
    folder.mkdir()
    model.save(folder)
    return tree_digests(folder)


def test_the_hybrid_and_the_blend_are_among_them():
    assert {entry.kind for entry in WARM} >= {"lightfm_hybrid", "blend"}


def test_new_users_and_items_are_ranked_and_a_vanished_item_is_not(warm, today):
    users = np.arange(-1, today.n_users).astype(np.int32)
    is_well_formed(warm.recommend(users, today.n_items), len(users), today.n_items, today.n_items)
    is_well_formed(warm.similar(codes(*today.items.encode([NEW_ITEM])), 10), 1, 10, today.n_items)
    assert GONE_ITEM not in today.items.ids


def test_a_new_user_gets_its_own_kind_and_a_new_item_is_found_by_its_kind(warm, today):
    """All but the group is new, and the two groups are all that there is to know."""
    kind = np.array([int(name[1:5]) % 2 for name in today.items.ids])
    kind[today.items.encode([NEW_ITEM])[0]] = 1
    assert kind[warm.recommend(today.users.encode([NEW_USER]), 8).items[0]].mean() > 0.7
    new = int(today.items.encode([NEW_ITEM])[0])
    ranks = {
        parity: np.mean(
            [np.flatnonzero(row == new)[0] for row in warm.recommend(users_of(today, parity), today.n_items).items]
        )
        for parity in (0, 1)
    }
    assert ranks[1] < ranks[0]


def users_of(train: TrainingSet, parity: int):
    return train.users.encode([name for name in train.users.ids if name != NEW_USER and int(name[1:]) % 2 == parity])


def test_what_was_learnt_before_is_not_lost(warm, before, today):
    """Lists stay about as much of the user's own kind as those of the earlier model."""

    def own(model, train: TrainingSet) -> float:
        kind = np.array([int(name[1:5]) % 2 for name in train.items.ids])
        return float(
            np.mean([(kind[model.recommend(users_of(train, parity), 6).items] == parity).mean() for parity in (0, 1)])
        )

    bundle, _ = before
    then = np.array([int(name[1:5]) % 2 for name in bundle.items.ids])
    users = [bundle.users.encode([f"u{code:04d}" for code in range(parity, 59, 2)]) for parity in (0, 1)]
    earlier_share = np.mean([(then[bundle.model.recommend(u, 6).items] == p).mean() for p, u in enumerate(users)])
    assert own(warm, today) > max(0.7, earlier_share - 0.1)


def test_twice_gives_equal_bytes_and_leaves_the_earlier_model_as_it_was(entry, before, warm, today, tmp_path):
    was = digests(before[0].model, tmp_path / "before")
    assert digests(continued(entry, before, today), tmp_path / "again") == digests(warm, tmp_path / "first")
    assert digests(before[0].model, tmp_path / "after") == was


def test_from_a_saved_and_loaded_model_it_gives_equal_bytes(entry, before, warm, today, tmp_path):
    before[0].save(tmp_path / "bundle")
    loaded = continued(entry, (Bundle.load(tmp_path / "bundle"), before[1]), today)
    assert digests(loaded, tmp_path / "loaded") == digests(warm, tmp_path / "warm")


def test_a_chain_goes_on_from_a_warm_start(entry, before, warm, today, tmp_path):
    """And from a saved one with equal bytes; the choices are those of the one search at its beginning."""
    bundle(entry, warm, today).save(tmp_path / "bundle")
    later = replace(today, end=today.end + DAY, validation_start=today.validation_start + DAY)
    one = continued(entry, (bundle(entry, warm, today), warm.report), later)
    two = continued(entry, (Bundle.load(tmp_path / "bundle"), warm.report), later)
    assert digests(one, tmp_path / "one") == digests(two, tmp_path / "two")
    assert one.report.chosen == before[1].chosen
    assert one.report.score == before[1].score


def test_it_is_not_the_earlier_model(warm, before, today, tmp_path):
    assert digests(warm, tmp_path / "warm") != digests(before[0].model, tmp_path / "before")
    assert warm.report.start

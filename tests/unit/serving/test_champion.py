"""Lists of a champion whose items are searched: quick for one who asks, exact where batch scoring is compared with."""

from __future__ import annotations

import numpy as np
import pytest

from rectory.models.nearest import NearestItems
from rectory.params.candidates import AlsParams
from rectory.serving import champion as champion_module
from rectory.serving.champion import Champion
from rectory.serving.histories import Taken
from tests.conformance.synthetic import two_tastes
from tests.unit.serving.small import small_bundle


@pytest.fixture(params=[True, False], ids=["repeats", "once"])
def champion(request, monkeypatch) -> Champion:
    monkeypatch.setattr(champion_module, "DEPTH", 10)
    bundle = small_bundle(two_tastes(repeats=request.param), AlsParams(kind="als", components=8))
    model = bundle.model
    model.nearest = NearestItems.build(model.factors, model.queries)
    return Champion(bundle)


def taken(champion: Champion, user: int) -> Taken:
    seen = champion.bundle.seen
    items = seen.indices[seen.indptr[user] : seen.indptr[user + 1]].astype(np.int32)
    return Taken(items, np.zeros(len(items)), np.ones(len(items), dtype=np.float32))


def test_one_who_asks_is_answered_by_a_search_and_the_sample_check_by_asking_all(champion, monkeypatch):
    exact = [champion.of_batch(user) for user in range(5)]
    repeats = champion.bundle.repeats

    def none(*_args, **_kwargs):
        raise AssertionError("all items were asked")

    monkeypatch.setattr(type(champion.bundle.model), "recommend", none)
    for user in range(5):
        found = champion.ranked(user, None if repeats else taken(champion, user))
        # So small a catalogue is searched whole.
        np.testing.assert_array_equal(found.items, exact[user].items)
        np.testing.assert_allclose(found.heights, exact[user].heights, atol=1e-5)
        assert repeats or not np.isin(found.items, taken(champion, user).items).any()
    stranger = champion.ranked(-1, None)
    assert len(stranger.items) == 10
    with pytest.raises(AssertionError, match="all items"):
        champion.of_batch(0)


def test_lists_that_nobody_needs_are_not_made(champion):
    """A validation window in which nobody takes anything new asks for none."""
    champion.warm(np.zeros(0, dtype=np.int32), [])

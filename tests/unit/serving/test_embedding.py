"""Vectors bring together what goes with the same things, though it never met."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from rectory.serving.embedding import embedded
from rectory.serving.links import Links
from rectory.serving.mixing import Mix, Settings
from rectory.serving.types import Request
from tests.unit.serving.small import NOW, bought, small_engine

N = 40


def met(*pairs: tuple[int, int]) -> csr_array:
    """(N, N) counts of pairs."""
    rows, columns = zip(*pairs, strict=True) if pairs else ((), ())
    return csr_array((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=(N, N))


def two_circles() -> csr_array:
    """Even items with even ones, odd with odd, but not 0 with 2 and not 1 with 3."""
    apart = {(0, 2), (2, 0), (1, 3), (3, 1)}
    return met(*((a, b) for a in range(30) for b in range(30) if a != b and a % 2 == b % 2 and (a, b) not in apart))


def test_items_that_never_met_are_kindred_by_whom_they_meet() -> None:
    vectors = embedded(two_circles(), two_circles())
    assert vectors.dtype == np.float32 and len(vectors) == N
    cosine = vectors @ vectors.T
    np.testing.assert_allclose(np.diag(cosine)[:30], 1.0, rtol=1e-5)
    assert cosine[0, 2] > 0.5 > abs(cosine[0, 3]), cosine[0, :4]
    assert not vectors[30:].any(), "nothing is known of these"


def test_the_same_links_give_the_same_bytes() -> None:
    assert embedded(two_circles(), two_circles()).tobytes() == embedded(two_circles(), two_circles()).tobytes()


@pytest.mark.parametrize("n", [0, 1, 2, 3, 5])
def test_the_smallest_catalogues_have_vectors_too(n: int) -> None:
    few = csr_array(np.ones((n, n), dtype=np.float32))
    vectors = embedded(few, csr_array((n, n), dtype=np.float32))
    assert len(vectors) == n and np.isfinite(vectors).all()


def test_kindred_items_are_told_and_new_ones_are_not(tmp_path) -> None:
    links = Links(met(), met(), np.zeros(N), np.zeros(N), vectors=embedded(two_circles(), two_circles()))
    items, taken = np.array([0, 3, 35, N + 2], dtype=np.int32), np.array([2, N + 5], dtype=np.int32)
    found = links.kindred(items, taken, np.ones(2))
    assert found[0] > 0.5 > found[1] >= 0
    assert found[2] == found[3] == 0
    assert not links.kindred(items, taken[1:], np.ones(1)).any()
    links.save(tmp_path)
    np.testing.assert_array_equal(Links.load(tmp_path).kindred(items, taken, np.ones(2)), found)


def test_why_names_what_an_embedded_item_is_kindred_to() -> None:
    engine = small_engine(Mix({"embedded": 1.0, "embedded_last_squared": 0.5}, Settings()))
    engine.learn([bought("a", "i0003", NOW), bought("a", "i0005", NOW + 1)])
    request = Request("a", n=1, now=NOW + 2)
    why = engine.why(request, engine.recommend(request).items[0].item_id)
    assert sum(part for _, part in why.reasons) == pytest.approx(why.score)
    assert {words for words, _ in why.reasons} == {"because you took Thing i0003", "because you took Thing i0005"}

"""Items with the largest inner products, found in a graph instead of asking all: for one query among very many items.

Lists that are made for many users at once stay exact (`topk.rank_factors`): a matrix product is cheap there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from rectory.arrays import Float32Array, Int32Array
from rectory.files import read_json, write_json
from rectory.models.live_history import LiveHistory, top_of
from rectory.models.protocol import NO_ITEM, Recommender, TopK
from rectory.models.topk import empty_lists, rank_factors

if TYPE_CHECKING:
    from usearch.index import Index

LEAST_ITEMS = 50_000
"""Below it asking all items takes less than a millisecond."""
LEAST_RECALL = 0.95
_ENOUGH_RECALL = 0.99
_CONNECTIVITY = 32
_EXPANSIONS = (64, 128, 256, 512, 1024)
"""Items that a search keeps in hand: the fewest with enough recall are chosen, else the most."""
_K = 10
_SAMPLE = 256
_MOST = 1000
"""Items that are asked for at once; who excludes more is answered by asking all."""
_FACTS = "nearest.json"


@dataclass(frozen=True)
class NearestItems:
    """A graph (HNSW) over item factors.

    Inner products become distances by one more column that makes all items equally long (Bachrach et al., "Speeding Up
    the Xbox Recommender System Using a Euclidean Transformation for Inner-Product Spaces", RecSys 2014): without it
    the graph falls apart where items have biases of very different sizes.

    recall: share of the exact first 10 that are found, over a sample of the queries that it was built for.
    """

    index: Index
    recall: float

    @classmethod
    def build(cls, factors: Float32Array, queries: Float32Array) -> NearestItems:
        """Of all rows of `factors` (n_items, d), as wide a search as `queries` (n, d) need. Uses all cores.

        Live queries are moved by what was taken since the training, to where none of the training's may lie: those
        between two of them, which are harder to answer, are tried too.
        """
        from usearch.index import Index

        square = np.einsum("nd,nd->n", factors, factors, dtype=np.float64)
        level = np.sqrt(np.maximum(square.max(initial=0.0) - square, 0.0))
        index = Index(ndim=factors.shape[1] + 1, metric="cos", dtype="f32", connectivity=_CONNECTIVITY)
        index.add(
            np.arange(len(factors), dtype=np.uint64),
            np.column_stack([factors, level]).astype(np.float32),
            threads=os.cpu_count() or 1,
        )
        own = queries[np.linspace(0, len(queries) - 1, min(_SAMPLE, len(queries))).astype(np.int64)]
        asked = np.concatenate([own, 0.7 * own + 0.3 * own[::-1]]).astype(np.float32)
        exact = rank_factors(asked, factors, _K, None, None).items
        found = cls(index, 0.0)
        for expansion in _EXPANSIONS:
            index.expansion_search = expansion  # type: ignore[misc]  # it has a setter
            found = cls(index, found.recall_of(asked, exact))
            if found.recall >= _ENOUGH_RECALL:
                break
        return found

    def recall_of(self, queries: Float32Array, exact: Int32Array) -> float:
        """Mean share of the (n, k) exact lists, without their empty places, that a search for each query finds."""
        shares = [
            np.isin(wanted[wanted != NO_ITEM], self.near(query, len(wanted))).mean()
            for query, wanted in zip(queries, exact, strict=True)
            if (wanted != NO_ITEM).any()
        ]
        return float(np.mean(shares)) if shares else 1.0

    def near(self, query: Float32Array, k: int) -> Int32Array:
        """About the k items with the largest products, in about that order."""
        found = self.index.search(np.append(query, np.float32(0.0)), k, threads=1)
        return found.keys.astype(np.int32)

    def save(self, folder: Path, name: str) -> None:
        """name.usearch, and a line in nearest.json."""
        facts = read_json(folder / _FACTS) if (folder / _FACTS).is_file() else {}
        self.index.save(str(folder / f"{name}.usearch"))
        facts[name] = {"recall": self.recall, "expansion": self.index.expansion_search}
        write_json(folder / _FACTS, facts)

    @classmethod
    def load(cls, folder: Path, name: str) -> NearestItems | None:
        """As saved, read from the file as it is needed; None: there is none."""
        from usearch.index import Index

        known: dict[str, Any] = read_json(folder / _FACTS) if (folder / _FACTS).is_file() else {}
        index = Index.restore(str(folder / f"{name}.usearch"), view=True) if name in known else None
        if index is None:
            return None
        index.expansion_search = known[name]["expansion"]  # type: ignore[misc]
        return cls(index, known[name]["recall"])


@runtime_checkable
class SupportsNearest(Protocol):
    """A model whose scores are inner products of its queries and factors.

    nearest: of its factors; None: nobody has built it.
    """

    nearest: NearestItems | None

    @property
    def queries(self) -> Float32Array: ...
    @property
    def factors(self) -> Float32Array: ...


@runtime_checkable
class SupportsQuery(SupportsNearest, Protocol):
    """One that puts a history into a query."""

    def query_for(self, history: LiveHistory) -> Float32Array:
        """(d,) what the factors are multiplied by for who took this."""
        ...


def by_name(model: Recommender) -> Mapping[str, SupportsNearest]:
    """The model, or those that it is made of, as far as they can be searched."""
    parts: Mapping[str, Recommender] = getattr(model, "parts", {"model": model})
    return {name: part for name, part in parts.items() if isinstance(part, SupportsNearest)}


def build_nearest(model: Recommender, folder: Path) -> list[str]:
    """Build and save what makes the model's live answers quick among very many items; what was done, in words."""
    told = []
    for name, part in by_name(model).items():
        if len(part.factors) < LEAST_ITEMS:
            continue
        built = NearestItems.build(part.factors, part.queries)
        kept = built.recall >= LEAST_RECALL
        if kept:
            built.save(folder, name)
        told.append(
            f"index of {name}: recall@10 {built.recall:.3f}{'' if kept else ', too little: all items are asked'}"
        )
    return told


def restore_nearest(model: Recommender, folder: Path) -> None:
    """Let the model answer by what `build_nearest` saved; where there is none all items are asked."""
    for name, part in by_name(model).items():
        part.nearest = NearestItems.load(folder, name)


def top_by_product(
    model: SupportsNearest, query: Float32Array, k: int, exclude: Int32Array | None, items: Int32Array | None
) -> TopK:
    """(1, k) list by the product of the (d,) query with each of the model's factors.

    Args:
        exclude: codes that are not recommended. items: codes that may be, ascending; None: all.
    """
    factors, nearest = model.factors, model.nearest
    fetch = k + (0 if exclude is None else len(exclude)) + (0 if items is None else 2 * k)
    if nearest is not None and fetch <= min(_MOST, len(factors)) and (items is None or len(items)):
        codes = nearest.near(query, fetch)
        if exclude is not None:
            codes = codes[~np.isin(codes, exclude)]
        if items is not None:
            codes = codes[np.take(items, np.searchsorted(items, codes), mode="clip") == codes]
        if len(codes) >= k:
            scores = factors[codes] @ query
            first = np.lexsort((codes, -scores))[:k]
            result = empty_lists(1, k)
            result.items[0], result.scores[0] = codes[first], scores[first]
            return result
    return top_of(factors @ query, k, exclude, items)

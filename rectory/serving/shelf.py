"""The catalogue while serving: features, titles, what is hidden, what is new; filters over it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from rectory.arrays import Array, BoolArray, Float32Array, Float64Array, Int32Array
from rectory.serving.codes import Codes
from rectory.serving.links import gathered
from rectory.serving.types import Item, ItemFacts


@dataclass
class Card:
    """What is known of one item beside its interactions. values: feature -> set of texts, numbers as they are."""

    features: dict[str, Any] = field(default_factory=dict)
    categories: tuple[str, ...] = ()


class Shelf:
    """Items by code.

    Args:
        items: codes of all items; may grow.
        table: canonical item table (item_id, title and a column for each declared feature); None: there is none.
        kinds: declared feature -> its kind.
        matrix: (n_items, n_values) declared features as `feature_block` makes them. names: of its columns.
        available: (n_items,) bool; None: all.
        titles: item id -> title.
    """

    def __init__(
        self,
        items: Codes,
        *,
        table: pd.DataFrame | None,
        kinds: Mapping[str, str],
        matrix: csr_array,
        names: tuple[str, ...],
        available: BoolArray | None,
        titles: Mapping[str, str] | None,
    ) -> None:
        self.items = items
        self.kinds = dict(kinds)
        self.titles = dict(titles or {})
        self._columns = {} if table is None else {name: table[name] for name in kinds if name in table.columns}
        self._table_codes = (
            np.zeros(0, dtype=np.int32)
            if table is None
            else np.array([items.code(str(one)) for one in table["item_id"]], dtype=np.int32)
        )
        self._images = None if table is None or "image" not in table.columns else table["image"]
        self._row_of = {code: row for row, code in enumerate(self._table_codes.tolist()) if code >= 0}
        self._column = {name: place for place, name in enumerate(names)}
        self.names = names
        # TF-IDF rows of length 1, as the content model has them: what nearly all items share says little.
        having = np.bincount(matrix.indices, minlength=matrix.shape[1])
        self._rarity = np.log1p(matrix.shape[0] / np.maximum(having, 1)).astype(np.float32)
        self._matrix = _unit_rows(matrix, self._rarity)
        self._posted_rows: dict[int, tuple[Int32Array, Float32Array]] = {}
        self._posted: dict[int, Item] = {}
        n = len(items)
        self.shown = np.zeros(n, dtype=bool)
        self.shown[: matrix.shape[0]] = True if available is None else available[: matrix.shape[0]]
        self._masks: dict[tuple[str, Any], BoolArray] = {}

    def grow(self) -> None:
        """Room for all codes; what was never posted and stands in no table is shown all the same."""
        more = len(self.items) - len(self.shown)
        if more > 0:
            self.shown = np.concatenate([self.shown, np.ones(more, dtype=bool)])
            self._masks.clear()

    def put(self, item: Item) -> int:
        """Take up what was posted; gives the item's code."""
        code = self.items.add(item.item_id)
        self.grow()
        self._posted[code] = item
        self.shown[code] = not item.hidden
        if item.comment:
            self.titles[item.item_id] = item.comment
        self._posted_rows[code] = self._row(item.features)
        self._masks.clear()
        return code

    def remove(self, code: int) -> None:
        """Not shown any more; its code stays."""
        self.shown[code] = False
        self._masks.clear()

    def hidden(self, code: int) -> str | None:
        """Why an item is not shown; None: it may be."""
        if self.shown[code]:
            return None
        posted = self._posted.get(code)
        return "it is hidden in the catalogue" if posted is not None and posted.hidden else "it has left the catalogue"

    def title(self, code: int) -> str:
        """Title, or id."""
        one = self.items.ids[code]
        return self.titles.get(one, one)

    def facts(self, item_id: str) -> ItemFacts:
        """What is known of an item, posted features first."""
        code = self.items.code(item_id)
        if code < 0:
            return ItemFacts(item_id, known=False)
        row, posted = self._row_of.get(code), self._posted.get(code)
        told = {} if row is None else {name: _plain(column.iloc[row]) for name, column in self._columns.items()}
        features = {name: value for name, value in told.items() if value is not None}
        image = None if row is None or self._images is None else _plain(self._images.iloc[row])
        if posted is not None:
            features |= posted.features
            image = posted.features.get("image", image)
        return ItemFacts(
            item_id,
            known=True,
            hidden=not self.shown[code],
            title=self.title(code),
            image=image,
            categories=tuple(self.categories(code)),
            features=features,
            words=frozenset(self.feature_words(code)),
        )

    # Likeness of content.

    def profile(self, items: Int32Array, weights: Array) -> Float32Array | None:
        """(n_values,) of length 1: the weighted mean of the items' features; None: they have none."""
        if not self.names:
            return None
        column, value = gathered(self._matrix, items, np.asarray(weights))
        found = np.bincount(column, value, len(self.names)).astype(np.float32)
        for item, weight in zip(items.tolist(), np.asarray(weights).tolist(), strict=True):
            if item in self._posted_rows:
                if item < self._matrix.shape[0]:
                    old, values = self._night_row(item)
                    found[old] -= np.float32(weight) * values
                columns, values = self._posted_rows[item]
                found[columns] += np.float32(weight) * values
        length = float(np.linalg.norm(found))
        return found / np.float32(length) if length > 0 else None

    def content(self, profile: Float32Array, items: Int32Array) -> Float32Array:
        """(m,) cosine of the profile with each item's features."""
        inside = items < self._matrix.shape[0]
        rows = np.where(inside, items, 0)
        starts = self._matrix.indptr[rows]
        lengths = np.where(inside, self._matrix.indptr[rows + 1] - starts, 0)
        at = np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(int(lengths.sum()))
        parts = self._matrix.data[at] * profile[self._matrix.indices[at]]
        found = np.bincount(np.repeat(np.arange(len(items)), lengths), parts, len(items)).astype(np.float32)
        posted = self._posted_rows
        for place in [place for place, item in enumerate(items.tolist()) if item in posted] if posted else []:
            columns, values = self._posted_rows[int(items[place])]
            found[place] = float(values @ profile[columns])
        return found

    def row(self, item: int) -> tuple[Int32Array, Float32Array]:
        """Columns and values (length 1) of one item's features."""
        if item in self._posted_rows:
            return self._posted_rows[item]
        return self._night_row(item)

    def _night_row(self, item: int) -> tuple[Int32Array, Float32Array]:
        if item >= self._matrix.shape[0]:
            return np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.float32)
        part = slice(int(self._matrix.indptr[item]), int(self._matrix.indptr[item + 1]))
        return self._matrix.indices[part], self._matrix.data[part]

    def _row(self, features: Mapping[str, Any]) -> tuple[Int32Array, Float32Array]:
        columns: list[int] = []
        values: list[float] = []
        for name, value in features.items():
            texts = [f"{name}={one}" for one in self._texts(name, value)]
            known = [self._column[text] for text in texts if text in self._column]
            columns += known
            values += [1.0 / len(known)] * len(known)
        if not columns:
            return np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.float32)
        column = np.array(columns, dtype=np.int32)
        weight = np.array(values, dtype=np.float32) * self._rarity[column]
        return column, weight / np.float32(np.linalg.norm(weight))

    def _texts(self, name: str, value: Any) -> list[str]:
        """Texts of a posted value, as columns are named."""
        if value is None:
            return []
        kind = self.kinds.get(name, "categorical")
        if kind == "text":
            return str(value).lower().split()
        if kind == "numeric":
            return self._bins(name, value)
        return [str(one) for one in value] if isinstance(value, list | tuple | set) else [str(value)]

    def _bins(self, name: str, value: Any) -> list[str]:
        """The quantile bin of a number among this feature's columns, "low..high"; or the number itself."""
        try:
            number = float(value)
        except (TypeError, ValueError):
            return []
        for column in (one for one in self.names if one.startswith(f"{name}=")):
            low, _, high = column.partition("=")[2].partition("..")
            if (high and float(low) <= number <= float(high)) or (not high and float(low) == number):
                return [column.partition("=")[2]]
        return []

    # Filters.

    def allowed(self, where: Mapping[str, Any]) -> BoolArray:
        """(n_items,) bool: shown, and with each of the wanted features."""
        found = self.shown
        for name, wanted in where.items():
            found = found & self.having(name, wanted)
        return found

    def having(self, name: str, wanted: Any) -> BoolArray:
        """(n_items,) bool: items with this value, or one of these, or within {"min": ..., "max": ...}."""
        key = (name, repr(wanted))
        if key not in self._masks:
            self._masks[key] = self._mask(name, wanted)
        return self._masks[key]

    def _mask(self, name: str, wanted: Any) -> BoolArray:
        found = np.zeros(len(self.items), dtype=bool)
        if name in self._columns:
            kept = self._table_codes >= 0
            found[self._table_codes[kept]] = _holds(self._columns[name], wanted)[kept]
        for code, item in self._posted.items():
            value = item.features.get(name)
            has = _one_holds(value, wanted)
            if name == "category":
                has = has or _one_holds(list(item.categories), wanted)
            found[code] = has
        return found

    def categories(self, code: int) -> list[str]:
        """Categories of an item: as posted, else the values of a declared feature of that name."""
        if code in self._posted and self._posted[code].categories:
            return list(self._posted[code].categories)
        columns, _ = self.row(code)
        named = [self.names[column].partition("=") for column in columns.tolist()]
        for feature in ("category", "categories", "genre", "department"):
            if found := [value for name, _, value in named if name == feature]:
                return found
        return []

    def feature_words(self, code: int) -> list[str]:
        """Names of the item's feature columns."""
        return [self.names[column] for column in self.row(code)[0].tolist()]


def _holds(column: pd.Series, wanted: Any) -> BoolArray:
    if isinstance(wanted, Mapping):
        number = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
        low, high = float(wanted.get("min", -np.inf)), float(wanted.get("max", np.inf))
        return np.asarray((number >= low) & (number <= high))
    if _is_number(wanted):
        return np.asarray(pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64) == float(wanted))
    texts = _as_texts(wanted)
    listed = column.map(lambda value: isinstance(value, list | tuple | np.ndarray))
    found = column.astype(str).isin(texts).to_numpy(dtype=bool)
    if listed.any():
        among = column[listed].map(lambda values: any(str(one) in texts for one in values))
        found[listed.to_numpy(dtype=bool)] = among.to_numpy(dtype=bool)
    return found


def _one_holds(value: Any, wanted: Any) -> bool:
    if value is None:
        return False
    if isinstance(wanted, Mapping):
        try:
            return bool(float(wanted.get("min", -np.inf)) <= float(value) <= float(wanted.get("max", np.inf)))
        except (TypeError, ValueError):
            return False
    values = value if isinstance(value, list | tuple | set) else [value]
    if _is_number(wanted):
        return any(_is_number(one) and float(one) == float(wanted) for one in values)
    texts = _as_texts(wanted)
    return any(str(one) in texts for one in values)


def _plain(value: Any) -> Any:
    """A table's cell as a plain value; None for a missing one."""
    if isinstance(value, np.ndarray | list | tuple):
        return [str(one) for one in value]
    if pd.isna(value):
        return None
    return value.item() if isinstance(value, np.generic) else value


def _is_number(wanted: Any) -> bool:
    return isinstance(wanted, int | float) and not isinstance(wanted, bool)


def _as_texts(wanted: Any) -> set[str]:
    many: Iterable[Any] = wanted if isinstance(wanted, list | tuple | set | frozenset) else [wanted]
    return {str(one) for one in many}


def _unit_rows(matrix: csr_array, rarity: Float32Array) -> csr_array:
    data = matrix.data * rarity[matrix.indices]
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    length: Float64Array = np.sqrt(np.bincount(row, data.astype(np.float64) ** 2, matrix.shape[0]))
    data = (data / np.where(length > 0, length, 1.0)[row]).astype(np.float32)
    return csr_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)

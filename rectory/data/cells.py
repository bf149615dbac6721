"""Reading cells: ids, numbers and texts out of raw columns of whatever type.

Everything works on the distinct values of a column and then looks rows up: a log of millions of rows has thousands of
users, and Python-level text work on each row would be most of a run.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rectory.arrays import Array, BoolArray, Float64Array

MAX_ID_LENGTH = 512
# Control characters, line separators, and halves of surrogate pairs, which no file can hold.
_UNFIT = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ud800-\\udfff]")
# What exporters write for "nothing". Exact spellings only: a user may well be called Null.
_NOTHING = frozenset({"", "nan", "NaN", "None", "null", "NULL", "<NA>", "NaT"})
_NO_TEXT = object()
# A column is one of numbers when this share of its written cells are; the others are then faults, not texts.
_MOSTLY = 0.9


@dataclass(frozen=True)
class Texts:
    """A column of texts, coded.

    codes: (n,) int64 into `distinct`, -1 where nothing was written.
    distinct: (m,) object array of str, stripped, sorted by code point.
    """

    codes: Array
    distinct: Array

    def text(self) -> Array:
        """(n,) object array of str, None where nothing was written."""
        padded = np.append(self.distinct, np.asarray([None], dtype=object))
        return np.asarray(padded[self.codes], dtype=object)

    def category(self) -> pd.Categorical:
        codes: Any = self.codes  # Typed as a sequence of int; an array spares a Python object for each row.
        return pd.Categorical.from_codes(codes, categories=pd.Index(self.distinct, dtype=object))


def read_texts(column: pd.Series) -> Texts:
    """Cells as stripped text. 7 and 7.0 are both "7"; "007" stays; surrounding white space goes, inner stays."""
    codes, distinct = distinct_cells(column)
    cleaned = [_text(value) for value in distinct]
    places = {text: place for place, text in enumerate(sorted({text for text in cleaned if text is not None}))}
    # One more place for -1, which numpy reads as "the last".
    recoded = np.asarray([-1 if text is None else places[text] for text in cleaned] + [-1], dtype=np.int64)
    values = np.empty(len(places), dtype=object)
    values[:] = list(places)
    return Texts(recoded[codes], values)


def distinct_cells(column: pd.Series) -> tuple[Array, Array]:
    """(n,) codes, -1 for nothing, and the (m,) distinct cells that they stand for.

    A categorical has been coded already; some of its cells may have no row.

    Not plain `factorize`: where all cells are text it compares them as C strings, which end at the first NUL, and so
    would call "a" and "a\\0b" the same user; it also fails on halves of surrogate pairs. One cell that is no text makes
    it compare Python objects.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.codes.to_numpy(), column.cat.categories.to_numpy(dtype=object)
    cells = np.append(column.astype(object).to_numpy(), np.asarray([_NO_TEXT], dtype=object))
    codes, distinct = pd.factorize(cells)
    return codes[:-1], np.asarray(distinct[:-1], dtype=object)


def usable(text: str) -> bool:
    """Whether a text can be an id: of sane length, without control characters, and encodable as UTF-8."""
    return len(text) <= MAX_ID_LENGTH and not _UNFIT.search(text)


def read_numbers(column: pd.Series, decimal: str = ".") -> tuple[Float64Array, BoolArray]:
    """Numbers of a column.

    Returns:
        (n,) float64, NaN where missing or unreadable; (n,) bool: something was written there.
    """
    if column.dtype.kind in "biuf":
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
        return numbers, np.asarray(~np.isnan(numbers))
    codes, distinct = distinct_cells(column)
    texts = pd.Series([_text(value) for value in distinct], dtype=object)
    if decimal == "," and len(texts):
        comma = texts.str.contains(",", regex=False, na=False)
        texts = texts.mask(comma, texts.str.replace(".", "", regex=False).str.replace(",", ".", regex=False))
    numbers = pd.to_numeric(texts, errors="coerce").to_numpy(dtype=np.float64)
    return np.append(numbers, np.nan)[codes], np.append(texts.notna().to_numpy(dtype=bool), False)[codes]


def mostly_numbers(numbers: Float64Array, written: BoolArray) -> bool:
    """Whether a column that was read as numbers is one; an empty column is not."""
    return bool(written.any()) and float(np.isfinite(numbers[written]).mean()) >= _MOSTLY


def numbers_or_texts(column: pd.Series, decimal: str = ".") -> tuple[pd.Series, BoolArray]:
    """A column as float64 where it is one of numbers, else as text.

    Returns:
        (n,) series; (n,) bool: cells that had to be given up because they are no numbers.
    """
    if column.dtype.kind == "M":
        return column, np.zeros(len(column), dtype=bool)
    numbers, written = read_numbers(column, decimal)
    if mostly_numbers(numbers, written):
        return pd.Series(numbers, index=column.index), np.asarray(written & np.isnan(numbers))
    return pd.Series(read_texts(column).text(), index=column.index, dtype=object), np.zeros(len(column), dtype=bool)


def shown(frame: pd.DataFrame) -> pd.DataFrame:
    """Every cell as text, null where nothing was written: what the quarantine and examples show."""
    columns = {}
    for name in frame.columns:
        cells = frame[name].astype(object)
        if isinstance(frame[name].dtype, pd.CategoricalDtype):
            # There a missing text is NaN, elsewhere None.
            plain = cells.to_numpy(copy=True)
            plain[cells.isna().to_numpy(dtype=bool)] = None
            cells = pd.Series(plain, index=frame.index, dtype=object)
        columns[str(name)] = cells.map(str, na_action="ignore")
    return pd.DataFrame(columns, index=frame.index, dtype=object)


def _text(value: Any) -> str | None:
    if value is None or value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    text = str(value).strip()
    return None if text in _NOTHING else text

"""Declared features as sparse columns named "feature=value". No value, no entry: a missing value is not a value."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy.sparse import csr_array, hstack

from rectory.data.card import Feature
from rectory.data.ids import IdMap
from rectory.features.training_set import FeatureBlock
from rectory.params.sections import FeaturesParams

_LOG = logging.getLogger(__name__)
_WORD = r"[^\W\d_]\w+"
"""Two or more characters, starting with a letter."""


def feature_block(
    table: pd.DataFrame | None, id_column: str, ids: IdMap, features: Mapping[str, Feature], params: FeaturesParams
) -> FeatureBlock:
    """All declared features of one table, side by side.

    Each feature gives a row at most 1 in total, shared among its values: a film of four genres says no more than a
    film of one, and a long text does not drown the rest.

    Args:
        table: one row for each entity, a column for each feature; None: there is no table.
        id_column: its id column; ids that are not in `ids` are passed over.
        ids: rows of the block.
        features: name -> how to read it; a name without a column is passed over.
    Returns:
        (len(ids), n_values) block; features that end with no usable value are left out, which is logged.
    """
    matrices: list[csr_array] = []
    names: list[str] = []
    if table is not None:
        table = table.drop_duplicates(id_column)
        rows = pd.Series(ids.encode(table[id_column]), index=table.index)
        table, rows = table[rows >= 0], rows[rows >= 0]
        for name, feature in features.items():
            if name not in table.columns:
                _LOG.warning("feature %s: the %s table has no such column, left out", name, id_column)
                continue
            values = _VALUES[feature.kind](table[name], params)
            matrix, kept = _one_hot(rows, values, len(ids), params, weigh_by_rarity=feature.kind == "text")
            if not kept:
                _LOG.warning(
                    "feature %s: left out, none of its %d values is shared by %d or more (features.min_value_count)",
                    name,
                    values.nunique(),
                    params.min_value_count,
                )
                continue
            matrices.append(matrix)
            names.extend(f"{name}={value}" for value in kept)
    if not matrices:
        return FeatureBlock(csr_array((len(ids), 0), dtype=np.float32), ())
    return FeatureBlock(csr_array(hstack(matrices, format="csr", dtype=np.float32)), tuple(names))


def _one_hot(
    rows: pd.Series[int], values: pd.Series[str], n: int, params: FeaturesParams, *, weigh_by_rarity: bool
) -> tuple[csr_array, list[str]]:
    """(n, n_kept) rows that sum to 1 or 0, and the kept values in order.

    `values` carries the index of `rows`, once for each value that a row has.
    """
    pairs = pd.DataFrame({"row": rows.loc[values.index].to_numpy(), "value": values.to_numpy()}).drop_duplicates()
    counts = pairs["value"].value_counts().rename_axis("value").reset_index(name="n")
    counts = counts[counts["n"] >= params.min_value_count]
    counts = counts.sort_values(["n", "value"], ascending=[False, True]).head(params.max_values)
    kept = sorted(counts["value"])
    column = pd.Index(kept, dtype=object).get_indexer(pd.Index(pairs["value"], dtype=object))
    row, column = pairs["row"].to_numpy()[column >= 0], column[column >= 0]
    frequency = np.bincount(column, minlength=len(kept))
    weight = np.log1p(n / np.maximum(frequency, 1))[column] if weigh_by_rarity else np.ones(len(column))
    total = np.bincount(row, weights=weight, minlength=n)
    data = (weight / total[row]).astype(np.float32)
    matrix = csr_array((data, (row, column)), shape=(n, len(kept)))
    matrix.sort_indices()
    return matrix, kept


def _categorical(column: pd.Series, params: FeaturesParams) -> pd.Series:  # noqa: ARG001
    return column.dropna().astype(str)


def _multi(column: pd.Series, params: FeaturesParams) -> pd.Series:  # noqa: ARG001
    return column.dropna().explode().dropna().astype(str)


def _text(column: pd.Series, params: FeaturesParams) -> pd.Series:  # noqa: ARG001
    return column.dropna().astype(str).str.lower().str.findall(_WORD).explode().dropna().astype(str)


def _numeric(column: pd.Series, params: FeaturesParams) -> pd.Series:
    """Quantile bins, named by their ends; a column of few distinct numbers keeps them as they are."""
    numbers = pd.to_numeric(column, errors="coerce").astype("float64")
    numbers = numbers[np.isfinite(numbers)]
    if numbers.nunique() <= params.numeric_bins:
        return numbers.map("{:.12g}".format).astype(str) if len(numbers) else numbers.astype(str)
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, params.numeric_bins + 1)))
    labels = np.array([f"{low:.12g}..{high:.12g}" for low, high in pairwise(edges)], dtype=object)
    place = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, len(labels) - 1)
    return pd.Series(labels[place], index=numbers.index, dtype=object)


_VALUES = {"categorical": _categorical, "multi": _multi, "text": _text, "numeric": _numeric}
"""Kind -> the values of a column, one entry for each value that a row has, indexed by the row."""

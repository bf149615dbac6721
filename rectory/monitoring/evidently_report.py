"""The only file that imports evidently: it computes the distances that are judged and draws the page that is kept.

The import costs 8-10 s and 290 MB, so it happens inside the function. Current comes first in `Report.run`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from rectory.arrays import Array
from rectory.errors import RectoryError
from rectory.files import replacing
from rectory.monitoring.behaviour import Column


def evidently_distances(
    columns: Sequence[Column],
    reference: dict[str, Array],
    current: dict[str, Array],
    thresholds: dict[str, float],
    page: Path,
) -> dict[str, float]:
    """Distance of each column; the HTML report (about 4 MB, opens offline) is written to `page`.

    Args:
        reference, current: column name -> float64 numbers or codes of the column's labels; lengths may differ.
        thresholds: column name -> distance from which the page marks the column.
    """
    # Read at import: without it Evidently would send usage events to its makers.
    os.environ["DO_NOT_TRACK"] = "1"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataDriftPreset

        definition = DataDefinition(
            numerical_columns=[column.name for column in columns if column.kind == "numeric"],
            categorical_columns=[column.name for column in columns if column.kind != "numeric"],
        )
        preset = DataDriftPreset(
            columns=[column.name for column in columns],
            num_method="wasserstein",
            cat_method="jensenshannon",
            per_column_method={column.name: "psi" for column in columns if column.method == "psi"},
            per_column_threshold=thresholds,
        )
        snapshot = Report([preset]).run(
            Dataset.from_pandas(_frame(columns, current), definition),
            Dataset.from_pandas(_frame(columns, reference), definition),
        )
        metrics = snapshot.dict()["metrics"]
        with replacing(page) as scratch:
            snapshot.save_html(str(scratch))
    found = {
        metric["config"]["column"]: float(metric["value"])
        for metric in metrics
        if metric["config"].get("type", "").endswith(":ValueDrift")
    }
    missing = [column.name for column in columns if column.name not in found]
    if missing:
        raise RectoryError(
            f"Evidently gave no distance for {missing}. Install the versions of requirements.lock: `make install`."
        )
    return found


def _frame(columns: Sequence[Column], values: dict[str, Array]) -> pd.DataFrame:
    """One frame of columns of unequal length (user_activity has a row a user); Evidently drops the nan at the ends."""
    series: dict[str, pd.Series] = {}
    for column in columns:
        if column.kind == "numeric":
            series[column.name] = pd.Series(values[column.name])
        else:
            labels = np.asarray(column.labels, dtype=object)
            series[column.name] = pd.Series(labels[values[column.name]], dtype=object)
    return pd.DataFrame(series)

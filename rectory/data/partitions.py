"""The log on disk: one parquet file a month, so that a new day leaves the files of all other months as they are.

`interactions.parquet` is a folder of such files, which pandas, arrow and DuckDB read as one table. Sorted names are the
order of time. DVC keeps each file once, however many snapshots it is part of: figures in docs/adr/0005.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from rectory.errors import DataError

_EMPTY = "empty.parquet"


def months(log: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """(YYYY-MM, its rows) for each month in UTC that has rows; `log` is sorted by timestamp."""
    month = log["timestamp"].dt.tz_localize(None).to_numpy().astype("datetime64[M]")
    if not len(month):
        return
    starts = np.flatnonzero(np.append(True, month[1:] != month[:-1]))
    for start, end in zip(starts, np.append(starts[1:], len(month)), strict=True):
        yield str(month[start]), log.iloc[start:end]


def write_months(log: pd.DataFrame, folder: Path, types: Mapping[str, str]) -> None:
    """Write the log's months into `folder`, which is made. A month's bytes depend on its own rows only.

    Args:
        types: column -> text | list, for columns whose type must not depend on what is in them.
    """
    folder.mkdir()
    if log.empty:
        write_table(log, folder / _EMPTY, types)
    for month, rows in months(log):
        part = rows.copy(deep=False)
        for name in part.columns[part.dtypes == "category"]:
            part[name] = part[name].cat.remove_unused_categories()
        write_table(part, folder / f"{month}.parquet", types)


def write_table(frame: pd.DataFrame, path: Path, types: Mapping[str, str]) -> None:
    """Parquet whose column types are those of the card even where a column is empty."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrow = {"text": pa.string(), "list": pa.list_(pa.string())}
    arrays = [
        pa.Array.from_pandas(frame[name], type=arrow[types[name]] if name in types else None) for name in frame.columns
    ]
    table = pa.Table.from_arrays(arrays, names=[str(name) for name in frame.columns])
    pq.write_table(table, path, compression="zstd")


def parts(table: Path) -> list[Path]:
    """Files of a table in order: those of the folder, or the one file that it is.

    Raises:
        DataError: there is neither.
    """
    if table.is_file():
        return [table]
    found = sorted(table.glob("*.parquet"))
    if not found:
        raise DataError(f"{table} is missing: run the step that writes it first (see dvc.yaml).")
    return found

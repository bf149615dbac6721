"""Ids are strings end to end; arrays hold their codes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from rectory.arrays import Array, Int32Array
from rectory.files import read_parquet, write_parquet

UNKNOWN = -1


class IdMap:
    """A fixed order of distinct ids: code i stands for ids[i].

    Args:
        ids: distinct strings, in code order.
    """

    def __init__(self, ids: Iterable[str]) -> None:
        self._index = pd.Index(np.asarray(list(ids), dtype=object), dtype=object)
        if not self._index.is_unique:
            raise ValueError("ids are not distinct")

    def __len__(self) -> int:
        return len(self._index)

    @property
    def ids(self) -> Array:
        """(n,) object array of str."""
        return self._index.to_numpy()

    def encode(self, ids: Iterable[str]) -> Int32Array:
        """(n,) int32 codes; UNKNOWN (-1) for ids that are not in the map."""
        return np.asarray(self._index.get_indexer(pd.Index(ids, dtype=object)), dtype=np.int32)

    def decode(self, codes: Array) -> Array:
        """(n,) object array of str; codes must be known (>= 0)."""
        return np.asarray(self.ids[codes], dtype=object)

    def save(self, path: Path, column: str = "id") -> None:
        write_parquet(pd.DataFrame({column: self.ids}), path)

    @classmethod
    def load(cls, path: Path, column: str = "id") -> IdMap:
        return cls(read_parquet(path, [column])[column])

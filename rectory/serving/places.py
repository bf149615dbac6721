"""Where codes stand in a list, without sorting it."""

from __future__ import annotations

import numpy as np

from rectory.arrays import BoolArray, Int32Array


class Places:
    """Where items stand in a list, found without sorting: a cell for each item, whatever an earlier list left in it."""

    def __init__(self) -> None:
        self._cell: Int32Array = np.zeros(0, dtype=np.int32)

    def grow(self, n_items: int) -> None:
        """Room for codes below n_items."""
        if len(self._cell) < n_items:
            self._cell = np.zeros(n_items + n_items // 8, dtype=np.int32)

    def last_of_equals(self, codes: Int32Array) -> Int32Array:
        """(m,) for each of the codes the place of the last one that is equal to it."""
        self._cell[codes] = np.arange(len(codes), dtype=np.int32)
        return self._cell[codes]

    def find(self, items: Int32Array, codes: Int32Array) -> tuple[Int32Array, BoolArray]:
        """Place in the distinct `codes` of each item, and whether it is there at all."""
        self.last_of_equals(codes)
        place = np.minimum(self._cell[items], max(len(codes) - 1, 0))
        return place, codes[place] == items if len(codes) else np.zeros(len(items), dtype=bool)

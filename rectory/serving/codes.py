"""Ids that may grow while serving: code i stands for the i-th id, and no code ever changes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from rectory.arrays import Array, Int32Array

UNKNOWN = -1


class Codes:
    """Code of each id.

    Args:
        ids: distinct strings, in code order.
    """

    def __init__(self, ids: Iterable[str]) -> None:
        self.ids: list[str] = [str(one) for one in ids]
        self._code = {one: code for code, one in enumerate(self.ids)}

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, one: str) -> bool:
        return one in self._code

    def code(self, one: str) -> int:
        """UNKNOWN (-1) for an id that was never added."""
        return self._code.get(one, UNKNOWN)

    def add(self, one: str) -> int:
        """The id's code; a new one at the end for an id that has none."""
        code = self._code.get(one)
        if code is None:
            code = len(self.ids)
            self._code[one] = code
            self.ids.append(one)
        return code

    def encode(self, distinct: Iterable[str], place: Array) -> Int32Array:
        """(n,) codes of distinct[place], adding what is new."""
        codes = np.fromiter((self.add(one) for one in distinct), dtype=np.int32)
        return codes[place] if len(codes) else np.zeros(0, dtype=np.int32)

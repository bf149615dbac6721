"""Who is to be forgotten, said in the log without the id: by its keyed hash under the log's own random id.

Whoever forgets compares marks with the ids that they know. Who has the log and a list of ids can still ask which of
them are in it, as the service itself must.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

_SHORT_BYTES = 8


@dataclass(frozen=True)
class Forgotten:
    """A user is to be forgotten by whoever knows of them. mark: hex."""

    log_id: str
    mark: str

    @classmethod
    def of(cls, log_id: str, user_id: str) -> Forgotten:
        return cls(log_id, _digest(log_id, user_id).hex())

    def means(self, user_id: str | None) -> bool:
        return user_id is not None and _digest(self.log_id, user_id).hex() == self.mark

    def among(self, user_ids: Iterable[str | None]) -> set[str]:
        """Those that are meant; each is looked at once."""
        return {one for one in set(user_ids) if one is not None and self.means(one)}


class MarkedIds:
    """Finds ids by their marks in a list that grows: eight bytes each, made once, when first asked for.

    Args:
        ids: may get longer at its end, never changes otherwise.
    """

    def __init__(self, log_id: str, ids: Sequence[str]) -> None:
        self._log_id = log_id
        self._ids = ids
        self._short = np.zeros(0, dtype=np.uint64)

    def find(self, gone: Forgotten) -> list[str]:
        new = self._ids[len(self._short) :]
        if new:
            parts = b"".join(_digest(self._log_id, one)[:_SHORT_BYTES] for one in new)
            self._short = np.concatenate([self._short, np.frombuffer(parts, dtype=np.uint64)])
        wanted = np.frombuffer(bytes.fromhex(gone.mark)[:_SHORT_BYTES], dtype=np.uint64)[0]
        places = np.flatnonzero(self._short == wanted).tolist()
        return [self._ids[place] for place in places if gone.means(self._ids[place])]


def _digest(log_id: str, user_id: str) -> bytes:
    # BLAKE2b takes a key by itself: half the time of an HMAC, and there may be millions of ids.
    return hashlib.blake2b(user_id.encode("utf-8", "surrogatepass"), key=log_id.encode(), digest_size=32).digest()

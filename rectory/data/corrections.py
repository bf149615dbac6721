"""Rows that say that an earlier row was wrong: corrections, deletions, and files that are bad as a whole.

With `row_id` in the card a row is a version of what has that id: the last version counts. `updated_at` says which one
is last; without it, or where it says nothing, the order of the source does. A version that is bad corrects nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from rectory.arrays import Array, BoolArray
from rectory.data.card import Card
from rectory.data.cells import read_texts
from rectory.data.timestamps import parse_timestamps
from rectory.errors import DataError

SUPERSEDED = "superseded by a later correction"
DELETED = "deleted by source"
SOURCE_FILE = "_source_file"
"""Column that `fetch` adds to a raw table that comes from several files: the file's name."""
SET_ASIDE = "in a file that was set aside"
_YES = frozenset({"true", "t", "yes", "y", "1", "d", "delete", "deleted"})
_NO = frozenset({"false", "f", "no", "n", "0", ""})


@dataclass(frozen=True)
class Versions:
    """What the card's `row_id`, `updated_at` and `deleted` say of each of n rows.

    row: (n,) int64 code of the row id, -1 where there is none; None: the card names no row_id.
    updated: (n,) datetime64[ns, UTC], NaT where it is not written; None: the card names no updated_at.
    deleted: (n,) bool: the source takes this row, or all that have its id, back.
    """

    row: Array | None
    updated: pd.Series | None
    deleted: BoolArray

    @classmethod
    def of(cls, card: Card, raw: pd.DataFrame) -> Versions:
        """Raises:
        DataError: a cell of `deleted` says neither yes nor no.
        """
        log = card.interactions
        row = read_texts(raw[log.row_id]).codes.astype(np.int64) if log.row_id else None
        updated = parse_timestamps(raw[log.updated_at.column], log.updated_at).times if log.updated_at else None
        deleted = np.zeros(len(raw), dtype=bool)
        if log.deleted:
            texts = read_texts(raw[log.deleted])
            words = [str(text).strip().lower() for text in texts.distinct]
            odd = sorted(set(words) - _YES - _NO)
            if odd:
                raise DataError(
                    f"{card.name}: `interactions.deleted: {log.deleted}` has cells {odd[:5]}, which say neither yes "
                    f"nor no. Write one of {sorted(_YES)} or {sorted(_NO - {''})}, or leave the cell empty."
                )
            deleted = np.asarray([word in _YES for word in words] + [False], dtype=bool)[texts.codes]
        return cls(row, updated, deleted)

    def later_than(self, moment: pd.Timestamp) -> BoolArray:
        """(n,) bool: rows that nobody knew yet at `moment`."""
        if self.updated is None:
            return np.zeros(len(self.deleted), dtype=bool)
        return (self.updated > moment).to_numpy(dtype=bool)

    def overruled(self, counts: BoolArray) -> tuple[BoolArray, BoolArray]:
        """Rows that a later version overrules: (n,) bool by a correction, (n,) bool by a deletion.

        Args:
            counts: (n,) bool: rows that may be a version at all: known, and not bad.
        """
        nobody = np.zeros(len(counts), dtype=bool)
        if self.row is None:
            return nobody, nobody.copy()
        at = np.flatnonzero(counts & (self.row >= 0))
        moment = np.full(len(at), np.iinfo(np.int64).min)
        if self.updated is not None:
            moment = self.updated.iloc[at].to_numpy(dtype="datetime64[ns]").astype(np.int64)  # NaT is the smallest
        # lexsort is stable: of equal moments the later row of the source counts.
        ordered = at[np.lexsort((moment, self.row[at]))]
        codes = self.row[ordered]
        last = ordered[np.append(codes[1:] != codes[:-1], True)] if len(ordered) else ordered
        winner = np.full(int(self.row.max(initial=-1)) + 1, -1)
        winner[self.row[last]] = last
        of_each = winner[self.row[at]]
        loser = of_each != at
        by_deletion = self.deleted[of_each]
        corrected, deleted = nobody, nobody.copy()
        corrected[at[loser & ~by_deletion]] = True
        deleted[at[loser & by_deletion]] = True
        return corrected, deleted


def bad_files(files: pd.Series, bad: BoolArray, limit: float) -> dict[str, float]:
    """Name -> share of bad rows, for files of a table with a larger share of them than `limit`.

    Args:
        files: (n,) file of each row. bad: (n,) bool.
    """
    found = pd.Series(bad).groupby(files.astype(str).to_numpy()).mean()
    return {str(name): float(share) for name, share in found.items() if share > limit}

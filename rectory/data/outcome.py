"""What became of the rows of one raw table: kept, filtered on purpose, or quarantined with a reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from rectory.arrays import Array, BoolArray
from rectory.data.cells import shown
from rectory.data.corrections import SET_ASIDE, SOURCE_FILE

_LONGEST_CELL = 200


class Fate:
    """Books of one table while its rows are looked at. Each row has one fate, so that counts add up by construction.

    Args:
        rows: number of rows of the raw table.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self._filter = np.full(rows, -1, dtype=np.int16)
        self._filters: list[str] = []

    @property
    def left(self) -> BoolArray:
        """(rows,) bool: not filtered so far."""
        return np.asarray(self._filter < 0)

    def leave_out(self, rows: BoolArray, reason: str, *, if_any: bool = False) -> None:
        """Count rows as filtered; one that already was keeps its first reason. if_any: no row, no mention."""
        if if_any and not (rows & self.left).any():
            return
        if reason not in self._filters:
            self._filters.append(reason)
        self._filter[rows & self.left] = self._filters.index(reason)

    def filtered(self) -> dict[str, int]:
        counts = np.bincount(self._filter[~self.left], minlength=len(self._filters))
        return {reason: int(count) for reason, count in zip(self._filters, counts, strict=True)}


@dataclass(frozen=True)
class Outcome:
    """One table after validation.

    frame: canonical rows.
    quarantine: bad rows as text, with `table`, `row` (1 is the first data row) and `reason`.
    nulled: column -> cells that were given up as unreadable while their row was kept.
    files: that the raw table came from.
    """

    table: str
    frame: pd.DataFrame
    quarantine: pd.DataFrame
    rows_in: int
    filtered: dict[str, int]
    quarantined: dict[str, int]
    examples: dict[str, dict[str, str | None]]
    nulled: dict[str, int] = field(default_factory=dict)
    files: int = 1

    @property
    def set_aside(self) -> dict[str, int]:
        """Rows of each file that is bad as a whole, by its reason in the quarantine."""
        return {reason: count for reason, count in self.quarantined.items() if reason.startswith(SET_ASIDE)}

    @property
    def bad_share(self) -> float:
        """Of the rows that were not left out on purpose; files that were set aside are a matter of their own."""
        aside = sum(self.set_aside.values())
        looked_at = self.rows_in - sum(self.filtered.values()) - aside
        return (len(self.quarantine) - aside) / looked_at if looked_at else 1.0 if aside else 0.0

    def facts(self) -> dict[str, Any]:
        return {
            "rows_in": self.rows_in,
            "rows_kept": len(self.frame),
            "rows_quarantined": len(self.quarantine),
            "rows_filtered": sum(self.filtered.values()),
            "quarantined": self.quarantined,
            "filtered": self.filtered,
            "examples": self.examples,
            "nulled": self.nulled,
        }


def settle(
    table: str, raw: pd.DataFrame, fate: Fate, kept: pd.DataFrame, *, bad: Array, reasons: Array, nulled: dict[str, int]
) -> Outcome:
    """Close the books.

    Args:
        kept: canonical rows.
        bad: (n_bad,) row numbers of the raw table, ascending; reasons: (n_bad,) str.
    """
    rows = shown(raw.iloc[bad])
    taken = {"table", "row", "reason"}
    rows.columns = pd.Index([f"raw_{name}" if name in taken else name for name in rows.columns])
    quarantine = rows.reset_index(drop=True)
    quarantine.insert(0, "table", table)
    quarantine.insert(1, "row", np.asarray(bad, dtype=np.int64) + 1)
    quarantine.insert(2, "reason", np.asarray(reasons, dtype=object))
    counts = pd.Series(reasons, dtype=object).value_counts()
    firsts = quarantine.drop_duplicates("reason").set_index("reason").drop(columns=["table"])
    examples = {
        str(reason): {
            str(name): None if pd.isna(cell) else str(cell)[:_LONGEST_CELL] for name, cell in firsts.loc[reason].items()
        }
        for reason in firsts.index
    }
    return Outcome(
        table=table,
        frame=kept,
        quarantine=quarantine,
        rows_in=len(raw),
        filtered=fate.filtered(),
        quarantined={str(reason): int(count) for reason, count in counts.items()},
        examples=examples,
        nulled={name: count for name, count in nulled.items() if count},
        files=int(raw[SOURCE_FILE].nunique()) if SOURCE_FILE in raw.columns else 1,
    )

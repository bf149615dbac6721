"""Raw tables in, canonical tables and a quarantine out. docs/validation.md explains reasons and checks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from rectory.data.canonical import (
    LeftOut,
    Limits,
    canonical_interactions,
    interactions_columns,
    require_columns,
)
from rectory.data.card import Card
from rectory.data.checks import all_checks
from rectory.data.entities import arrow_types, canonical_entities, feature_kinds
from rectory.data.forgotten import Forgotten
from rectory.data.outcome import Outcome
from rectory.data.partitions import write_months, write_table
from rectory.data.summary import summarise
from rectory.errors import DataError
from rectory.files import read_parquet, replacing, write_json
from rectory.params.sections import ValidateParams

_NOBODY = Forgotten()


@dataclass(frozen=True)
class Validated:
    """What validation found; also when the data is refused, so that people can look into it.

    tables: "interactions", and "items", "users" where the card has them: canonical frames.
    quarantine: every bad row as text, with `table`, `row`, `reason`.
    report: validation.json.
    column_types: table -> column -> text | list.
    """

    tables: dict[str, pd.DataFrame]
    quarantine: pd.DataFrame
    report: dict[str, Any]
    column_types: dict[str, dict[str, str]]
    repeats: bool

    @property
    def refusal(self) -> str | None:
        """Why nothing may be trained on this; None: it may."""
        failed = [check["text"] for check in self.report["checks"] if check["status"] == "fail"]
        return f"{self.report['dataset']}: {' '.join(failed)}" if failed else None

    def raise_if_refused(self) -> None:
        """Raises:
        DataError: a check failed; names every one that did.
        """
        if self.refusal is not None:
            raise DataError(self.refusal)

    def save(self, folder: Path) -> None:
        """Atomically write the canonical tables and tables.json: equal tables give equal bytes."""
        with replacing(folder) as scratch:
            scratch.mkdir()
            for name, frame in self.tables.items():
                write = write_months if name == "interactions" else write_table
                write(frame, scratch / f"{name}.parquet", self.column_types[name])
            facts = {
                "dataset": self.report["dataset"],
                "as_of": self.report["as_of"],
                "repeats": self.repeats,
                "rows": {name: len(frame) for name, frame in self.tables.items()},
            }
            write_json(scratch / "tables.json", facts)


def validate(
    card: Card,
    raw: Path,
    params: ValidateParams,
    as_of: datetime | None = None,
    previous: dict[str, Any] | None = None,
    *,
    now: datetime | None = None,
    forgotten: Forgotten = _NOBODY,
) -> Validated:
    """Look at every row once; find all faults.

    Args:
        raw: folder that `fetch` wrote.
        as_of: nothing after it is looked at; None: no limit.
        previous: summary of the snapshot before, to compare with.
        now: this machine's clock (tests set it).
        forgotten: users whose rows are left out, in whichever table.
    Raises:
        DataError: a table is missing, empty, unreadable or lacks a column, or nothing lies before `as_of`.
        CardError: a filter, time format, zone or name in the card is wrong.
    """
    clock = pd.Timestamp.now(tz="UTC") if now is None else pd.Timestamp(now).tz_convert("UTC")
    limit = None if as_of is None else pd.Timestamp(as_of).tz_convert("UTC")
    log = read_parquet(raw / "interactions.parquet", coded=True)
    require_columns(card, "interactions", interactions_columns(card), log)
    outcomes: dict[str, Outcome] = {}
    left_out: dict[str, list[LeftOut]] = {}
    for table in ("items", "users"):
        if getattr(card, table) is not None:
            entities = read_parquet(raw / f"{table}.parquet")
            outcomes[table], left_out[table] = canonical_entities(card, table, entities, forgotten)
    limits = Limits(
        as_of=limit,
        newest=clock + pd.Timedelta(seconds=params.max_future_seconds),
        quarantine_duplicates=params.duplicates == "quarantine",
        max_bad_share=params.max_bad_share,
        forgotten=forgotten,
    )
    interactions, moments = canonical_interactions(card, log, limits, left_out)
    outcomes = {"interactions": interactions, **outcomes}
    if limit is not None:
        _require_rows_before(card, limit, moments.times)
    tables = {name: outcome.frame for name, outcome in outcomes.items()}
    summary = summarise(card, tables)
    report = {
        "dataset": card.name,
        "as_of": summary.get("last"),
        "as_of_asked": None if limit is None else limit.isoformat(),
        "tables": {name: outcome.facts() for name, outcome in outcomes.items()},
        "checks": all_checks(card, outcomes, moments, summary, limits=params, now=limit or clock, previous=previous),
        "summary": summary,
    }
    return Validated(
        tables=tables,
        quarantine=pd.concat([outcome.quarantine for outcome in outcomes.values()], ignore_index=True),
        report=report,
        column_types=_column_types(card, tables["interactions"]),
        repeats=card.interactions.repeats == "allow",
    )


def _require_rows_before(card: Card, as_of: pd.Timestamp, times: pd.Series) -> None:
    if (times <= as_of).any() or not times.notna().any():
        return
    raise DataError(
        f"{card.name}: no interaction lies before as_of {as_of.isoformat()}; the log runs from "
        f"{times.min().isoformat()} to {times.max().isoformat()}. "
        "Choose a later `as_of` in params.yaml, or null for all of the log."
    )


def _column_types(card: Card, log: pd.DataFrame) -> dict[str, dict[str, str]]:
    texts = {name: "text" for name in log.columns if log[name].dtype == object}
    types = {"interactions": texts}
    for table, id_column in (("items", "item_id"), ("users", "user_id")):
        entities = getattr(card, table)
        if entities is not None:
            types[table] = {id_column: "text", **arrow_types(feature_kinds(entities))}
    return types

"""Small raw tables and the cards that read them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from rectory.data.card import UNREADABLE, Card
from rectory.data.validation import Validated, validate
from rectory.params.sections import ValidateParams

NOW = datetime(2024, 6, 1, tzinfo=UTC)
SMALL: dict[str, Any] = {"min_interactions": 1, "min_users": 1, "min_items": 1, "max_bad_share": 1.0}
ROWS: dict[str, list[Any]] = {
    "who": ["u1", "u1", "u2", "u3"],
    "what": ["a", "b", "a", "c"],
    "when": ["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04"],
    "kind": ["view", "buy", "view", "buy"],
    "many": ["1", "2", "3", "4"],
}


def make_card(**changes: Any) -> Card:
    """A card over who, what, when; `interactions`, `items`, `users` and other keys as given."""
    tree: dict[str, Any] = {"name": "small", **changes}
    tree["interactions"] = {
        "user_id": "who",
        "item_id": "what",
        "timestamp": {"column": "when"},
        **changes.get("interactions", {}),
    }
    source: dict[str, Any] = {"kind": "files"}
    for table in ("interactions", "items", "users"):
        if table in tree:
            source[table] = {"path": f"{table}.csv"}
    tree["source"] = source | changes.get("source", {})
    return Card.model_validate(tree)


def write_raw(folder: Path, log: Any, **tables: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in {"interactions": log, **tables}.items():
        pd.DataFrame(table).to_parquet(folder / f"{name}.parquet", index=False)
    return folder


def run_validate(folder: Path, log: Any, card: Card | None = None, **more: Any) -> Validated:
    """Validate with limits that let small tables pass; `params` changes them, item and user tables by name."""
    tables = {name: more.pop(name) for name in ("items", "users") if name in more}
    params = ValidateParams(**(SMALL | more.pop("params", {})))
    raw = write_raw(folder / "raw", log, **tables)
    return validate(card or make_card(), raw, params, now=more.pop("now", NOW), **more)


def reasons(found: Validated, table: str = "interactions") -> dict[str, int]:
    return dict(found.report["tables"][table]["quarantined"])


def adds_up(found: Validated) -> bool:
    return all(
        facts["rows_in"] == facts["rows_kept"] + facts["rows_quarantined"] + facts["rows_filtered"]
        and facts["rows_quarantined"] == sum(facts["quarantined"].values())
        and facts["rows_filtered"] == sum(facts["filtered"].values())
        and facts["rows_kept"] == len(found.tables[table])
        and facts["rows_quarantined"] == int((found.quarantine["table"] == table).sum())
        for table, facts in found.report["tables"].items()
    )


__all__ = ["NOW", "ROWS", "SMALL", "UNREADABLE", "adds_up", "make_card", "reasons", "run_validate", "write_raw"]

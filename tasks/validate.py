"""Step validate: raw tables -> canonical tables, quarantine, counts and checks."""

from __future__ import annotations

from dataclasses import dataclass

from rectory.data.card import load_card
from rectory.data.forgotten import read_forgotten
from rectory.data.snapshots import previous_snapshot
from rectory.data.validation import validate
from rectory.files import write_json, write_parquet
from rectory.params import Params
from rectory.workspace import Workspace
from tasks import main


@dataclass(frozen=True)
class ValidateResult:
    """Rows of the interactions table; warnings: names of the checks to look at."""

    rows_in: int
    rows_kept: int
    rows_quarantined: int
    rows_filtered: int
    warnings: tuple[str, ...]


def run(params: Params, workspace: Workspace) -> ValidateResult:
    """Write tables/, quarantine.parquet and validation.json; refuse the data only after people can look into it."""
    card = load_card(workspace.card(params.dataset))
    before = previous_snapshot(workspace, card.name)
    found = validate(
        card,
        workspace.raw,
        params.validation,
        params.as_of,
        before.summary if before else None,
        forgotten=read_forgotten(workspace, card.name),
    )
    write_parquet(found.quarantine, workspace.quarantine)
    write_json(workspace.validation, found.report)
    found.raise_if_refused()
    found.save(workspace.tables)
    rows = found.report["tables"]["interactions"]
    warnings = tuple(check["name"] for check in found.report["checks"] if check["status"] == "warn")
    counts = {name: rows[name] for name in ("rows_in", "rows_kept", "rows_quarantined", "rows_filtered")}
    return ValidateResult(**counts, warnings=warnings)


if __name__ == "__main__":
    main("validate", run)

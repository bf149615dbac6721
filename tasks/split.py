"""Step split: canonical interactions -> train, valid and test windows in time."""

from __future__ import annotations

from dataclasses import dataclass

from rectory.data.splits import temporal_split
from rectory.files import read_parquet, replacing, write_json, write_parquet
from rectory.params import Params
from rectory.workspace import Workspace
from tasks import main


@dataclass(frozen=True)
class SplitResult:
    """rows: window -> number of rows."""

    rows: dict[str, int]
    test_start: str


def run(params: Params, workspace: Workspace) -> SplitResult:
    """Write train.parquet, valid.parquet, test.parquet and split.json."""
    split = temporal_split(read_parquet(workspace.tables / "interactions.parquet"), params.split)
    with replacing(workspace.split) as scratch:
        scratch.mkdir()
        for name in ("train", "valid", "test"):
            write_parquet(getattr(split, name), scratch / f"{name}.parquet")
        write_json(scratch / "split.json", split.facts)
    return SplitResult(split.facts["rows"], split.facts["test_start"])


if __name__ == "__main__":
    main("split", run)

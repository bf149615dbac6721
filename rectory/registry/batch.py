"""Lists for everybody: the champion's bundle over all users, in blocks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from rectory.arrays import Array
from rectory.data.card import Card
from rectory.data.ids import UNKNOWN
from rectory.features.build import available_items
from rectory.files import read_parquet, replacing
from rectory.models.bundle import Bundle
from rectory.models.protocol import NO_ITEM
from rectory.workspace import Workspace

# Enough for matrix products to be fast, few enough that dense scores of a block stay below 256 MiB.
_BLOCK_CELLS = 64_000_000


@dataclass(frozen=True)
class ScoreInputs:
    """interactions: user_id, item_id of all rows. items: the item table where it says what can be had; else None."""

    interactions: pd.DataFrame
    items: pd.DataFrame | None

    @classmethod
    def load(cls, card: Card, workspace: Workspace) -> ScoreInputs:
        """Rows are read only where the card leaves out what a user had."""
        columns = ["user_id", "item_id"]
        excluded = card.interactions.repeats == "exclude"
        log = read_parquet(workspace.tables / "interactions.parquet", columns) if excluded else None
        available = card.items is not None and card.items.available
        return cls(
            pd.DataFrame(columns=columns) if log is None else log,
            read_parquet(workspace.tables / "items.parquet") if available else None,
        )


def all_users(bundle: Bundle, interactions: pd.DataFrame, users: pd.DataFrame | None) -> Array:
    """(n,) str, sorted: everyone whom the model, the log or the user table names."""
    parts = [bundle.users.ids, interactions["user_id"].unique()]
    if users is not None:
        parts.append(users["user_id"].unique())
    found = pd.unique(np.concatenate([np.asarray(part, dtype=object) for part in parts]))
    return np.asarray(np.sort(found), dtype=object)


def block_users(items: int) -> int:
    """Users that are ranked at once among so many items."""
    return int(np.clip(_BLOCK_CELLS // max(items, 1), 64, 8192))


def score_blocks(
    bundle: Bundle,
    user_ids: Array,
    interactions: pd.DataFrame,
    k: int,
    *,
    exclude_seen: bool,
    items: pd.DataFrame | None = None,
) -> Iterator[pd.DataFrame]:
    """Frames of user_id, rank (int32, from 1), item_id, score (float32), in the order of `user_ids`.

    Args:
        interactions: all rows until the as-of date (user_id, item_id). The bundle knows only what lies before its test
            window; what came since must not be offered either.
        exclude_seen: leave out what the user has in `interactions` or in the bundle.
        items: today's item table; what it says has left the catalogue is in no list, whatever the bundle says.
    """
    there = available_items(items, bundle.items)
    allowed = None if there is None else np.flatnonzero(there).astype(np.int32)
    seen = _seen(bundle, user_ids, interactions) if exclude_seen else None
    codes = bundle.users.encode(user_ids)
    size = block_users(len(bundle.items))
    for start in range(0, len(user_ids), size):
        rows = slice(start, start + size)
        top = bundle.model.recommend(codes[rows], k, exclude=None if seen is None else seen[rows], items=allowed)
        row, place = np.nonzero(top.items != NO_ITEM)
        yield pd.DataFrame(
            {
                "user_id": user_ids[rows][row],
                "rank": (place + 1).astype(np.int32),
                "item_id": bundle.items.decode(top.items[row, place]),
                "score": top.scores[row, place].astype(np.float32),
            }
        )


def write_scores(blocks: Iterator[pd.DataFrame], parquet: Path, jsonl: Path | None, facts: dict[str, Any]) -> int:
    """Write the blocks with `facts` (model_version, as_of) to parquet and, one line a user, to jsonl. Gives the rows.

    Both appear at their names complete or not at all, and the lists are never in memory together.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = [("user_id", pa.string()), ("rank", pa.int32()), ("item_id", pa.string()), ("score", pa.float32())]
    schema = pa.schema([*types, ("model_version", pa.string()), ("as_of", pa.string())])
    total = 0
    with ExitStack() as stack:
        writer_path = stack.enter_context(replacing(parquet))
        out = None
        if jsonl is not None:
            out = stack.enter_context(stack.enter_context(replacing(jsonl)).open("w", encoding="utf-8"))
        writer = stack.enter_context(pq.ParquetWriter(writer_path, schema, compression="zstd"))
        for block in blocks:
            table = block.assign(**facts)
            writer.write_table(pa.Table.from_pandas(table, schema=schema, preserve_index=False))
            if out is not None:
                out.writelines(_lines(block, facts))
            total += len(block)
    return total


def _lines(block: pd.DataFrame, facts: dict[str, Any]) -> Iterator[str]:
    """One JSON line a user: {user_id, items: [ids, best first], scores: [...], ...facts}."""
    users = block["user_id"].to_numpy()
    items, scores = block["item_id"].to_list(), block["score"].to_numpy().astype(float).round(6).tolist()
    starts = np.flatnonzero(np.append(True, users[1:] != users[:-1])) if len(users) else np.zeros(0, dtype=np.int64)
    ends = np.append(starts[1:], len(users))
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        line = {"user_id": users[start], "items": items[start:end], "scores": scores[start:end], **facts}
        yield json.dumps(line, ensure_ascii=False) + "\n"


def _seen(bundle: Bundle, user_ids: Array, interactions: pd.DataFrame) -> csr_array:
    """(n, n_items) float32: what each user already had, known to the model as a user or not."""
    log_row = pd.Index(user_ids).get_indexer(pd.Index(interactions["user_id"], dtype=object))
    log_item = bundle.items.encode(interactions["item_id"])
    known = (log_row >= 0) & (log_item != UNKNOWN)
    own = bundle.seen.tocoo()
    own_row = pd.Index(user_ids).get_indexer(pd.Index(bundle.users.ids, dtype=object))[own.coords[0]]
    asked = own_row >= 0
    row = np.concatenate([log_row[known], own_row[asked]])
    item = np.concatenate([log_item[known], own.coords[1][asked]])
    matrix = csr_array(
        (np.ones(len(row), dtype=np.float32), (row, item)), shape=(len(user_ids), len(bundle.items)), dtype=np.float32
    )
    matrix.sum_duplicates()
    return matrix

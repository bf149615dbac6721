"""Scoring in shards: users in pieces that processes score side by side, joined to the bytes that one process gives.

A shard is whole blocks of `score_blocks`, so each list is made exactly as it would be alone; and no row group of the
parquet spans two blocks, so that joined files are equal to the byte.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from rectory.arrays import Array
from rectory.errors import UsageError
from rectory.files import read_json, read_parquet, replacing, write_json, write_parquet
from rectory.registry.batch import block_users
from rectory.workspace import Workspace


@dataclass(frozen=True)
class ScorePlan:
    """What all shards share, as scores/shards/plan.json has it.

    bundle: folder of the champion's bundle. starts: first user of each shard, in the order of users.parquet beside it.
    began: seconds since 1970 when the plan was made.
    """

    bundle: str
    model_version: str
    candidate: str
    as_of: str
    k: int
    jsonl: bool
    exclude_seen: bool
    users: int
    starts: tuple[int, ...]
    began: float

    def save(self, workspace: Workspace) -> None:
        write_json(workspace.score_shards / "plan.json", asdict(self))

    @classmethod
    def load(cls, workspace: Workspace) -> ScorePlan:
        facts = read_json(workspace.score_shards / "plan.json")
        return cls(**{**facts, "starts": tuple(facts["starts"])})

    @property
    def facts(self) -> dict[str, str]:
        """What stands beside each list."""
        return {"model_version": self.model_version, "as_of": self.as_of}

    def users_of(self, shard: int, workspace: Workspace) -> Array:
        """(n,) str: users of one shard, in order.

        Raises:
            UsageError: there is no such shard.
        """
        if not 0 <= shard < len(self.starts):
            raise UsageError(f"there is no shard {shard}: scores/shards/plan.json has {len(self.starts)}, from 0.")
        ends = (*self.starts[1:], self.users)
        users = read_parquet(_users_file(workspace), ["user_id"])["user_id"].to_numpy(dtype=object)
        return np.asarray(users[self.starts[shard] : ends[shard]], dtype=object)


def shard_starts(users: int, items: int, shards: int) -> tuple[int, ...]:
    """First user of each shard: whole blocks, as even as they come; never more shards than blocks, at least one."""
    size = block_users(items)
    blocks = -(-users // size)
    count = max(1, min(shards, blocks))
    return tuple(size * (blocks * shard // count) for shard in range(count))


def joined(parts: Sequence[Path], target: Path) -> int:
    """Join parquet files with equal columns, row group by row group; gives the rows. Never more than one in memory."""
    import pyarrow.parquet as pq

    total = 0
    with ExitStack() as stack:
        scratch = stack.enter_context(replacing(target))
        writer = None
        for path in parts:
            part = stack.enter_context(pq.ParquetFile(path))
            if writer is None:
                writer = stack.enter_context(pq.ParquetWriter(scratch, part.schema_arrow, compression="zstd"))
            for group in range(part.num_row_groups):
                table = part.read_row_group(group)
                writer.write_table(table)
                total += table.num_rows
    return total


def join_lines(parts: Sequence[Path], target: Path) -> None:
    """Join files of lines."""
    with replacing(target) as scratch, scratch.open("wb") as out:
        for path in parts:
            with path.open("rb") as lines:
                shutil.copyfileobj(lines, out, 1 << 20)


def save_users(users: Array, workspace: Workspace) -> None:
    """Write the users that the shards are cut from."""
    write_parquet(pd.DataFrame({"user_id": users}), _users_file(workspace))


def _users_file(workspace: Workspace) -> Path:
    return workspace.score_shards / "users.parquet"

"""Step score_shard: the lists of one piece of the users, for `score` to join. Not part of `dvc repro`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rectory.data.card import load_card
from rectory.models.bundle import Bundle
from rectory.params import Params
from rectory.registry.batch import ScoreInputs, score_blocks, write_scores
from rectory.registry.shards import ScorePlan
from rectory.workspace import Workspace
from tasks import main


@dataclass(frozen=True)
class ScoredShard:
    """Size of a piece."""

    users: int
    rows: int


def run(params: Params, workspace: Workspace, shard: str) -> ScoredShard:
    """Rank for the users of shard number `shard`, as scores/shards/plan.json says."""
    plan, number = ScorePlan.load(workspace), int(shard)
    users = plan.users_of(number, workspace)
    inputs = ScoreInputs.load(load_card(workspace.card(params.dataset)), workspace)
    blocks = score_blocks(
        Bundle.load(Path(plan.bundle)),
        users,
        inputs.interactions,
        plan.k,
        exclude_seen=plan.exclude_seen,
        items=inputs.items,
    )
    lines = workspace.score_shard(number, "jsonl") if plan.jsonl else None
    rows = write_scores(blocks, workspace.score_shard(number, "parquet"), lines, plan.facts)
    return ScoredShard(len(users), rows)


if __name__ == "__main__":
    main("score_shard", run, per=("shard", "number of the piece, from 0"))

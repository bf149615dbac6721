"""Step score: the champion's lists for every user, to parquet and JSON lines."""

from __future__ import annotations

import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rectory.arrays import Array
from rectory.data.card import load_card
from rectory.errors import StoreError
from rectory.files import read_json, read_parquet, write_json
from rectory.models.bundle import Bundle
from rectory.params import Params
from rectory.registry.batch import ScoreInputs, all_users, score_blocks, write_scores
from rectory.registry.shards import ScorePlan, join_lines, joined, save_users, shard_starts
from rectory.registry.store import ModelStore
from rectory.workspace import Workspace
from tasks import main


@dataclass(frozen=True)
class Scored:
    """As scores/summary.json has it. seconds: of ranking and writing, without loading."""

    users: int
    rows: int
    k: int
    model_version: str
    candidate: str
    as_of: str
    seconds: float
    users_per_second: float

    @property
    def text(self) -> str:
        return f"{self.users} users x {self.k} by {self.candidate} version {self.model_version}"


def run(params: Params, workspace: Workspace) -> Scored:
    """Rank for all users of the model, the log and the user table; items that a user had are left out by the card."""
    plan, users, bundle = _planned(params, workspace, 1)
    inputs = ScoreInputs.load(load_card(workspace.card(params.dataset)), workspace)
    began = time.perf_counter()
    blocks = score_blocks(
        bundle,
        users,
        inputs.interactions,
        plan.k,
        exclude_seen=plan.exclude_seen,
        items=inputs.items,
    )
    rows = write_scores(blocks, workspace.scores, workspace.scores_jsonl if plan.jsonl else None, plan.facts)
    return _concluded(plan, rows, time.perf_counter() - began, workspace)


def prepare(params: Params, workspace: Workspace, shards: int) -> int:
    """Cut the users into at most `shards` pieces for the step score_shard; gives the number of pieces."""
    plan, users, _ = _planned(params, workspace, shards)
    save_users(users, workspace)
    if not Path(plan.bundle).resolve().is_relative_to(workspace.project.resolve()):
        # A store of its own place: other machines see the project's folder only.
        copy = workspace.score_shards.absolute() / "bundle"
        shutil.copytree(plan.bundle, copy, dirs_exist_ok=True)
        plan = replace(plan, bundle=str(copy))
    plan.save(workspace)
    return len(plan.starts)


def join(params: Params, workspace: Workspace) -> Scored:  # noqa: ARG001  every step is called alike
    """Put the shards' lists together, to the bytes that `run` gives, and remove the shards."""
    plan = ScorePlan.load(workspace)
    parts = {
        ending: [workspace.score_shard(shard, ending) for shard in range(len(plan.starts))]
        for ending in ("parquet", "jsonl")
    }
    rows = joined(parts["parquet"], workspace.scores)
    if plan.jsonl:
        join_lines(parts["jsonl"], workspace.scores_jsonl)
    scored = _concluded(plan, rows, time.time() - plan.began, workspace)
    shutil.rmtree(workspace.score_shards)
    return scored


def _planned(params: Params, workspace: Workspace, shards: int) -> tuple[ScorePlan, Array, Bundle]:
    """The plan, (n,) str users in order, and the champion's bundle.

    Raises:
        StoreError: there is no champion.
    """
    store = ModelStore(workspace)
    champion = store.champion(params.dataset)
    if champion is None:
        raise StoreError(f"{params.dataset} has no champion to score with: run the step promote first.")
    folder = store.bundle_folder(champion)
    bundle = Bundle.load(folder)
    table = workspace.tables / "users.parquet"
    users = all_users(
        bundle,
        read_parquet(workspace.tables / "interactions.parquet", ["user_id"]),
        read_parquet(table, ["user_id"]) if table.is_file() else None,
    )
    plan = ScorePlan(
        bundle=str(folder.absolute()),
        model_version=champion.version,
        candidate=champion.candidate,
        as_of=str(read_json(workspace.tables / "tables.json")["as_of"]),
        k=params.score.k,
        jsonl=params.score.jsonl,
        exclude_seen=load_card(workspace.card(params.dataset)).interactions.repeats == "exclude",
        users=len(users),
        starts=shard_starts(len(users), len(bundle.items), shards),
        began=time.time(),
    )
    return plan, users, bundle


def _concluded(plan: ScorePlan, rows: int, seconds: float, workspace: Workspace) -> Scored:
    speed = round(plan.users / max(seconds, 1e-9), 1)
    scored = Scored(plan.users, rows, plan.k, plan.model_version, plan.candidate, plan.as_of, round(seconds, 3), speed)
    write_json(workspace.scores_summary, asdict(scored))
    return scored


if __name__ == "__main__":
    main("score", run)

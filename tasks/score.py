"""Step score: the champion's lists for every user, to parquet and JSON lines."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

from rectory.data.card import load_card
from rectory.errors import StoreError
from rectory.files import read_json, read_parquet, write_json
from rectory.params import Params
from rectory.registry.batch import all_users, score_blocks, write_scores
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
    card = load_card(workspace.card(params.dataset))
    store = ModelStore(workspace)
    champion = store.champion(params.dataset)
    if champion is None:
        raise StoreError(f"{params.dataset} has no champion to score with: run the step promote first.")
    bundle = store.bundle(champion)
    interactions = read_parquet(workspace.tables / "interactions.parquet", ["user_id", "item_id"])
    table = workspace.tables / "users.parquet"
    users = all_users(bundle, interactions, read_parquet(table, ["user_id"]) if table.is_file() else None)
    as_of = str(read_json(workspace.tables / "tables.json")["as_of"])
    items = read_parquet(workspace.tables / "items.parquet") if card.items and card.items.available else None
    facts = {"model_version": champion.version, "as_of": as_of}
    began = time.perf_counter()
    exclude_seen = card.interactions.repeats == "exclude"
    blocks = score_blocks(bundle, users, interactions, params.score.k, exclude_seen=exclude_seen, items=items)
    rows = write_scores(blocks, workspace.scores, workspace.scores_jsonl if params.score.jsonl else None, facts)
    seconds = time.perf_counter() - began
    speed = round(len(users) / max(seconds, 1e-9), 1)
    candidate, k = champion.candidate, params.score.k
    scored = Scored(len(users), rows, k, champion.version, candidate, as_of, round(seconds, 3), speed)
    write_json(workspace.scores_summary, asdict(scored))
    return scored


if __name__ == "__main__":
    main("score", run)

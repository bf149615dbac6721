"""Step shadow: keep some of today's lists, the champion's and what the previous champion would have offered."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from rectory.data.card import load_card
from rectory.evaluation.outcomes import forget_before, keep_lists, sampled_users
from rectory.files import read_json, read_parquet
from rectory.params import Params
from rectory.registry.batch import score_blocks
from rectory.registry.store import ModelStore
from rectory.workspace import Workspace
from tasks import main


@dataclass(frozen=True)
class Shadowed:
    """users: whose lists are kept. versions: whose lists; the champion's alone while nobody was champion before."""

    users: int
    versions: tuple[str, ...]


def run(params: Params, workspace: Workspace) -> Shadowed:
    """Keep the first `guard.k` places of at most `guard.users` users; throw away what is older than keep_days."""
    settings, folder = params.guard, workspace.kept_lists(params.dataset)
    scores = read_parquet(workspace.scores, ["user_id", "rank", "item_id", "model_version"])
    if scores.empty:
        return Shadowed(0, ())
    as_of = pd.Timestamp(read_json(workspace.scores_summary)["as_of"]).tz_convert("UTC")
    users = sampled_users(scores["user_id"].to_numpy(dtype=object), settings.users)
    shown = scores[(scores["rank"] <= settings.k) & scores["user_id"].isin(users)]
    champion = str(scores["model_version"].iloc[0])
    keep_lists(folder, champion, as_of, shown)
    kept, store = [champion], ModelStore(workspace)
    previous = store.previous(params.dataset)
    if previous is not None and previous.version != champion:
        card = load_card(workspace.card(params.dataset))
        log = read_parquet(workspace.tables / "interactions.parquet", ["user_id", "item_id"])
        items = read_parquet(workspace.tables / "items.parquet") if card.items and card.items.available else None
        seen = card.interactions.repeats == "exclude"
        blocks = score_blocks(store.bundle(previous), users, log, settings.k, exclude_seen=seen, items=items)
        keep_lists(folder, previous.version, as_of, pd.concat(blocks, ignore_index=True))
        kept.append(previous.version)
    forget_before(folder, as_of - pd.Timedelta(days=settings.keep_days))
    return Shadowed(len(users), tuple(kept))


if __name__ == "__main__":
    main("shadow", run)

"""Step guard: does the champion do worse than the one before, by what users took after they were offered both lists?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rectory.data.card import load_card
from rectory.evaluation.outcomes import Evidence, kept_lists, outcomes_of_lists, weigh
from rectory.features.build import event_weights, is_target
from rectory.files import read_parquet, write_json
from rectory.params import Params
from rectory.registry.store import ModelStore, Version, blocked
from rectory.workspace import Workspace
from tasks import main

LISTS = "lists"


@dataclass(frozen=True)
class Guarded:
    """worse: beyond doubt, so that the previous champion should serve again."""

    worse: bool
    text: str


def run(params: Params, workspace: Workspace) -> Guarded:
    """Write guard/guard.json: {worse, text, champion, previous, evidence}."""
    store = ModelStore(workspace)
    champion, previous = store.champion(params.dataset), store.previous(params.dataset)
    result: dict[str, Any] = {"worse": False, "champion": None, "previous": None, "evidence": []}
    if champion is None or previous is None or previous.version == champion.version:
        result["text"] = "There is no champion with one before it: nothing to compare."
    elif (why := blocked(previous)) is not None:
        result["text"] = f"The previous champion, version {previous.version}, is blocked ({why}): nobody to go back to."
    else:
        found = [one for one in (_of_lists(params, workspace, champion, previous),) if one is not None]
        worse = [one for one in found if one.worse(params.guard.max_loss, params.guard.min_users)]
        result |= {"worse": bool(worse), "champion": champion.version, "previous": previous.version}
        result |= {"evidence": [one.to_dict() for one in found]}
        result["text"] = _text(champion, previous, worse or found, params.guard.min_users, worse=bool(worse))
    write_json(workspace.guarded, result)
    return Guarded(result["worse"], result["text"])


def _of_lists(params: Params, workspace: Workspace, champion: Version, previous: Version) -> Evidence | None:
    """Lists that were kept since the champion serves, against the rows that came after them."""
    card, settings = load_card(workspace.card(params.dataset)), params.guard
    log = read_parquet(workspace.tables / "interactions.parquet", ["user_id", "item_id", "timestamp", "event", "value"])
    taken = log[is_target(log, card) & (event_weights(log, card) > 0)]
    if card.interactions.repeats == "exclude":
        taken = taken.sort_values("timestamp", kind="stable").drop_duplicates(["user_id", "item_id"])
    kept = kept_lists(workspace.kept_lists(params.dataset))
    table = outcomes_of_lists(kept, champion.version, previous.version, taken, metric=settings.metric, k=settings.k)
    return weigh(LISTS, f"{settings.metric}@{settings.k}", table, settings.error_share, settings.min_users)


def _text(champion: Version, previous: Version, found: list[Evidence], min_users: int, *, worse: bool) -> str:
    who = f"champion {champion.candidate} version {champion.version}"
    against = f"{previous.candidate} version {previous.version}, champion before"
    if not found:
        return f"Nobody has taken anything yet after being offered the lists of {who} and of {against}."
    one = found[0]
    shown = (
        f"{one.metric} {one.champion:.4f} against {one.previous:.4f}, difference {one.difference.value:+.4f} "
        f"[{one.difference.low:+.4f}, {one.difference.high:+.4f}], over all looks "
        f"[{one.always.low:+.4f}, {one.always.high:+.4f}], {one.users} users"
    )
    if worse:
        return f"By what then happened, {who} does worse than {against}: {shown}."
    few = f" {min_users} users are asked for a verdict." if one.users < min_users else ""
    return f"By what then happened, {who} is not shown to do worse than {against}: {shown}.{few}"


if __name__ == "__main__":
    main("guard", run)

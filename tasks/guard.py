"""Step guard: does the champion do worse than the one before, by what users did after each had recommended something?

Two sources of evidence, each judged by itself: `live`, what followed the answers of the live service, where there is an
event log; `batch`, what users took after lists of both models were made.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal

from rectory.data.card import load_card
from rectory.evaluation.outcomes import Evidence, kept_lists, outcomes_of_lists, weigh
from rectory.features.build import event_weights, is_target
from rectory.files import read_parquet, write_json
from rectory.params import Params
from rectory.registry.store import ModelStore, Version, blocked
from rectory.serving.live_metrics import Attribution, outcomes_by_user
from rectory.serving.store import EventStoreError, Store
from rectory.workspace import Workspace
from tasks import main

LIVE = "live"
BATCH = "batch"


@dataclass(frozen=True)
class Guarded:
    """worse: beyond doubt, so that the previous champion should serve again. decided_on: live or batch, if it is."""

    worse: bool
    decided_on: str | None
    text: str


def run(params: Params, workspace: Workspace) -> Guarded:
    """Write guard/guard.json: {worse, decided_on, text, champion, previous, evidence}."""
    store = ModelStore(workspace)
    champion, previous = store.champion(params.dataset), store.previous(params.dataset)
    result: dict[str, Any] = {"worse": False, "decided_on": None, "champion": None, "previous": None, "evidence": []}
    if champion is None or previous is None or previous.version == champion.version:
        result["text"] = "There is no champion with one before it: nothing to compare."
    elif (why := blocked(previous)) is not None:
        result["text"] = f"The previous champion, version {previous.version}, is blocked ({why}): nobody to go back to."
    else:
        result |= {"champion": champion.version, "previous": previous.version}
        result |= _judged(params, workspace, champion, previous)
    write_json(workspace.guarded, result)
    return Guarded(result["worse"], result["decided_on"], result["text"])


def _judged(params: Params, workspace: Workspace, champion: Version, previous: Version) -> dict[str, Any]:
    settings, sentences, found, losing = params.guard, [], [], None
    who = f"champion {champion.candidate} version {champion.version}"
    against = f"{previous.candidate} version {previous.version}, champion before"
    store = Store.of(workspace)
    looks = [LIVE, BATCH] if settings.live is not None and store.exists else [BATCH]
    # Either may roll back: the chance to err is shared between them.
    error_share = settings.error_share / len(looks)
    for source in looks:
        try:
            if source == LIVE:
                one = _of_answers(params, store, champion, previous, error_share)
            else:
                one = _of_lists(params, workspace, champion, previous, error_share)
        except EventStoreError as error:
            sentences.append(f"The live evidence could not be read: {error}")
            continue
        if one is None:
            sentences.append(_nothing(source, who, against))
            continue
        found.append(one)
        max_loss = settings.max_live_loss if source == LIVE else settings.max_loss
        worse = one.worse(max_loss, settings.min_users)
        sentences.append(_sentence(one, who, against, settings.min_users, worse=worse))
        if worse and losing is None:
            losing = source
            # What decides is told first.
            sentences.insert(0, sentences.pop())
    store.close()
    return {
        "worse": losing is not None,
        "decided_on": losing,
        "evidence": [one.to_dict() for one in found],
        "text": " ".join(sentences),
    }


def _of_answers(
    params: Params, store: Store, champion: Version, previous: Version, error_share: float
) -> Evidence | None:
    """Answers of the live service that have had their full time, and what users did with them."""
    settings = params.guard
    attribution = Attribution(60 * settings.live_minutes, params.serve.conversions)
    now = time.time() if params.as_of is None else min(time.time(), params.as_of.timestamp())
    # The champion's answers are the younger ones: counted before their time they would look worse than they are.
    until = now - attribution.seconds
    since = until - 86_400 * settings.live_days
    outcome: Literal["clicked", "converted"] = "converted" if settings.live == "conversion" else "clicked"
    table = outcomes_by_user(store, (champion.version, previous.version), since, until, attribution, outcome=outcome)
    return weigh(LIVE, str(settings.live), table, error_share, settings.min_users)


def _of_lists(
    params: Params, workspace: Workspace, champion: Version, previous: Version, error_share: float
) -> Evidence | None:
    """Lists that were kept since the champion serves, against the rows that came after them."""
    card, settings = load_card(workspace.card(params.dataset)), params.guard
    log = read_parquet(workspace.tables / "interactions.parquet", ["user_id", "item_id", "timestamp", "event", "value"])
    taken = log[is_target(log, card) & (event_weights(log, card) > 0)]
    if card.interactions.repeats == "exclude":
        taken = taken.sort_values("timestamp", kind="stable").drop_duplicates(["user_id", "item_id"])
    kept = kept_lists(workspace.kept_lists(params.dataset))
    table = outcomes_of_lists(kept, champion.version, previous.version, taken, metric=settings.metric, k=settings.k)
    return weigh(BATCH, f"{settings.metric}@{settings.k}", table, error_share, settings.min_users)


def _nothing(source: str, who: str, against: str) -> str:
    if source == LIVE:
        return f"Live evidence: too few users were answered by {who} and by {against}."
    return f"Batch evidence: nobody has taken anything yet after being offered the lists of {who} and of {against}."


def _sentence(one: Evidence, who: str, against: str, min_users: int, *, worse: bool) -> str:
    shown = (
        f"{one.metric} {one.champion:.4f} against {one.previous:.4f}, difference {one.difference.value:+.4f} "
        f"[{one.difference.low:+.4f}, {one.difference.high:+.4f}], over all looks "
        f"[{one.always.low:+.4f}, {one.always.high:+.4f}], {one.users} users"
    )
    kind = one.source.capitalize()
    if worse:
        return f"{kind} evidence decides: {who} does worse than {against}: {shown}."
    few = f" {min_users} users are asked for a verdict." if one.users < min_users else ""
    return f"{kind} evidence: {who} is not shown to do worse than {against}: {shown}.{few}"


if __name__ == "__main__":
    main("guard", run)

"""From one answer back to the data: by which model, from which run, data and code; what was shown, what followed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rectory.errors import UsageError
from rectory.registry.store import ModelStore
from rectory.serving.log_queries import LogQueries
from rectory.serving.store import Store
from rectory.workspace import Workspace

_TAGS = ("snapshot_hash", "commit", "dirty", "as_of", "rectory.run_id")


@dataclass(frozen=True)
class Trace:
    """One answer's lineage.

    answer: as the event store has it: user, moment, items with scores, rungs and propensities, events that followed.
    model: version, candidate and kind, or why they are not known any more.
    made_by: MLflow run, lineage key, data snapshot, commit, as-of date; empty when the version is gone.
    """

    answer: dict[str, Any]
    model: dict[str, Any]
    made_by: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def trace(workspace: Workspace, recommendation_id: str) -> Trace:
    """The lineage of an answer.

    Raises:
        UsageError: no such answer is kept.
    """
    store = Store.of(workspace)
    if not store.exists:
        raise UsageError("this project has no event store yet: `rectory serve` makes one with its first answers.")
    store.open()
    try:
        answer = LogQueries(store).answer(recommendation_id)
    finally:
        store.close()
    if answer is None:
        raise UsageError(
            f"no answer {recommendation_id[:80]!r} is kept. The id is what the header X-Recommendation-Id or the field "
            "recommendation_id said; answers of forgotten users are gone."
        )
    number = str(answer["model_version"])
    found = [one for one in ModelStore(workspace).versions() if one.version == number]
    if not found:
        return Trace(answer, {"version": number, "gone": "no longer in the model store"}, {})
    version = found[0]
    made_by = {
        "run_id": version.run_id,
        "lineage_key": version.lineage_key,
        "trained_until": version.trained_until,
        **{name: version.tags.get(name, "") for name in _TAGS},
    }
    model = {"version": number, "candidate": version.candidate, "kind": version.tags["kind"]}
    return Trace(answer, model, {name: value for name, value in made_by.items() if value != ""})

"""Step promote: judge the challengers against baselines and champion; the champion changes only on evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rectory.data.card import load_card
from rectory.files import read_json, write_json
from rectory.params import Params
from rectory.registry.judging import Judging
from rectory.registry.store import DECISION_FILE, ModelStore
from rectory.workspace import Workspace
from tasks import main


@dataclass(frozen=True)
class Promoted:
    """The decision in short; registry/decision.json has it whole."""

    promoted: bool
    challenger: str
    champion: str | None
    version: str | None
    reasons: tuple[str, ...]

    @property
    def text(self) -> str:
        seat = f"{self.champion} version {self.version} is champion" if self.champion else "no champion"
        return f"{self.challenger} {'promoted' if self.promoted else 'refused'}; {seat}"


def run(params: Params, workspace: Workspace) -> Promoted:
    """Decide, keep the decision with the version and in the audit log, then move the alias, then write the file."""
    card, registered = load_card(workspace.card(params.dataset)), read_json(workspace.registered)
    store, dataset = ModelStore(workspace), params.dataset
    entries = registered["candidates"]
    run_id = f"{workspace.root.resolve().name}/{registered['lineage_key'][:16]}"
    champion, serving = store.champion(dataset), store.champion()
    decision = _decided_before(store, entries, run_id)
    if decision is None:
        other = f"the champion that serves, version {serving.version}, is for {serving.dataset}" if serving else None
        judged = Judging(
            params,
            workspace,
            card,
            lineage_keys={name: str(entry["lineage_key"]) for name, entry in entries.items()},
            champion=champion,
            bundle_of=store.bundle,
            note=other if champion is None else None,
        ).decide()
        challenger = store.version(entries[judged.challenger.name]["version"])
        seated = challenger if judged.promote else champion
        after = {"name": seated.candidate, "version": seated.version} if seated else None
        about = {"dataset": dataset, "metric": params.gate.metric, "run_id": run_id, "champion": after}
        decision = {**judged.to_dict(), **about}
        store.challenge(challenger)
        store.record_decision(challenger, decision)
        if judged.promote:
            store.promote(challenger, decision["reasons"][0]["text"], by=f"gate, run {run_id}")
        else:
            store.seat_champion_of(dataset)
    write_json(workspace.decision, decision)
    return _short(decision)


def _decided_before(store: ModelStore, entries: dict[str, Any], run_id: str) -> dict[str, Any] | None:
    """The decision of this very run, when it was killed after its challenger had become champion."""
    champion = store.champion()
    if champion is None or champion.tags.get("decision_run") != run_id:
        return None
    if champion.version not in {str(entry["version"]) for entry in entries.values()}:
        return None
    kept = store.artifact(champion, DECISION_FILE)
    decision: dict[str, Any] | None = read_json(kept) if kept else None
    return decision if decision and decision["promoted"] else None


def _short(decision: dict[str, Any]) -> Promoted:
    seat = decision["champion"] or {"name": None, "version": None}
    reasons = tuple(str(reason["text"]) for reason in decision["reasons"])
    name = str(decision["challenger"]["name"])
    return Promoted(bool(decision["promoted"]), name, seat["name"], seat["version"], reasons)


if __name__ == "__main__":
    main("promote", run)

"""Step promote: judge the challengers against baselines and champion; the champion changes only on evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rectory.data.card import load_card
from rectory.files import exclusive, read_json, write_json
from rectory.params import Params
from rectory.registry.approval import answer_of, ask, conclude
from rectory.registry.judging import Judging
from rectory.registry.store import DECISION_FILE, ModelStore, Version, blocked
from rectory.workspace import Workspace
from tasks import main

Facts = dict[str, Any]
_PATIENCE_SECONDS = 3600.0


@dataclass(frozen=True)
class Promoted:
    """The decision in short; registry/decision.json has it whole. waiting: version that waits for approval."""

    promoted: bool
    challenger: str
    champion: str | None
    version: str | None
    reasons: tuple[str, ...]
    waiting: str | None = None

    @property
    def text(self) -> str:
        seat = f"{self.champion} version {self.version} is champion" if self.champion else "no champion"
        if self.waiting:
            return f"{self.challenger} version {self.waiting} passed and waits for approval; {seat}"
        return f"{self.challenger} {'promoted' if self.promoted else 'refused'}; {seat}"


def run(params: Params, workspace: Workspace) -> Promoted:
    """Decide, keep the decision with the version and in the audit log, then move the alias, then write the file.

    One judgement at a time in a project: of two that race, the second is held against the champion of the first. A run
    that is decided stays decided; one that waits for approval is concluded when there is an answer or no more time.
    """
    with exclusive(workspace.lock("promotion"), "judging a run", timeout_seconds=_PATIENCE_SECONDS):
        registered = read_json(workspace.registered)
        run_id = f"{workspace.root.resolve().name}/{registered['lineage_key'][:16]}"
        store = ModelStore(workspace)
        decision = _known(store, workspace, registered["candidates"], run_id)
        if decision is None:
            decision = _judge(params, workspace, store, registered["candidates"], run_id)
        elif decision.get("waiting") and (answer := answer_of(workspace, decision)) is not None:
            decision = conclude(store, decision, answer, store.champion(params.dataset))
        write_json(workspace.decision, decision)
    return _short(decision)


def _judge(params: Params, workspace: Workspace, store: ModelStore, entries: Facts, run_id: str) -> Facts:
    dataset, card = params.dataset, load_card(workspace.card(params.dataset))
    champion, serving = store.champion(dataset), store.champion()
    other = f"the champion that serves, version {serving.version}, is for {serving.dataset}" if serving else None
    versions = {name: store.version(entry["version"]) for name, entry in entries.items()}
    judged = Judging(
        params,
        workspace,
        card,
        lineage_keys={name: str(entry["lineage_key"]) for name, entry in entries.items()},
        champion=store.measured(champion) if champion else None,
        bundle_of=store.bundle,
        note=other if champion is None else None,
        blocked={name: why for name, version in versions.items() if (why := _block_of(version))},
        fault_of=lambda name: store.fault(versions[name]),
    ).decide()
    challenger = versions[judged.challenger.name]
    waits = judged.promote and params.gate.require_approval and champion is not None
    seated = challenger if judged.promote and not waits else champion
    after = {"name": seated.candidate, "version": seated.version} if seated else None
    about = {"dataset": dataset, "metric": params.gate.metric, "run_id": run_id, "champion": after}
    decision = {**judged.to_dict(), **about}
    if waits:
        decision = ask(decision, challenger, params.gate.approval_hours)
    store.challenge(challenger)
    store.record_decision(challenger, decision)
    if decision["promoted"]:
        store.promote(challenger, decision["reasons"][0]["text"], by=f"gate, run {run_id}")
    else:
        store.seat_champion_of(dataset)
    return decision


def _block_of(version: Version) -> str | None:
    why = blocked(version)
    return f"{why}. `rectory unblock {version.version}` lets the gate judge it again" if why else None


def _known(store: ModelStore, workspace: Workspace, entries: Facts, run_id: str) -> Facts | None:
    """The decision of this very run, if it was taken; also when it was killed after the challenger became champion."""
    if (promoted := _promoted_before(store, entries, run_id)) is not None:
        return promoted
    if not workspace.decision.is_file():
        return None
    decision: Facts = read_json(workspace.decision)
    return decision if decision.get("run_id") == run_id else None


def _promoted_before(store: ModelStore, entries: Facts, run_id: str) -> Facts | None:
    champion = store.champion()
    if champion is None or champion.tags.get("decision_run") != run_id:
        return None
    if champion.version not in {str(entry["version"]) for entry in entries.values()}:
        return None
    kept = store.artifact(champion, DECISION_FILE)
    decision: Facts | None = read_json(kept) if kept else None
    return decision if decision and decision["promoted"] else None


def _short(decision: Facts) -> Promoted:
    seat = decision["champion"] or {"name": None, "version": None}
    reasons = tuple(str(reason["text"]) for reason in decision["reasons"])
    name, waiting = str(decision["challenger"]["name"]), decision.get("waiting")
    return Promoted(
        bool(decision["promoted"]),
        name,
        seat["name"],
        seat["version"],
        reasons,
        str(waiting["version"]) if waiting else None,
    )


if __name__ == "__main__":
    main("promote", run)

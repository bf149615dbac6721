"""A challenger that passed the gate and waits for a person: who answered what, when, and what came of it.

registry/decision.json of its run holds `waiting` until the answer; registry/answer.json is the answer.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rectory.files import read_json, write_json
from rectory.registry.reasons import Reason
from rectory.registry.store import ModelStore, Version
from rectory.workspace import Workspace

Facts = dict[str, Any]
NOBODY = "nobody"


@dataclass(frozen=True)
class Answer:
    """approve: yes or no. by: who. at: when, ISO. comment: why."""

    approve: bool
    by: str
    comment: str = ""
    at: str = ""

    def write(self, workspace: Workspace) -> None:
        """Put the answer where the step promote finds it; the first answer counts."""
        if not workspace.answer.is_file():
            at = self.at or datetime.now(UTC).isoformat(timespec="seconds")
            write_json(workspace.answer, {**asdict(self), "at": at})

    @property
    def text(self) -> str:
        said = f": {self.comment}" if self.comment else ""
        return f"{'approved' if self.approve else 'rejected'} by {self.by} at {self.at}{said}"


def ask(decision: Facts, version: Version, hours: float) -> Facts:
    """The decision as it stands until somebody answers: passed, and not promoted."""
    now = datetime.now(UTC)
    until = now + timedelta(hours=hours)
    waits = (
        f"passed, and waits for approval until {until:%Y-%m-%d %H:%M} UTC: `rectory approve {version.version}` "
        f"or `rectory reject {version.version}`"
    )
    return {
        **decision,
        "promoted": False,
        "reasons": [*decision["reasons"], Reason("approval", False, waits).to_dict()],
        "waiting": {
            "version": version.version,
            "asked_at": now.isoformat(timespec="seconds"),
            "expires_at": until.isoformat(timespec="seconds"),
        },
    }


def answer_of(workspace: Workspace, decision: Facts) -> Answer | None:
    """What was answered; a no by nobody when the time is over; None: it still waits."""
    if workspace.answer.is_file():
        return Answer(**read_json(workspace.answer))
    expires = datetime.fromisoformat(decision["waiting"]["expires_at"])
    if datetime.now(UTC) < expires:
        return None
    return Answer(False, NOBODY, "the time to answer is over", expires.isoformat(timespec="seconds"))


def conclude(store: ModelStore, decision: Facts, answer: Answer, champion: Version | None) -> Facts:
    """Act on the answer: the final decision, kept with the version and in the audit log, and the seat if it was a yes.

    A yes to what was judged against another champion than today's is no evidence, and a version whose files were
    damaged while it waited cannot serve: both end in a refusal that says so.
    """
    version = store.version(decision["waiting"]["version"])
    before = decision["champion_before"]
    measured = store.measured(champion) if champion else None
    refusal = None
    if answer.approve and (before or {}).get("version") != (measured.version if measured else None):
        seated = f"version {measured.version}" if measured else "nobody"
        refusal = Reason(
            "approval",
            False,
            f"{answer.text}; but it was judged against version {(before or {}).get('version')} and {seated} is "
            "champion now: the next run judges anew",
        )
    elif answer.approve and (fault := store.fault(version)) is not None:
        refusal = Reason("artefacts", False, f"{answer.text}; but the version cannot be served: {fault}")
    promoted = answer.approve and refusal is None
    final = refusal or Reason("approval", answer.approve, answer.text)
    others = [reason for reason in decision["reasons"] if reason["rule"] != "approval"]
    seat = {"name": version.candidate, "version": version.version} if promoted else decision["champion"]
    if not promoted and champion is not None:
        seat = {"name": champion.candidate, "version": champion.version}
    settled = {key: value for key, value in decision.items() if key != "waiting"} | {
        "promoted": promoted,
        "reasons": [*others, final.to_dict()],
        "champion": seat,
        "approval": asdict(answer),
    }
    store.note(version, "approved" if answer.approve else "rejected", answer.by, final.text)
    store.record_decision(version, settled)
    if promoted:
        store.promote(version, final.text, by=answer.by)
    return settled

"""Flow promote: the newest trained run goes before the gate; a person is asked if params say so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.runtime import deployment, flow_run
from prefect.states import Cancelled
from pydantic import Field

from flows import artifacts, sequences
from flows.naming import judged_run
from flows.options import PromoteOptions
from flows.trained import Trained, to_judge, waiting_runs
from rectory.files import read_json, write_json
from rectory.params import Params
from rectory.registry.approval import Answer
from tasks.promote import Promoted

_LEAST_SECONDS = 60


class Approval(RunInput):
    """The form on the page of a suspended promotion."""

    answer: Literal["approve", "reject"] = Field(title="Answer", description="approve seats the challenger.")
    by: str = Field(min_length=1, max_length=200, title="Your name", description="Kept in the audit log.")
    comment: str = Field(default="", max_length=2000, title="Comment", description="Why; kept on the version.")


@dataclass(frozen=True)
class PromoteResult:
    """run_id: the run that was judged; None: none had to be. waiting: version that waits for an answer."""

    run_id: str | None
    promoted: bool
    champion: str | None
    waiting: str | None
    text: str


@flow(name="promote", flow_run_name=judged_run, timeout_seconds=timedelta(hours=2).total_seconds())
def promote(options: PromoteOptions = PromoteOptions()) -> PromoteResult:
    """Judge a trained run; if it passes and `gate.require_approval` is set, wait for a person.

    Args:
        options: which run to judge.
    """
    asked = sequences.asked(options.dataset)
    dataset = asked.params.dataset
    found = to_judge(asked.project, dataset, options.run_id, str(flow_run.id) if flow_run.id else None)
    if found is None:
        text = f"No run of {dataset} waits to be judged."
        artifacts.leave_note(text)
        return PromoteResult(None, False, None, None, text)
    params = found.params()
    decided = sequences.judge(params, found.workspace)
    if decided.waiting:
        _supersede(dataset, found)
        decided = _ask(params, found, decided)
    sequences.report(params, found.workspace)
    artifacts.leave(found.workspace)
    return PromoteResult(found.run_id, decided.promoted, decided.version, decided.waiting, decided.text)


def _ask(params: Params, found: Trained, decided: Promoted) -> Promoted:
    """Suspend this flow run until somebody answers. On resume the flow begins anew and comes here again."""
    if deployment.id is None:
        get_run_logger().info("not started by a deployment: `rectory approve` or `rectory reject` answers")
        return decided
    mine, other = str(flow_run.id), found.asked
    if other is not None and other != mine and _is_suspended(other):
        get_run_logger().info("flow run %s has asked already and waits", other)
        return decided
    write_json(found.workspace.asked, {"flow_run": mine})
    waiting = read_json(found.workspace.decision)["waiting"]
    left = (datetime.fromisoformat(waiting["expires_at"]) - datetime.now(UTC)).total_seconds()
    artifacts.leave_decision(found.workspace)
    given = suspend_flow_run(
        wait_for_input=Approval.with_initial_data(description=_question(decided), answer="approve"),
        timeout=max(int(left), _LEAST_SECONDS),
        key="approval",
    )
    Answer(given.answer == "approve", given.by, given.comment).write(found.workspace)
    return sequences.judge(params, found.workspace)


def _question(decided: Promoted) -> str:
    reasons = "\n".join(f"- {reason}" for reason in decided.reasons)
    seat = f"Champion now: {decided.champion} version {decided.version}." if decided.champion else "The seat is empty."
    return f"**{decided.challenger} version {decided.waiting} has passed the gate.** {seat}\n\n{reasons}"


def _supersede(dataset: str, newest: Trained) -> None:
    """Older challengers that still wait are out of date: they are rejected and their flow runs end."""
    for old in waiting_runs(newest.workspace.project, dataset):
        if old.run_id == newest.run_id:
            continue
        Answer(False, "nobody", f"superseded by version {newest.waiting} of run {newest.run_id}").write(old.workspace)
        sequences.judge(old.params(), old.workspace)
        if old.asked is not None and _is_suspended(old.asked):
            with get_client(sync_client=True) as client:
                client.set_flow_run_state(
                    UUID(old.asked), Cancelled(message=f"superseded by {newest.run_id}"), force=True
                )


def _is_suspended(flow_run_id: str) -> bool:
    with get_client(sync_client=True) as client:
        try:
            state = client.read_flow_run(UUID(flow_run_id)).state
        except ObjectNotFound:
            return False
    return state is not None and state.is_paused()

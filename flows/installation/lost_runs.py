"""Flow runs that are lost, with their process or with the worker that was about to start it, do not wait for ever.

Each flow run of our work pool says when it starts and every half minute from then on that it lives. An automation of
the server expects that; where it stays out, the run has crashed, which frees its place in the deployment's queue and is
told like any failure. A run that a worker took up and never started (the worker was killed in between) is given back to
the queue by another: no other worker would look at it, and it would keep its deployment's place.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from flows.deployments import POOL

if TYPE_CHECKING:
    from prefect.automations import AutomationCore
    from prefect.events.schemas.automations import EventTrigger

CRASHED = "rectory: lost runs have crashed"
GIVEN_BACK = "rectory: runs that were never started are given back"
HEARTBEAT_SECONDS = 30
_SECONDS = "RECTORY_LOST_RUN_SECONDS"
# Longer than a server takes to come back: it would else take all that live for lost.
_DEFAULT_SECONDS = 300
_ALIVE = "prefect.flow-run.heartbeat"
_OVER = ("Completed", "Failed", "Crashed", "Cancelled", "Cancelling", "TimedOut")
_WAITING = ("Suspended", "Paused", "AwaitingRetry")
_TAKEN_UP = ("Pending", "Submitting", "InfrastructurePending")
_STARTED = "Running"
_NOT_TAKEN_UP = ("Scheduled", "Rescheduled", "Late", "AwaitingConcurrencySlot", _STARTED)


def watch_for_lost_runs() -> None:
    """Create the automations on the server that PREFECT_API_URL names; one that is the same goes on as it is."""
    from prefect.client.orchestration import get_client

    patience = timedelta(seconds=int(os.environ.get(_SECONDS) or _DEFAULT_SECONDS))
    with get_client(sync_client=True) as client:
        for wanted in (_crashed(patience), _given_back(patience)):
            known = client.read_automations_by_name(wanted.name)
            if known and _facts(known[0]) == _facts(wanted):
                continue
            for one in known:
                client.delete_automation(one.id)
            client.create_automation(wanted)


def _facts(automation: AutomationCore) -> tuple[Any, ...]:
    """What an automation waits for, whatever else the server has added to it."""
    return tuple(getattr(automation.trigger, name, None) for name in ("after", "expect", "match_related", "within"))


def _crashed(patience: timedelta) -> AutomationCore:
    from prefect.automations import AutomationCore
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState

    return AutomationCore(
        name=CRASHED,
        description="A flow run that has said nothing for a while is gone: its place is freed.",
        trigger=_silence({_ALIVE, *_states((_STARTED,))}, {_ALIVE, *_states(_OVER + _WAITING)}, patience),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message=f"nothing was heard of it for {patience}")],
    )


def _given_back(patience: timedelta) -> AutomationCore:
    from prefect.automations import AutomationCore
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState

    told = f"a worker took it up and had not started it after {patience}"
    return AutomationCore(
        name=GIVEN_BACK,
        description="A worker took this flow run up and was gone before it started: another one may take it.",
        trigger=_silence(_states(_TAKEN_UP), {_ALIVE, *_states(_OVER + _WAITING + _NOT_TAKEN_UP)}, patience),
        actions=[ChangeFlowRunState(name="Rescheduled", state=StateType.SCHEDULED, message=told)],
    )


def _silence(after: set[str], expect: set[str], patience: timedelta) -> EventTrigger:
    """Fires for a flow run when none of the events that are expected after another comes in time."""
    from prefect.events.schemas.automations import EventTrigger, Posture

    return EventTrigger(
        after=after,
        expect=expect,
        match={"prefect.resource.id": "prefect.flow-run.*"},
        # What somebody starts elsewhere need not say that it lives.
        match_related={"prefect.resource.role": "work-pool", "prefect.resource.name": POOL},
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=patience,
    )


def _states(names: tuple[str, ...]) -> set[str]:
    """Events of a flow run's coming into these states."""
    return {f"prefect.flow-run.{name}" for name in names}

"""Flow runs whose process is gone, with its machine or by `kill -9`, are marked as crashed and do not run for ever.

Each flow run says every half minute that it lives. The server's automation expects that; where it stays out, the run
has crashed, which frees its place in the deployment's queue and is told like any failure.
"""

from __future__ import annotations

import os
from datetime import timedelta

NAME = "rectory: lost runs have crashed"
HEARTBEAT_SECONDS = 30
_SECONDS = "RECTORY_LOST_RUN_SECONDS"
# Longer than a server takes to come back: it would else take all that live for lost.
_DEFAULT_SECONDS = 300
_ALIVE = "prefect.flow-run.heartbeat"
_OVER = ("Completed", "Failed", "Crashed", "Cancelled", "Cancelling", "TimedOut")
_WAITING = ("Suspended", "Paused", "AwaitingRetry")


def watch_for_lost_runs() -> None:
    """Create the automation on the server that PREFECT_API_URL names; one with the same patience goes on as it is."""
    from prefect.automations import AutomationCore
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import EventTrigger, Posture

    patience = timedelta(seconds=int(os.environ.get(_SECONDS) or _DEFAULT_SECONDS))
    wanted = AutomationCore(
        name=NAME,
        description="A flow run that has said nothing for a while is gone: its place is freed.",
        trigger=EventTrigger(
            after={_ALIVE},
            expect={_ALIVE, *(f"prefect.flow-run.{state}" for state in _OVER + _WAITING)},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=patience,
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message=f"nothing was heard of it for {patience}")],
    )
    with get_client(sync_client=True) as client:
        known = client.read_automations_by_name(NAME)
        if known and getattr(known[0].trigger, "within", None) == patience:
            return
        for one in known:
            client.delete_automation(one.id)
        client.create_automation(wanted)

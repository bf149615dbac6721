"""Flow notify: tell people what an automation has seen, by webhook and mail."""

from __future__ import annotations

from datetime import timedelta

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from flows import events
from flows.naming import event
from flows.options import Message
from rectory.notifications import Channels, Notice

# A last sign of life may arrive after the end of a short run: its silence from then on is no loss.
_ENDED_BY_ITSELF = "already in terminal state"


@task(name="send", task_run_name="{channel}", cache_policy=NO_CACHE, retries=4, retry_delay_seconds=[2, 10, 60, 300])
def _send(channel: str, notice: Notice) -> None:
    """Only what touches a network is tried again."""
    Channels.from_environment().send(channel, notice)


@flow(name="notify", flow_run_name=event, timeout_seconds=timedelta(minutes=15).total_seconds())
def notify(options: Message) -> list[str]:
    """Send one message by every channel that the environment names.

    Args:
        options: what has happened.
    """
    if options.event == events.COULD_NOT_ACT and _ENDED_BY_ITSELF in str(options.payload.get("reason")):
        get_run_logger().info("nobody is told: the run that was taken for lost had ended")
        return []
    notice = Notice.of(options.event, options.subject, options.occurred, options.payload, options.flow_run)
    channels = Channels.from_environment().names
    if not channels:
        get_run_logger().warning("%s: nobody is told, because no channel is set (docs/flows.md)", notice.subject)
    sent = [_send.submit(channel, notice, return_state=False) for channel in channels]
    for future in sent:
        future.result()
    return list(channels)

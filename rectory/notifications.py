"""Telling people: one notice, by webhook (a JSON document) and by mail, as the environment says.

RECTORY_WEBHOOK_URL      where a JSON document is posted; several, separated by blanks
RECTORY_SMTP_URL         smtp://host:25, smtp://user:password@host:587 (STARTTLS) or smtps://user:password@host:465
RECTORY_MAIL_TO          addresses, separated by commas
RECTORY_MAIL_FROM        sender (default: rectory@<this host>)
"""

from __future__ import annotations

import json
import os
import smtplib
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any
from urllib.parse import unquote, urlparse

from rectory.errors import RectoryError, UsageError

MAIL = "mail"
_SECONDS = 20
_PORTS = {"smtp": 25, "smtps": 465}
_WORDS = {
    "rectory.data.refused": "data of {about} were refused",
    "rectory.champion.refused": "a challenger for {about} was refused",
    "rectory.champion.waiting": "a challenger for {about} waits for approval",
    "rectory.champion.promoted": "{about} has a new champion",
    "rectory.champion.rolled-back": "the champion of {about} was rolled back",
    "rectory.drift.detected": "{about} has drifted",
    "prefect.automation.action.failed": "the automation '{about}' could not act",
}


class NotifyError(RectoryError):
    """A notice could not be delivered."""


@dataclass(frozen=True)
class Notice:
    """What is told. text: a few lines for people; facts: all of it for machines."""

    event: str
    subject: str
    text: str
    at: str
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, event: str, about: str, occurred: datetime | None, facts: dict[str, Any], flow_run: str | None = None
    ) -> Notice:
        """From an event: Rectory's own, or a flow run's change of state."""
        at = (occurred or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds")
        reason = facts.get("reason")
        if event.startswith("prefect.flow-run."):
            state = facts.get("validated_state") or {}
            words, reason = (
                f"flow run {about} ended as {state.get('name') or event.rpartition('.')[2]}",
                state.get("message"),
            )
        else:
            words = _WORDS.get(event, f"{event} for {{about}}").format(about=about)
        shown = {key: facts[key] for key in ("run_id", "candidate", "version", "columns", "by") if facts.get(key)}
        lines = [f"Rectory: {words}.", f"At {at}.", *([str(reason)] if reason else [])]
        lines += [f"{key.replace('_', ' ')}: {value}" for key, value in shown.items()]
        lines += [f"flow run: {flow_run}"] if flow_run else []
        return cls(event, f"Rectory: {words}", "\n".join(lines), at, {**facts, "about": about, "flow_run": flow_run})


@dataclass(frozen=True)
class Channels:
    """Where notices go."""

    webhooks: tuple[str, ...] = ()
    smtp: str | None = None
    to: tuple[str, ...] = ()
    sender: str = ""

    @classmethod
    def from_environment(cls, given: Mapping[str, str] = os.environ) -> Channels:
        """Read the settings.

        Raises:
            UsageError: one of them cannot be used.
        """
        webhooks = tuple(given.get("RECTORY_WEBHOOK_URL", "").split())
        if wrong := [url for url in webhooks if urlparse(url).scheme not in ("http", "https")]:
            raise UsageError(f"RECTORY_WEBHOOK_URL: {_hidden(wrong[0])} is no http(s) address.")
        smtp = given.get("RECTORY_SMTP_URL") or None
        to = tuple(address.strip() for address in given.get("RECTORY_MAIL_TO", "").split(",") if address.strip())
        if smtp and (urlparse(smtp).scheme not in _PORTS or not urlparse(smtp).hostname):
            raise UsageError("RECTORY_SMTP_URL: write it as smtp://host:25 or smtps://user:password@host:465.")
        if bool(smtp) != bool(to):
            raise UsageError("mail needs both RECTORY_SMTP_URL and RECTORY_MAIL_TO; one of them is not set.")
        sender = given.get("RECTORY_MAIL_FROM") or f"rectory@{socket.getfqdn()}"
        return cls(webhooks, smtp, to, sender)

    @property
    def names(self) -> tuple[str, ...]:
        """One name a channel; no address with a secret in it is among them."""
        hooks = tuple(f"webhook {number}" for number in range(1, len(self.webhooks) + 1))
        return (*hooks, *((MAIL,) if self.smtp else ()))

    def send(self, name: str, notice: Notice) -> None:
        """Deliver by one channel.

        Raises:
            NotifyError: nobody took it.
        """
        if name == MAIL:
            self._mail(notice)
        else:
            self._post(self.webhooks[int(name.rpartition(" ")[2]) - 1], notice)

    def _post(self, url: str, notice: Notice) -> None:
        document = {"text": notice.text, "event": notice.event, "subject": notice.subject, "at": notice.at}
        body = json.dumps({**document, "facts": notice.facts}, default=str).encode()
        headers = {"Content-Type": "application/json", "User-Agent": "rectory"}
        request = urllib.request.Request(url, data=body, headers=headers, method="POST")  # noqa: S310 - checked above
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS):  # noqa: S310
                return
        except (urllib.error.URLError, OSError) as error:
            raise NotifyError(f"the webhook {_hidden(url)} did not take the notice: {error}") from error

    def _mail(self, notice: Notice) -> None:
        target = urlparse(str(self.smtp))
        message = EmailMessage()
        message["Subject"], message["From"], message["To"] = notice.subject, self.sender, ", ".join(self.to)
        message.set_content(notice.text)
        host, port = str(target.hostname), target.port or _PORTS[target.scheme]
        try:
            with _connected(target.scheme, host, port) as server:
                if target.username:
                    if target.scheme == "smtp":
                        server.starttls(context=ssl.create_default_context())
                    server.login(unquote(target.username), unquote(target.password or ""))
                server.send_message(message)
        except (smtplib.SMTPException, OSError) as error:
            raise NotifyError(f"{host}:{port} did not take the mail: {error}") from error


def _connected(scheme: str, host: str, port: int) -> smtplib.SMTP:
    if scheme == "smtps":
        return smtplib.SMTP_SSL(host, port, timeout=_SECONDS, context=ssl.create_default_context())
    return smtplib.SMTP(host, port, timeout=_SECONDS)


def _hidden(url: str) -> str:
    """The address without what may be a secret in it."""
    parts = urlparse(url)
    return f"{parts.scheme}://{parts.hostname or '?'}{':' + str(parts.port) if parts.port else ''}/..."

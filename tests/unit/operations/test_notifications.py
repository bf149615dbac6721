"""Notices reach a webhook and a mailbox, and wrong settings are told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rectory.errors import UsageError
from rectory.notifications import Channels, Notice, NotifyError
from tests.operations.conftest import Inbox


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    made = Inbox()
    yield made
    made.close()


def refusal() -> Notice:
    return Notice.of("rectory.data.refused", "shop", None, {"reason": "80% of the rows are bad", "run_id": "r1"})


def test_a_notice_arrives_by_webhook_and_by_mail(inbox: Inbox) -> None:
    channels = Channels.from_environment(inbox.environment)
    assert channels.names == ("webhook 1", "mail")
    for name in channels.names:
        channels.send(name, refusal())
    (post,) = inbox.posts
    assert post["event"] == "rectory.data.refused"
    assert "80% of the rows are bad" in post["text"]
    assert post["facts"]["run_id"] == "r1"
    (mail,) = inbox.mails
    assert "Subject: Rectory: data of shop were refused" in mail
    assert "To: shop@example.org" in mail
    assert "80% of the rows are bad" in mail


def test_a_failed_flow_run_is_told_with_its_state() -> None:
    facts = {"validated_state": {"name": "Crashed", "message": "killed by signal 9"}}
    notice = Notice.of("prefect.flow-run.Crashed", "sales, as of its newest row", None, facts, "prefect.flow-run.1")
    assert "ended as Crashed" in notice.subject
    assert "killed by signal 9" in notice.text


def test_nobody_there_is_an_error_that_hides_what_may_be_secret(inbox: Inbox) -> None:
    given = {**inbox.environment, "RECTORY_WEBHOOK_URL": "http://127.0.0.1:9/hook/secret-token"}
    with pytest.raises(NotifyError, match=r"http://127\.0\.0\.1:9/\.\.\.") as caught:
        Channels.from_environment(given).send("webhook 1", refusal())
    assert "secret-token" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"RECTORY_WEBHOOK_URL": "ftp://example.org/x"}, "no http"),
        ({"RECTORY_SMTP_URL": "smtp://localhost"}, "needs both"),
        ({"RECTORY_SMTP_URL": "localhost:25", "RECTORY_MAIL_TO": "a@example.org"}, "write it as smtp"),
    ],
)
def test_wrong_settings_are_told(given: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Channels.from_environment(given)


def test_without_settings_nobody_is_told() -> None:
    assert Channels.from_environment({}).names == ()

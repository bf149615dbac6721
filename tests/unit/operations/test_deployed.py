"""prefect.yaml and flows/deployments.py say the same; each form has titles, help and limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from prefect.events import DeploymentEventTrigger
from prefect.logging import disable_run_logger
from prefect.utilities.callables import parameter_schema
from ruamel.yaml import YAML

from flows.deployments import DEPLOYMENTS, Deployed, prefect_yaml
from flows.events import COULD_NOT_ACT
from flows.notify import notify
from flows.options import Message

ROOT = Path(__file__).parents[3]
BY_NAME = {one.name: one for one in DEPLOYMENTS}
OWN = [one for one in DEPLOYMENTS if one.name not in ("tune", "run")]


def plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def test_prefect_yaml_says_what_python_says() -> None:
    written = YAML(typ="safe").load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    assert plain(written) == plain(prefect_yaml()), "run: python -m flows.deployments"


def test_all_that_was_asked_for_is_deployed() -> None:
    asked = {"ingest", "train", "promote", "monitor", "score", "tune", "backfill", "rollback", "guard"}
    assert asked <= set(BY_NAME)
    assert [one.name for one in DEPLOYMENTS if one.cron and not one.active] == ["tune"]
    assert {one.name for one in DEPLOYMENTS if one.cron is None} == {"backfill", "rollback", "run", "notify"}


@pytest.mark.parametrize("one", DEPLOYMENTS, ids=lambda one: one.name)
def test_each_deployment_names_a_flow_of_its_name(one: Deployed) -> None:
    assert one.flow.name == one.name
    assert one.flow.timeout_seconds or one.name in ("run", "tune")
    assert one.description


@pytest.mark.parametrize("one", OWN, ids=lambda one: one.name)
def test_each_form_has_titles_help_and_limits(one: Deployed) -> None:
    schema = parameter_schema(one.flow).model_dump()
    assert set(schema["properties"]) == {"options"}
    (form,) = schema["definitions"].values()
    assert form["additionalProperties"] is False
    for name, field in form["properties"].items():
        assert field["title"], name
        assert field["description"], name
        limits = json.dumps(field)
        assert any(
            word in limits for word in ("pattern", "maxLength", "maxItems", "format", "boolean", "maximum", "object")
        ), name


@pytest.mark.parametrize("one", [one for one in DEPLOYMENTS if one.triggers], ids=lambda one: one.name)
def test_triggers_are_what_prefect_takes_and_fill_the_form(one: Deployed) -> None:
    schema = parameter_schema(one.flow).model_dump()
    (form,) = schema["definitions"].values()
    for trigger in one.triggers:
        made = DeploymentEventTrigger(**trigger.spec())
        assert made.threshold == 1
        assert set(trigger.parameters["options"]) <= set(form["properties"])


def test_a_run_that_was_taken_for_lost_and_had_ended_is_no_news(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECTORY_WEBHOOK_URL", "http://127.0.0.1:9/nobody-listens")
    reason = "Failed to set state: Run is already in terminal state COMPLETED."
    with disable_run_logger():
        assert notify.fn(Message(event=COULD_NOT_ACT, payload={"reason": reason})) == []


def test_a_notice_that_fails_is_no_reason_for_a_notice() -> None:
    failures = next(one for one in BY_NAME["notify"].triggers if "prefect.flow-run.Failed" in one.expect)
    assert failures.tagged is not None
    assert failures.tagged not in BY_NAME["notify"].tags
    assert all(failures.tagged in one.tags for one in DEPLOYMENTS if one.name != "notify")

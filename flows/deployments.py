"""What is deployed and when: the one list that both `rectory deploy` and prefect.yaml come from.

`python -m flows.deployments` writes prefect.yaml; a test holds it to this list.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows import events
from flows.checkouts import code_version

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.schemas.responses import DeploymentResponse

POOL = "rectory"
TAG = "rectory"
DRIFT_COOL_DOWN = timedelta(hours=12)
_OUTBOX = "rectory-notify"
_SAY_AGAIN = timedelta(minutes=10)


@dataclass(frozen=True)
class Trigger:
    """Start the deployment when one of `expect` happens.

    about: pattern of the resource's id. parameters: as Prefect's automations take them. cool_down: after a start,
    events about the same resource start nothing for so long. tagged: only events about runs with this tag.
    """

    name: str
    expect: tuple[str, ...]
    parameters: dict[str, Any]
    about: str = f"{events.RESOURCE}*"
    cool_down: timedelta = timedelta(0)
    tagged: str | None = None

    def spec(self) -> dict[str, Any]:
        """As prefect.yaml has it."""
        related = [{"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{self.tagged}"}]
        return {
            "type": "event",
            "name": self.name,
            "enabled": True,
            "posture": "Reactive",
            "expect": sorted(self.expect),
            "match": {"prefect.resource.id": self.about},
            **({"match_related": related[0]} if self.tagged else {}),
            "for_each": ["prefect.resource.id"],
            "threshold": 1,
            # A reactive trigger fires at once and then rests for the remainder of `within`.
            "within": int(self.cool_down.total_seconds()),
            "parameters": self.parameters,
        }


@dataclass(frozen=True)
class Deployed:
    """One deployment. cron: in the zone RECTORY_TIMEZONE (UTC). active: False: the schedule is there, switched off."""

    name: str
    entrypoint: str
    description: str
    cron: str | None = None
    active: bool = True
    alone: bool = False
    parameters: dict[str, Any] | None = None
    triggers: tuple[Trigger, ...] = ()
    tags: tuple[str, ...] = (TAG,)

    @property
    def flow(self) -> Flow[..., Any]:
        module, _, name = self.entrypoint.rpartition(".")
        found: Flow[..., Any] = getattr(import_module(module), name)
        return found


def _template(expression: str) -> dict[str, str]:
    return {"__prefect_kind": "jinja", "template": f"{{{{ {expression} }}}}"}


def _value(expression: str) -> dict[str, Any]:
    """Any JSON value: a plain template would give a string."""
    return {"__prefect_kind": "json", "value": _template(f"{expression} | tojson")}


_DATASET = _template("event.payload.dataset")
_FAILED = tuple(f"prefect.flow-run.{state}" for state in ("Failed", "Crashed", "TimedOut"))
_TOLD = (events.DATA_REFUSED, events.REFUSED, events.WAITING, events.PROMOTED, events.ROLLED_BACK)
_FACTS = {"event": _template("event.event"), "occurred": _template("event.occurred.isoformat()")}

DEPLOYMENTS: tuple[Deployed, ...] = (
    Deployed(
        "ingest",
        "flows.ingest.ingest",
        "Fetch, validate and version the newest data.",
        cron="5 * * * *",
        alone=True,
    ),
    Deployed(
        "train",
        "flows.train.train",
        "Train, evaluate and register all candidates, if anything has changed. Drift starts it too.",
        cron="0 2 * * *",
        alone=True,
        triggers=(
            Trigger(
                "drift starts train", (events.DRIFT,), {"options": {"dataset": _DATASET}}, cool_down=DRIFT_COOL_DOWN
            ),
        ),
    ),
    Deployed(
        "promote",
        "flows.promote.promote",
        "Judge the newest trained run; with gate.require_approval a person has the last word.",
        cron="30 * * * *",
        alone=True,
        triggers=(Trigger("training starts promote", (events.TRAINED,), {"options": {"dataset": _DATASET}}),),
    ),
    Deployed(
        "monitor",
        "flows.monitor.monitor",
        "Has the newest data moved away from what the champion was trained on?",
        cron="0 6 * * *",
        alone=True,
    ),
    Deployed(
        "score",
        "flows.score.score",
        "The champion's list for every user, nightly and after each change of champion.",
        cron="30 4 * * *",
        alone=True,
        triggers=(
            Trigger(
                "promotion starts score",
                (events.PROMOTED, events.RENEWED, events.ROLLED_BACK),
                {"options": {"dataset": _DATASET, "run_id": _template("event.payload.run_id")}},
            ),
        ),
    ),
    Deployed(
        "guard",
        "flows.guard.guard",
        "Roll back by itself when the champion does worse than the one before, by what then happened.",
        cron="30 6 * * *",
        alone=True,
    ),
    Deployed(
        "tune",
        "flows.tune.tune",
        "Find better values of one candidate on the validation window. Switched off until somebody wants it.",
        cron="0 3 * * 0",
        active=False,
        alone=True,
        parameters={"candidate": "lightfm_hybrid", "minutes": 60},
    ),
    Deployed(
        "backfill",
        "flows.backfill.backfill",
        "The runs of dates that were missed, one as of each; dates that are done are skipped.",
        alone=True,
    ),
    Deployed(
        "rollback",
        "flows.rollback.rollback",
        "Seat the previous champion, or a named version, in one step; the bad one is blocked.",
        alone=True,
    ),
    Deployed("run", "flows.run.run", "The whole chain at once, as `rectory run` does it.", alone=True),
    Deployed(
        "notify",
        "flows.notify.notify",
        "Tell people by webhook and mail; started by events.",
        tags=(_OUTBOX,),
        triggers=(
            Trigger(
                "refusals and changes of champion notify",
                _TOLD,
                {
                    "options": {
                        **_FACTS,
                        "subject": _template("event.resource.name"),
                        "payload": _value("event.payload"),
                    }
                },
            ),
            # By tag, so that a notice which cannot be sent is not the reason of another one.
            Trigger(
                "failures notify",
                _FAILED,
                {
                    "options": {
                        **_FACTS,
                        "subject": _template("event.resource.name"),
                        "flow_run": _template("event.resource.id"),
                        "payload": _value("event.payload"),
                    }
                },
                about="prefect.flow-run.*",
                tagged=TAG,
            ),
            # A server whose database is overloaded answers its own automations with 503 and does not try again.
            Trigger(
                "automations that could not act notify",
                (events.COULD_NOT_ACT,),
                {
                    "options": {
                        **_FACTS,
                        "subject": _template("event.resource.name"),
                        "payload": _value("event.payload"),
                    }
                },
                about="prefect.automation.*",
                cool_down=_SAY_AGAIN,
            ),
        ),
    ),
)


def full_names() -> list[str]:
    """`flow/deployment`, as `prefect deployment run` takes them."""
    return [f"{one.name}/{one.name}" for one in DEPLOYMENTS]


def deploy(project: Path) -> list[str]:
    """Create or renew work pool, global limits, deployments and automations; give the deployments' full names.

    Doing it again changes nothing. What an operator has changed on a page stays: a schedule that was switched on
    or off, the number of slots of a limit. PREFECT_API_URL says which server; flow runs start in `project`.
    """
    from prefect.client.orchestration import get_client

    from flows.limits import ensure_limits

    folder = project.resolve()
    with get_client(sync_client=True) as client:
        _ensure_pool(client)
        ensure_limits()
        version = code_version()
        for one in DEPLOYMENTS:
            before = _existing(client, f"{one.name}/{one.name}")
            _apply(one, folder, version, before)
    return full_names()


def _ensure_pool(client: Any) -> None:
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

    try:
        client.read_work_pool(POOL)
    except ObjectNotFound:
        try:
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process", description="Runs Rectory's flows"))
        except ObjectAlreadyExists:
            return


def _existing(client: Any, name: str) -> DeploymentResponse | None:
    from prefect.exceptions import ObjectNotFound

    try:
        found: DeploymentResponse = client.read_deployment_by_name(name)
    except ObjectNotFound:
        return None
    return found


def _apply(one: Deployed, folder: Path, version: str, before: DeploymentResponse | None) -> None:
    from prefect.events import DeploymentEventTrigger
    from prefect.types.entrypoint import EntrypointType

    deployment: Any = one.flow.to_deployment(
        one.name,
        description=one.description,
        tags=list(one.tags),
        version=version,
        parameters=one.parameters or {},
        schedules=_schedules(one, before),
        concurrency_limit=1 if one.alone else None,
        triggers=[DeploymentEventTrigger(**trigger.spec()) for trigger in one.triggers],
        entrypoint_type=EntrypointType.MODULE_PATH,
        work_pool_name=POOL,
        job_variables={"working_dir": str(folder)},
    )
    deployment.apply()


def _schedules(one: Deployed, before: DeploymentResponse | None) -> list[Any]:
    """The schedule, as active as somebody has left it."""
    from prefect.schedules import Cron

    if one.cron is None:
        return []
    known = before.schedules if before is not None else []
    active = known[0].active if known else one.active
    return [Cron(one.cron, timezone=_zone(), active=active, slug=one.name)]


def _zone() -> str:
    return os.environ.get("RECTORY_TIMEZONE", "UTC")


def prefect_yaml() -> dict[str, Any]:
    """The same for `prefect deploy --all`."""
    return {
        "name": "rectory",
        "build": [{"flows.versions.current": {"id": "code"}}],
        "deployments": [_yaml_of(one) for one in DEPLOYMENTS],
    }


def _yaml_of(one: Deployed) -> dict[str, Any]:
    schedule = {"cron": one.cron, "timezone": "UTC", "active": one.active, "slug": one.name}
    return {
        "name": one.name,
        "description": one.description,
        "entrypoint": one.entrypoint,
        "version": "{{ code.version }}",
        "tags": list(one.tags),
        "parameters": one.parameters or {},
        "schedules": [schedule] if one.cron else [],
        **({"concurrency_limit": 1} if one.alone else {}),
        "work_pool": {"name": POOL, "job_variables": {"working_dir": "{{ code.folder }}"}},
        "triggers": [trigger.spec() for trigger in one.triggers],
    }


def write_prefect_yaml(path: Path) -> None:
    """Write prefect.yaml."""
    from ruamel.yaml import YAML

    from rectory.files import replacing

    yaml = YAML()
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    with replacing(path) as scratch, scratch.open("w", encoding="utf-8") as out:
        out.write(
            "# What is deployed and when, for `prefect deploy --all`. Made by `python -m flows.deployments` from\n"
            "# flows/deployments.py, where each line is to be changed. `rectory deploy` does the same and the global\n"
            "# concurrency limits too.\n"
        )
        yaml.dump(prefect_yaml(), out)


if __name__ == "__main__":
    write_prefect_yaml(Path("prefect.yaml"))

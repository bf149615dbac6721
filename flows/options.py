"""What a flow can be asked for: the forms that the Prefect page shows, with titles, help and limits."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

DataSet = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
Override = Annotated[str, Field(pattern=r"^[a-z_]+(\.[A-Za-z0-9_.=-]+)?=.*$")]
VersionNumber = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
# Pydantic says only `format`, which Prefect's server does not check.
Moment = Annotated[
    datetime, Field(json_schema_extra={"pattern": r"^\d{4}-\d{2}-\d{2}([T ][0-9:.,]+\s?(Z|[+-][0-9:]{2,6})?)?$"})
]
RunId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]


class Form(BaseModel):
    """Frozen; unknown keys are refused; an empty text, as a form or an event sends it, is nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_is_nothing(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {key: value for key, value in given.items() if value not in ("", None)}


class Data(Form):
    """Which data, as of when."""

    dataset: DataSet | None = Field(
        default=None, title="Data set", description="A card in datasets/. Empty: the one that params.yaml names."
    )
    as_of: Moment | None = Field(
        default=None,
        title="As of",
        description="Nothing after this moment is read. Empty: now; for a historic data set the end of its log.",
    )
    overrides: list[Override] = Field(
        default=[],
        title="Overrides",
        description="`section.key=value`, applied to params.yaml for this run only, e.g. split.test_days=28.",
        max_length=100,
    )


class ScoreOptions(Data):
    """Whom to score."""

    run_id: RunId | None = Field(
        default=None,
        title="Run",
        description="Score on the data of this run (a folder in runs/). Empty: fetch and validate the newest data.",
    )


class PromoteOptions(Form):
    """Which run to judge."""

    dataset: DataSet | None = Field(
        default=None, title="Data set", description="A card in datasets/. Empty: the one that params.yaml names."
    )
    run_id: RunId | None = Field(
        default=None, title="Run", description="A folder in runs/. Empty: the newest run that nobody has judged."
    )


class BackfillOptions(Form):
    """Which dates to make up for."""

    start: date = Field(title="From", description="First date; the run is as of its end (midnight UTC).")
    end: date = Field(title="To", description="Last date.")
    every_days: int = Field(default=1, ge=1, le=366, title="Every so many days", description="1 is each date.")
    dataset: DataSet | None = Field(
        default=None, title="Data set", description="A card in datasets/. Empty: the one that params.yaml names."
    )
    again: bool = Field(
        default=False, title="Done dates too", description="Run dates again whose run has ended well before."
    )
    overrides: list[Override] = Field(
        default=[], title="Overrides", description="`section.key=value`, for these runs only.", max_length=100
    )

    @field_validator("end")
    @classmethod
    def _in_order(cls, end: date, given: Any) -> date:
        start = given.data.get("start")
        if start is not None and end < start:
            raise ValueError(f"the last date, {end}, lies before the first, {start}")
        return end


class RollbackOptions(Form):
    """Whom to seat again, and why."""

    reason: str = Field(
        min_length=3, max_length=2000, title="Reason", description="Why; kept in the audit log and on the version."
    )
    by: str = Field(
        min_length=1, max_length=200, title="Your name", description="Who rolls back; kept in the audit log."
    )
    to: VersionNumber | None = Field(
        default=None, title="Version", description="Registered version. Empty: the previous champion."
    )
    block: bool = Field(
        default=True,
        title="Block the version that is left",
        description="It may not be promoted by itself again; `rectory unblock` ends that.",
    )


class Message(Form):
    """What has happened, as an automation fills it in."""

    event: str = Field(title="Event", description="Name of the event, e.g. rectory.data.refused.", max_length=200)
    subject: str = Field(default="", title="About", description="Data set or flow run.", max_length=500)
    occurred: datetime | None = Field(default=None, title="When", description="Moment of the event.")
    flow_run: str | None = Field(
        default=None, title="Flow run", description="Id of the flow run it is about.", max_length=200
    )
    payload: dict[str, Any] = Field(default={}, title="Facts", description="Whatever the event carries.")

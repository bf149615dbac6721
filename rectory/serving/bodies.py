"""Bodies of requests and answers. Names with capitals are Gorse's; the rest is Rectory's own."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from rectory.serving.inputs import MAX_ID_LENGTH, check_id, check_kind, check_text, check_value, moment

MAX_CONTEXT_KEYS = 64


def _checked(value: Any) -> Any:
    check_value(value)
    return value


def _optional_moment(value: Any) -> float | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str | int | float):
        raise ValueError("must be a time")
    return moment(value)


Id = Annotated[str, AfterValidator(check_id)]
Kind = Annotated[str, AfterValidator(check_kind)]
Text = Annotated[str, AfterValidator(check_text)]
Moment = Annotated[
    float | None,
    BeforeValidator(_optional_moment, json_schema_input_type=str | float | None),
    Field(description="ISO 8601, or seconds since 1970; without a zone UTC. Missing: when it was accepted."),
]
Category = Annotated[str, Field(max_length=MAX_ID_LENGTH), AfterValidator(check_text)]
AnyLabels = Annotated[Any, AfterValidator(_checked)]
AnyContext = Annotated[dict[str, Any], Field(max_length=MAX_CONTEXT_KEYS), AfterValidator(_checked)]
Number = Annotated[float, Field(ge=-1e15, le=1e15, allow_inf_nan=False)]


class Body(BaseModel):
    """Unknown keys are passed over, as Gorse does."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class FeedbackBody(Body):
    """Gorse's feedback. EventId, RecommendationId and Context are Rectory's and may be left out."""

    FeedbackType: Kind
    UserId: Id
    ItemId: Id
    Timestamp: Moment = None
    Value: Number = 0.0
    Comment: Text = ""
    EventId: Id | None = None
    RecommendationId: Id | None = None
    Context: AnyContext = {}


class SessionFeedback(Body):
    """Feedback of a session: whose it is plays no part."""

    FeedbackType: Kind = "click"
    ItemId: Id
    Timestamp: Moment = None
    Value: Number = 0.0


class FeedbackAnswer(BaseModel):
    FeedbackType: str
    UserId: str
    ItemId: str
    Timestamp: str
    Value: float
    Comment: str
    EventId: str


class FeedbackPage(BaseModel):
    Cursor: str
    Feedback: list[FeedbackAnswer]


class ItemBody(Body):
    ItemId: Id
    IsHidden: bool = False
    Categories: list[Category] | None = None
    Timestamp: Moment = None
    Labels: AnyLabels = None
    Comment: Text = ""


class ItemPatch(Body):
    """Only what is given is changed."""

    IsHidden: bool | None = None
    Categories: list[Category] | None = None
    Timestamp: Moment = None
    Labels: AnyLabels = None
    Comment: Text | None = None


class ItemAnswer(BaseModel):
    ItemId: str
    IsHidden: bool
    Categories: list[str]
    Timestamp: str
    Labels: Any
    Comment: str


class ItemPage(BaseModel):
    Cursor: str
    Items: list[ItemAnswer]


class UserBody(Body):
    UserId: Id
    Labels: AnyLabels = None
    Comment: Text = ""


class UserPatch(Body):
    Labels: AnyLabels = None
    Comment: Text | None = None


class UserAnswer(BaseModel):
    UserId: str
    Labels: Any
    Comment: str


class UserPage(BaseModel):
    Cursor: str
    Users: list[UserAnswer]


class Success(BaseModel):
    RowAffected: int


class Scored(BaseModel):
    Id: str
    Score: float


class EventBody(Body):
    """One event. With an event_id of yours it may be sent again without being counted twice."""

    event_id: Id | None = None
    user_id: Id
    item_id: Id
    kind: Kind
    timestamp: Moment = None
    value: Number = 1.0
    recommendation_id: Id | None = None
    context: AnyContext = {}


class EventsBody(Body):
    events: list[EventBody]


class EventsAnswer(BaseModel):
    """accepted: new to the log. duplicates: it had them. sequence: number of the last new one."""

    accepted: int
    duplicates: int
    sequence: int


class SessionEvent(Body):
    item_id: Id
    kind: Kind = "click"
    timestamp: Moment = None
    value: Number = 1.0


class RecommendBody(Body):
    """A question: for a user, for a session, or (neither) for a newcomer."""

    user_id: Id | None = None
    n: Annotated[int, Field(ge=1)] = 10
    offset: Annotated[int, Field(ge=0, le=100_000)] = 0
    history: Annotated[list[SessionEvent], Field(max_length=1000)] = []
    exclude: Annotated[list[Id], Field(max_length=10_000)] = []
    where: AnyContext = {}
    context: AnyContext = {}


class BatchBody(Body):
    requests: list[RecommendBody]


class ShownAnswer(BaseModel):
    item_id: str
    score: float
    rung: str
    propensity: float


class RecommendAnswer(BaseModel):
    recommendation_id: str
    model_version: str
    rung: str
    milliseconds: float
    items: list[ShownAnswer]


class BatchAnswer(BaseModel):
    answers: list[RecommendAnswer]


class ReasonAnswer(BaseModel):
    text: str
    contribution: float


class WhyAnswer(BaseModel):
    """Contributions add up to the score. model_version: of who explains; shown_by: of who had shown it."""

    recommendation_id: str
    item_id: str
    score: float
    model_version: str
    shown_by: str
    reasons: list[ReasonAnswer]


class StageAnswer(BaseModel):
    stage: str
    passed: bool
    text: str


class WhyNotAnswer(BaseModel):
    user_id: str
    item_id: str
    model_version: str
    stages: list[StageAnswer]


class Health(BaseModel):
    """Gorse's names; the cache store is this process's memory."""

    Ready: bool
    DataStoreError: str | None
    CacheStoreError: str | None
    DataStoreConnected: bool
    CacheStoreConnected: bool


class Refusal(BaseModel):
    detail: Any

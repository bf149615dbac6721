"""Section `serve`: the live service, its event log and its door."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rectory.params.base import Section


class ServeParams(Section):
    """`rectory serve`: the HTTP service and the event log."""

    host: str = "127.0.0.1"
    """Address to listen on. Any but a loopback address asks for API keys (`keys`)."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8088
    """Port to listen on; 0 takes a free one and says which."""
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes. Each holds the model; all see each other's events within 200 ms."""
    # Not called `keys`: Prefect takes whatever has a `keys` for a mapping when it looks through a task's parameters.
    api_keys: Literal["auto", "required", "off"] = Field(default="auto", alias="keys")
    """API keys: asked for on every bind, on none, or (auto) on all but loopback addresses."""
    cors_origins: tuple[str, ...] = ()
    """Origins of web pages that may call the API from a browser; empty: none."""
    requests_per_second: Annotated[float, Field(gt=0)] | None = None
    """Requests that one key (without keys: one address) may make each second, on average; null: no limit."""
    burst: Annotated[int, Field(ge=1)] = 100
    """Requests that it may make at once when it had been quiet."""
    max_connections: Annotated[int, Field(ge=10)] = 1000
    """Connections of one process; more are told 503 with Retry-After and closed."""
    request_seconds: Annotated[float, Field(gt=0)] = 20.0
    """A connection that has not sent a whole request by then is closed."""
    max_body_kb: Annotated[int, Field(ge=1, le=1_000_000)] = 4096
    """Larger request bodies are refused with 413."""
    max_list: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Longest list that may be asked for (`n`)."""
    max_events: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Events, items, users or questions in one request."""
    max_future_seconds: Annotated[int, Field(ge=0)] = 300
    """How far ahead of our clock an event may be; past it the request is refused with 422."""
    max_waiting_events: Annotated[int, Field(ge=1)] = 20_000
    """Events that may wait for their commit; past it the sender is told 429 with Retry-After."""
    commit_events: Annotated[int, Field(ge=1, le=100_000)] = 2000
    """Events that one transaction takes at most."""
    lock_seconds: Annotated[float, Field(gt=0, le=600)] = 5.0
    """How long to wait for an event store that another process has locked, before the sender is told 503."""
    poll_milliseconds: Annotated[int, Field(ge=5, le=100)] = 50
    """How often a worker looks for other workers' events when nobody tells it (RECTORY_REDIS_URL) of them."""
    answers_days: Annotated[float, Field(gt=0)] | None = 90.0
    """Answers (exposures) are kept so long; null: for ever. Events are never dropped."""
    look_seconds: Annotated[float, Field(gt=0, le=3600)] = 3.0
    """How often the model store is asked who the champion is; a new one is loaded beside the old one and checked."""
    slowest_milliseconds: Annotated[float, Field(gt=0)] = 100.0
    """A new champion is refused when one in ten of its answers takes more processor time than this,"""
    most_times_slower: Annotated[float, Field(ge=1)] = 5.0
    """or than so many times the serving model's."""
    warm_seconds: Annotated[float, Field(ge=0, le=600)] = 5.0
    """Processor time for lists that are made in advance for those who took something last: before a new champion takes
    over, and beside the first answers of a service that starts."""
    max_waiting_answers: Annotated[int, Field(ge=1)] = 50_000
    """Answers (exposures) that may wait to be written; past it the oldest are given up and counted."""
    storefront: bool = True
    """A small shop at `/` and the operator's page at `/ops`, where no API keys are asked for."""
    attribution_minutes: Annotated[float, Field(gt=0, le=60 * 24 * 90)] = 1440.0
    """An event that names an answer counts for it when it comes within this time."""
    conversions: tuple[str, ...] = ("purchase", "buy", "order")
    """Kinds of event that are worth money: what the conversion rate counts."""

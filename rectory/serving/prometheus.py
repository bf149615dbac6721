"""/metrics: the service in Prometheus' words. Rates come from the event store, the rest from this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fastapi import APIRouter
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from rectory.serving.live_metrics import Attribution, LiveMetrics, live_metrics
from rectory.serving.service import Service
from rectory.serving.store import EventStoreError

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

_WINDOW_SECONDS = 3600.0
_FRESH_SECONDS = 15.0
_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0)


class LiveCollector:
    """Asked at each scrape; what is read from the store is kept for some seconds, however many scrape."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._lock = threading.Lock()
        self._read_at = -_FRESH_SECONDS
        self._metrics: LiveMetrics | None = None

    def collect(self) -> Iterator[Metric]:
        status = self._service.status()
        version = str(status["model_version"] or "none")
        yield _gauge("rectory_ready", "1 when a model is loaded and the event store answers", float(status["ready"]))
        served = GaugeMetricFamily("rectory_model_info", "Version that answers", labels=["version"])
        served.add_metric([version], 1.0)
        yield served
        engine = self._service.slot.engine
        if engine is not None:
            yield _gauge("rectory_model_known_until_seconds", "Newest event in the model", engine.known_until)
        yield CounterMetricFamily("rectory_log_sequence", "Entries of the event log", value=float(status["sequence"]))
        yield _gauge("rectory_waiting_events", "Events that wait for their commit", float(status["waiting_events"]))
        dropped = float(status["dropped_answers"])
        yield CounterMetricFamily("rectory_dropped_answers", "Answers given up before they were written", value=dropped)
        metrics = self._fresh()
        if metrics is not None:
            yield from _rates(metrics)

    def _fresh(self) -> LiveMetrics | None:
        with self._lock:
            if time.monotonic() - self._read_at >= _FRESH_SECONDS:
                now, params = time.time(), self._service.params
                attribution = Attribution(60 * params.attribution_minutes, params.conversions)
                try:
                    self._metrics = live_metrics(self._service.store, now - _WINDOW_SECONDS, now, attribution)
                except EventStoreError:
                    # rectory_ready says so; old rates would not.
                    self._metrics = None
                self._read_at = time.monotonic()
            return self._metrics


def metrics_router(service: Service) -> APIRouter:
    """The one path; with API keys it asks for one that may read."""
    router = APIRouter(tags=["health"])
    registry = CollectorRegistry()
    registry.register(LiveCollector(service))
    service.timed = Histogram(
        "rectory_recommend_seconds", "Time of one answer inside the engine", registry=registry, buckets=_BUCKETS
    ).observe

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    def metrics() -> Response:
        """Metrics for Prometheus: this process, and rates of the last hour."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return router


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _rates(metrics: LiveMetrics) -> Iterator[Metric]:
    """Of the last hour."""
    for name, text in (("ctr", "Share of answers that an event followed"), ("conversion", "... worth money")):
        family = GaugeMetricFamily(f"rectory_{name}", f"{text}, last hour", labels=["version"])
        for version, rates in metrics.versions.items():
            if (rate := getattr(rates, name)) is not None:
                family.add_metric([version], rate.value)
        yield family
    answers = GaugeMetricFamily("rectory_answers", "Personal answers, last hour", labels=["version"])
    for version, rates in metrics.versions.items():
        answers.add_metric([version], float(rates.answers))
    yield answers
    rungs = GaugeMetricFamily("rectory_rung_answers", "Answers by what gave the list, last hour", labels=["rung"])
    for rung, count in metrics.rungs.items():
        rungs.add_metric([rung], float(count))
    yield rungs
    events = GaugeMetricFamily("rectory_events", "Events, last hour", labels=["kind"])
    for kind, count in metrics.events.items():
        events.add_metric([kind], float(count))
    yield events
    yield _gauge("rectory_fallback_share", "Answers that begin like everybody's, last hour", metrics.fallback_share)
    yield _gauge("rectory_exposure_gini", "Gini of exposure over shown items, last hour", metrics.exposure_gini)
    yield _gauge("rectory_items_shown", "Distinct items shown, last hour", float(metrics.items_shown))

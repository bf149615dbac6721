"""/ops: the live metrics of a window as one page."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from markupsafe import Markup, escape

from rectory.metrics.bootstrap import Interval
from rectory.serving.live_metrics import Attribution, Bucket, Rates, live_metrics
from rectory.serving.service import Service
from rectory.serving.storefront.render import render

_WIDTH, _HEIGHT, _FOOT, _HEAD = 560, 150, 18, 14


def ops_page(service: Service, hours: float) -> str:
    """The page; reads the event store once."""
    now = time.time()
    attribution = Attribution(60 * service.params.attribution_minutes, service.params.conversions)
    metrics = live_metrics(service.store, now - 3600 * hours, now, attribution)
    engine = service.slot.engine
    known = "" if engine is None else f"knows events until {_moment(engine.known_until)}"
    return render(
        "ops.html.j2",
        hours=hours,
        metrics=metrics,
        status=service.status(),
        version="none" if engine is None else engine.version,
        model=known,
        attribution=_span(service.params.attribution_minutes),
        rules_fault=service.rules_fault,
        rate=_rate,
        answers_plot=_bars(metrics.buckets),
        latency_plot=_line([(one.start, one.p99) for one in metrics.buckets], "{:.1f}"),
        ctr_plot=_line([(one.start, one.ctr) for one in metrics.buckets], "{:.1%}"),
    )


def _rate(rates: Rates, name: str) -> Markup:
    """A rate with its interval; one user alone spreads nothing and has none."""
    interval: Interval | None = getattr(rates, name)
    if interval is None:
        return Markup("none")
    spread = f"[{interval.low:.1%}, {interval.high:.1%}]" if rates.users > 1 else "one user"
    return Markup('{} <span class="small">{}</span>').format(f"{interval.value:.1%}", spread)


def _span(minutes: float) -> str:
    if minutes % 1440 == 0:
        return f"{minutes / 1440:g} d"
    return f"{minutes / 60:g} h" if minutes % 60 == 0 else f"{minutes:g} minutes"


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}" if seconds > 0 else "its training"


def _bars(buckets: Sequence[Bucket]) -> str:
    most = max([one.answers for one in buckets] + [1])
    step = _WIDTH / len(buckets)
    parts = []
    for place, one in enumerate(buckets):
        height = (_HEIGHT - _HEAD - _FOOT) * one.answers / most
        title = escape(f"{_moment(one.start)}: {one.answers}")
        parts.append(
            f'<rect class="bar" x="{place * step + 1:.1f}" y="{_HEIGHT - _FOOT - height:.1f}" width="{step - 2:.1f}" '
            f'height="{height:.1f}"><title>{title}</title></rect>'
        )
    return _framed("".join(parts), [one.start for one in buckets], f"{most:,}")


def _line(points: Sequence[tuple[float, float | None]], form: str) -> str:
    known = [value for _, value in points if value is not None]
    if not known:
        return '<p class="empty">Nothing in this time.</p>'
    most = max(*known, 1e-9)
    step = _WIDTH / len(points)
    place = [
        None
        if value is None
        else (at * step + step / 2, _HEIGHT - _FOOT - (_HEIGHT - _HEAD - _FOOT) * value / most, value, start)
        for at, (start, value) in enumerate(points)
    ]
    parts, run = [], []
    for one in [*place, None]:
        if one is not None:
            run.append(f"{one[0]:.1f},{one[1]:.1f}")
            title = escape(f"{_moment(one[3])}: {form.format(one[2])}")
            parts.append(
                f'<circle class="bar" cx="{one[0]:.1f}" cy="{one[1]:.1f}" r="3"><title>{title}</title></circle>'
            )
        elif run:
            parts.append(f'<polyline class="line" points="{" ".join(run)}"/>')
            run = []
    return _framed("".join(parts), [start for start, _ in points], form.format(most))


def _framed(inside: str, starts: Sequence[float], top: str) -> str:
    """Axis words: the largest value, the first moment and now."""
    first = escape(_moment(starts[0]))
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">{inside}'
        f'<text x="0" y="10">{escape(top)}</text><text x="0" y="{_HEIGHT - 4}">{first}</text>'
        f'<text x="{_WIDTH}" y="{_HEIGHT - 4}" text-anchor="end">now</text></svg>'
    )

"""Small SVG plots that take their colours from the page, so that they follow a light or a dark scheme and print well.

matplotlib draws with marker colours, and these become CSS variables afterwards. Text stays text: it can be read out,
searched and takes the page's font. Equal inputs give equal bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rectory.reporting.pareto import Point, staircase
from rectory.reporting.shape import LogShape

# Marker colour -> CSS variable. s1..s8 are colour-blind safe (Okabe and Ito); the page defines them for both schemes.
INK, MUTED, LINE, SOFT = "#010101", "#010102", "#010103", "#010104"
SERIES = tuple(f"#0102{number:02x}" for number in range(1, 9))
_VARIABLES = {INK: "--ink", MUTED: "--muted", LINE: "--line", SOFT: "--soft"} | {
    colour: f"--s{number}" for number, colour in enumerate(SERIES, start=1)
}
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_DASHES = ("-", "--", "-.", ":")


def events_over_time(shape: LogShape, windows: Sequence[tuple[str, str, str]]) -> str:
    """Bars of rows over time.

    Args:
        shape: of the log.
        windows: (name, start, end) in ISO, shaded, e.g. ("test", "2017-12-01", "2018-01-01").
    """
    import matplotlib.dates as mdates

    def draw(axes: Any) -> None:
        starts = mdates.date2num(shape.starts)
        axes.bar(starts, shape.rows, width=shape.bin_days * 0.86, align="edge", color=SERIES[0], linewidth=0)
        for number, (name, start, end) in enumerate(windows):
            left, right = mdates.datestr2num(start), mdates.datestr2num(end)
            axes.axvspan(left, right, color=SERIES[1 + number], alpha=0.18, linewidth=0)
            axes.text(
                (left + right) / 2,
                1.02,
                name,
                transform=axes.get_xaxis_transform(),
                ha="center",
                va="bottom",
                fontsize=11,
                color=MUTED,
            )
        locator = mdates.AutoDateLocator(minticks=3, maxticks=7)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))
        axes.yaxis.set_major_formatter(_compact)
        axes.set_ylim(0, float(shape.rows.max()) * 1.05)
        axes.grid(axis="x", visible=False)

    return _svg("events", draw, (9.2, 2.4))


def long_tail(shape: LogShape) -> str:
    """Share of rows over share of items, most popular first."""

    def draw(axes: Any) -> None:
        axes.plot(shape.item_share * 100, shape.row_share * 100, color=SERIES[0], linewidth=2)
        axes.fill_between(shape.item_share * 100, shape.row_share * 100, color=SERIES[0], alpha=0.12, linewidth=0)
        axes.plot([0, 100], [0, 100], color=MUTED, linewidth=1, linestyle=":")
        share = shape.top_fifth_share * 100
        axes.plot([20], [share], marker="o", color=SERIES[1], markersize=7)
        axes.annotate(
            f"20% of items: {share:.0f}% of rows", (20, share), (28, max(share - 22, 8)), fontsize=11, color=INK
        )
        axes.set_xlabel("items, most popular first (%)")
        axes.set_ylabel("rows (%)")
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 101)

    return _svg("longtail", draw)


def activity(shape: LogShape) -> str:
    """Users by number of rows, in doubling bins."""

    def draw(axes: Any) -> None:
        places = np.arange(len(shape.activity_users))
        axes.bar(places, shape.activity_users, width=0.86, color=SERIES[2], linewidth=0)
        step = max(1, -(-len(places) // 6))
        axes.set_xticks(places[::step], [_short(edge) for edge in shape.activity_edges[:-1][::step]])
        axes.yaxis.set_major_formatter(_compact)
        axes.set_xlabel("rows of a user (from, doubling)")
        axes.set_ylabel("users")
        axes.grid(axis="x", visible=False)

    return _svg("activity", draw)


def accuracy_against_coverage(points: Sequence[Point], metric: str) -> str:
    """Scatter of candidates with intervals, and the Pareto front as stairs.

    Args:
        points: one or more.
        metric: that accuracy is measured in, e.g. "ndcg@10".
    """
    ends = [end for one in points for end in (one.low, one.high, one.value) if end is not None]
    pad = (max(ends) - min(ends)) * 0.06 or max(ends) * 0.1 or 0.1
    bottom, top = max(0.0, min(ends) - pad), max(ends) + pad
    wide = max(one.coverage for one in points) * 100 or 1.0
    ranked = sorted(points, key=lambda one: (one.value, one.name))
    height = max(3.4, 1.1 + 0.29 * len(points))
    line = (top - bottom) * 0.27 / (height - 0.7)  # of a label, in the metric's unit
    heights = _spread([one.value for one in ranked], line, bottom + line / 2, top - line / 2)

    def draw(axes: Any) -> None:
        if any(one.front for one in points):
            across, up = staircase(points)
            across = [share * 100 for share in across]
            axes.plot([*across, across[-1]], [*up, bottom], color=SERIES[2], linewidth=1.6, linestyle="--")
            axes.fill_between(across, up, bottom, color=SERIES[2], alpha=0.07, linewidth=0)
        for one, place in zip(ranked, heights, strict=True):
            colour = SERIES[1] if one.winner else MUTED if one.baseline else SERIES[0]
            x = one.coverage * 100
            axes.plot([x, wide * 1.1], [one.value, place], color=colour, linewidth=0.6, linestyle=":")
            if one.low is not None and one.high is not None:
                axes.plot([x, x], [one.low, one.high], color=colour, linewidth=2.2, alpha=0.4)
            marker, size = ("*", 14) if one.winner else ("s", 7) if one.baseline else ("o", 8)
            axes.plot([x], [one.value], marker=marker, markersize=size, color=colour, linestyle="", clip_on=False)
            axes.annotate(
                f"{one.name} \N{BULLET} front" if one.front else one.name,
                (wide * 1.12, place),
                ha="left",
                va="center",
                fontsize=11,
                color=INK,
                annotation_clip=False,
            )
        axes.set_xlim(0, wide * 1.1)
        axes.set_ylim(bottom, top)
        axes.set_xlabel(f"coverage@{metric.partition('@')[2]}: catalogue that is shown to somebody (%)")
        axes.set_ylabel(metric)

    return _svg("scatter", draw, (8.2, height))


def _spread(places: Sequence[float], gap: float, bottom: float, top: float) -> list[float]:
    """Rising places pushed apart to at least `gap`: near neighbours would cover each other's names."""
    found: list[float] = []
    for place in places:
        found.append(max(place, bottom, found[-1] + gap if found else bottom))
    ceiling = top
    for index in range(len(found) - 1, -1, -1):
        found[index] = min(found[index], ceiling)
        ceiling = found[index] - gap
    return found


def learning_curves(name: str, curve: Sequence[dict[str, Any]], metric: str) -> str:
    """Validation score over epochs, a line for each try; without epochs a bar for each try.

    Args:
        name: of the candidate, for unique ids.
        curve: rows of a fit report's curve, each with `score`.
        metric: of the score.
    """
    keys = [key for key in curve[0] if key not in {"score", "epoch", "candidate", "metric"}]
    varying = [key for key in keys if len({str(row.get(key)) for row in curve}) > 1]

    def label(row: dict[str, Any]) -> str:
        return ", ".join(
            f"{key.removesuffix('_days').replace('_', ' ')} {_value(key, row.get(key))}" for key in varying
        )

    def draw_lines(axes: Any) -> None:
        groups: dict[str, list[dict[str, Any]]] = {}
        for row in curve:
            groups.setdefault(label(row) or name, []).append(row)
        for number, (title, rows) in enumerate(groups.items()):
            axes.plot(
                [float(row["epoch"]) for row in rows],
                [float(row["score"]) for row in rows],
                color=SERIES[number % 8],
                linestyle=_DASHES[number // 8 % 4],
                marker=_MARKERS[number % 8],
                markersize=4.5,
                linewidth=1.7,
                label=title,
            )
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"{metric} on validation")
        axes.xaxis.get_major_locator().set_params(integer=True)
        if len(groups) > 1:
            axes.figure.legend(
                loc="outside lower center", frameon=False, fontsize=10, labelcolor=INK, ncols=3, handlelength=2.6
            )

    def draw_bars(axes: Any) -> None:
        scores = [float(row["score"]) for row in curve]
        best = int(np.argmax(scores))
        places = np.arange(len(scores))
        colours = [SERIES[1] if place == best else SERIES[0] for place in places]
        axes.barh(places, scores, height=0.62, color=colours, linewidth=0)
        axes.set_yticks(places, [label(row) or "as given" for row in curve])
        axes.invert_yaxis()
        axes.set_xlabel(f"{metric} on validation")
        axes.grid(axis="y", visible=False)

    by_epoch = all("epoch" in row for row in curve)
    height = 3.2 if by_epoch else 1.0 + 0.36 * len(curve)
    return _svg(f"learning-{name}", draw_lines if by_epoch else draw_bars, (5.2, height))


def _svg(name: str, draw: Callable[[Any], None], size: tuple[float, float] = (5.2, 3.2)) -> str:
    """Inches to an inline `<svg>` without fixed size; screen readers get the words of the figure around it."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style = {
        "svg.fonttype": "none",
        "svg.hashsalt": f"rectory-{name}",
        "font.size": 12,
        "axes.edgecolor": LINE,
        "axes.labelcolor": MUTED,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": LINE,
        "grid.linewidth": 0.8,
        "xtick.color": LINE,
        "ytick.color": LINE,
        "xtick.labelcolor": MUTED,
        "ytick.labelcolor": MUTED,
        "text.color": INK,
        "timezone": "UTC",
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=size, layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        draw(axes)
        out = io.StringIO()
        FigureCanvasSVG(figure).print_svg(out, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _inline(out.getvalue(), re.sub(r"[^A-Za-z0-9]", "-", name))


def _inline(document: str, prefix: str) -> str:
    """Cut the XML head off, make ids unique in the page, turn marker colours into variables."""
    svg = document[document.index("<svg") :]
    # matplotlib's own style sheet would reach out of the plot and into the page.
    svg = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<svg\b[^>]*?viewBox="([^"]+)"[^>]*>', _opening, svg, count=1)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", svg)
    svg = re.sub(r'(?:xlink:)?href="#([^"]+)"', rf'href="#{prefix}-\1"', svg)
    svg = re.sub(r"font-family:[^;\"]*;?", "", svg)
    svg = re.sub(r"font: (\d+(?:\.\d+)?)px [^;\"]*", r"font-size: \1px", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg.strip()


def _opening(match: re.Match[str]) -> str:
    width = float(match.group(1).split()[2])
    # Between readable and not blown up; a narrower screen scrolls the figure.
    size = f"max-width: {width * 1.25:.0f}px; min-width: {width * 0.74:.0f}px"
    return f'<svg viewBox="{match.group(1)}" style="{size}" aria-hidden="true" focusable="false">'


def _compact(value: float, _position: int = 0) -> str:
    return _short(value)


def _short(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _value(key: str, value: Any) -> str:
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return "none"
    unit = " days" if key.endswith("_days") else ""
    return f"{value:g}{unit}" if isinstance(value, int | float) else str(value)

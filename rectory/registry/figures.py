"""Two small pictures that are kept with each registered candidate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_WIDTH = 7.0
# In inches. Margins that fit whatever stands there would draw everything twice.
_BELOW = _ABOVE = _RIGHT = 0.5


def learning_figure(curve: list[dict[str, Any]], metric: str, path: Path) -> None:
    """Validation score of every try; one line for each set of the other values (half-life, window)."""
    figure, axes = _axes(height=3.5, left=0.8)
    step = "epoch" if any("epoch" in row for row in curve) else None
    lines: dict[str, list[tuple[float, float]]] = {}
    for place, row in enumerate(curve):
        label = ", ".join(f"{key} {value}" for key, value in row.items() if key not in (step, "score"))
        lines.setdefault(label if step else metric, []).append((float(row[step] if step else place), row["score"]))
    for label, points in lines.items():
        axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=label)
    axes.set_xlabel(step or "try")
    axes.set_ylabel(f"{metric} on validation")
    axes.legend(fontsize=7)
    figure.savefig(path)


def intervals_figure(metrics: dict[str, dict[str, float]], path: Path) -> None:
    """Each metric of the test window with its 95% interval."""
    names = list(metrics)[::-1]
    figure, axes = _axes(height=1.2 + 0.28 * len(names), left=0.3 + 0.085 * max(map(len, names)))
    low, value, high = ([metrics[name][part] for name in names] for part in ("low", "value", "high"))
    places = range(len(names))
    axes.hlines(places, low, high, color="#4c72b0")
    axes.plot(value, places, "o", color="#4c72b0", markersize=4)
    axes.set_yticks(places, names)
    axes.set_ylim(-1, len(names))
    axes.set_xlabel("value, 95% interval over users")
    figure.savefig(path)


def _axes(height: float, left: float) -> tuple[Any, Any]:
    # No pyplot: its global state is not for threads, and it would look for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height), dpi=100)
    FigureCanvasAgg(figure)
    width, free = _WIDTH - left - _RIGHT, height - _BELOW - _ABOVE
    return figure, figure.add_axes((left / _WIDTH, _BELOW / height, width / _WIDTH, free / height))

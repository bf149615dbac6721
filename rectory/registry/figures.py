"""Two small pictures that are kept with each registered candidate."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def learning_figure(curve: list[dict[str, Any]], metric: str, path: Path) -> None:
    """Validation score of every try; one line for each set of the other values (half-life, window)."""
    figure, axes = _axes()
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
    figure, axes = _axes(height=1 + 0.28 * len(metrics))
    names = list(metrics)[::-1]
    for place, name in enumerate(names):
        one = metrics[name]
        axes.plot([one["low"], one["high"]], [place, place], color="#4c72b0")
        axes.plot([one["value"]], [place], "o", color="#4c72b0")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("value, 95% interval over users")
    figure.savefig(path)


def _axes(height: float = 3.5) -> tuple[Any, Any]:
    # No pyplot: its global state is not for threads, and it would look for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, height), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()

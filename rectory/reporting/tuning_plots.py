"""Figures of a tuning study, in the style of the run report."""

from __future__ import annotations

from typing import Any

import numpy as np

from rectory.reporting.plots import INK, MUTED, SERIES, _svg
from rectory.tuning.result import Tried, Tuned

_WIDE = (9.2, 3.2)
_SMALL = (3.6, 2.5)


def history(tuned: Tuned) -> str:
    """Score of each trial in order, the best so far as a step line, the defaults as a level."""
    scored = [one for one in tuned.trials if one.score is not None]

    def draw(axes: Any) -> None:
        whole = [one for one in scored if one.state == "complete"]
        pruned = [one for one in scored if one.state == "pruned"]
        numbers, scores = [one.number for one in whole], [one.score or 0.0 for one in whole]
        axes.axhline(tuned.defaults.score, color=MUTED, linewidth=1, linestyle=":", label="defaults")
        best = np.maximum.accumulate(scores)
        axes.step(numbers, best, where="post", color=SERIES[1], linewidth=1.8, label="best so far")
        axes.plot(numbers, scores, "o", color=SERIES[0], markersize=6, label="trial")
        if pruned:
            axes.plot(
                [one.number for one in pruned],
                [one.score for one in pruned],
                "x",
                color=MUTED,
                markersize=6,
                label="ended early (best it had reached)",
            )
        axes.plot([tuned.best.number], [tuned.best.score], "*", color=SERIES[1], markersize=15)
        axes.set_xlabel("trial")
        axes.set_ylabel(f"{tuned.metric} on validation")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.figure.legend(loc="outside lower center", frameon=False, fontsize=10, labelcolor=INK, ncols=4)

    return _svg(f"history-{tuned.candidate}", draw, _WIDE)


def importance(tuned: Tuned) -> str:
    """A bar for each key: its share of the scores' variance."""

    def draw(axes: Any) -> None:
        keys = list(tuned.importance)
        axes.barh(range(len(keys)), [100 * tuned.importance[key] for key in keys], height=0.62, color=SERIES[0])
        axes.set_yticks(range(len(keys)), keys)
        axes.invert_yaxis()
        axes.set_xlabel("share of the variance of scores (%)")
        axes.grid(axis="y", visible=False)

    return _svg(f"importance-{tuned.candidate}", draw, (5.2, 1.0 + 0.36 * len(tuned.importance)))


def of_key(tuned: Tuned, key: str) -> str:
    """Score of each whole trial by the value of one key; the best is the star, the defaults are the square."""
    whole = [one for one in tuned.trials if one.state == "complete" and one.score is not None]
    numbers = all(isinstance(one.values[key], int | float) and not isinstance(one.values[key], bool) for one in whole)
    numbers = numbers and len({one.values[key] for one in whole}) > 4
    words = sorted({_word(one.values[key]) for one in whole}, key=_order)

    def place(one: Tried) -> float:
        return float(one.values[key]) if numbers else float(words.index(_word(one.values[key])))

    def draw(axes: Any) -> None:
        axes.plot([place(one) for one in whole], [one.score for one in whole], "o", color=SERIES[0], markersize=6)
        axes.plot([place(tuned.defaults)], [tuned.defaults.score], "s", color=MUTED, markersize=8)
        axes.plot([place(tuned.best)], [tuned.best.score], "*", color=SERIES[1], markersize=14)
        axes.set_xlabel(key)
        if not numbers:
            axes.set_xticks(range(len(words)), words)
            axes.set_xlim(-0.5, len(words) - 0.5)
        elif min(place(one) for one in whole) > 0 and max(map(place, whole)) / min(map(place, whole)) > 8:
            from matplotlib.ticker import FuncFormatter, NullFormatter

            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())

    return _svg(f"key-{tuned.candidate}-{key}", draw, _SMALL)


def _word(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _order(word: str) -> tuple[bool, float, str]:
    """Numbers in their order, then words."""
    try:
        return False, float(word), ""
    except ValueError:
        return True, 0.0, word

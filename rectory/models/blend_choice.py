"""What a blend chooses from the data: which sources are switched on, and how far it goes beyond the best of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rectory.arrays import Array, Float64Array
from rectory.features.training_set import TrainingSet
from rectory.metrics.bootstrap import paired_gain
from rectory.models.blend_ranker import Examples, Ranker, prior
from rectory.models.protocol import Recommender
from rectory.models.search import clearly_better
from rectory.models.topk import rank_pairs
from rectory.models.validation import K, Validation
from rectory.params.candidates import BlendParams

STAGES = (0, 10, 20, 40, 80, 160, 320, 640)
"""Numbers of trees that validation chooses among; 0 is the best single source as it is."""
_SAMPLES = 1000
_CORE = ("lightfm_hybrid", "popularity", "personal_frequency")
_FACTORS = ("als", "bpr")
_WORTH = 0.005
"""Relative gain on validation that optional sources must bring."""


@dataclass(frozen=True)
class Singles:
    """Each source alone on one window. scores: name -> (n,) per user. column: place of the best one."""

    scores: dict[str, Float64Array]

    @classmethod
    def of(cls, validation: Validation, latest: Examples, sources: list[str]) -> Singles:
        """Score the lists that the sources proposed."""
        return cls(
            {
                name: _per_user(validation, latest, np.where(latest.proposals.ranks[:, column] > 0, near, -1.0))
                for column, name in enumerate(sources)
                for near in (prior(latest.proposals, column),)
            }
        )

    @property
    def best(self) -> str:
        return max(self.scores, key=lambda name: self.scores[name].mean())  # the first of equals

    @property
    def column(self) -> int:
        return list(self.scores).index(self.best)


@dataclass(frozen=True)
class Choice:
    """trees: 0 is the best single source as it is. score: of the blend. curve, notes: for the fit report.

    per_user: (n_users,) scores for each row of the curve.
    """

    trees: int
    score: float
    curve: list[dict[str, Any]]
    notes: list[str]
    per_user: list[Float64Array]


def switched_on(params: BlendParams, train: TrainingSet) -> tuple[list[str], list[str]]:
    """Names of the sources that can say something about this log, and a sentence for each that is left out."""
    kept, notes = [], []
    for name, source in sorted(params.sources.items()):  # however params are written down, columns stand in one order
        if source.kind == "personal_frequency" and not train.repeats:
            notes.append(f"{name} is off: the card excludes repeats, so own items are never shown.")
        elif source.kind == "content" and not train.item_features.names:
            notes.append(f"{name} is off: no item has a declared feature.")
        else:
            kept.append(name)
    return kept, [f"Sources: {', '.join(kept)}.", *notes]


def core_of(sources: Mapping[str, str]) -> list[str]:
    """Names of the sources that are always kept: the hybrid, and lists of counts that cost next to nothing.

    Args:
        sources: name -> kind.
    """
    return [name for name, kind in sources.items() if kind in _CORE] or list(sources)


def optional_of(sources: Mapping[str, str]) -> list[list[str]]:
    """Names of all others, in the groups that are judged one after another: those of likeness, then factorisations.

    Args:
        sources: name -> kind.
    """
    core = core_of(sources)
    groups: tuple[list[str], list[str]] = ([], [])
    for name, kind in sources.items():
        if name not in core:
            groups[kind in _FACTORS].append(name)
    return [group for group in groups if group]


def pay(without: Choice, with_them: Choice, group: list[str]) -> tuple[bool, str]:
    """Whether some optional sources are worth a fit in each window and a place in each list, in a sentence.

    Args:
        without, with_them: on the same windows.
    """
    pays = with_them.score >= without.score * (1 + _WORTH)
    verdict = "kept" if pays else f"dropped, {_WORTH:.1%} more is asked for what they cost"
    return pays, (
        f"{', '.join(group)}: {verdict}. A ranker trained on one past window scores {with_them.score:.4f} on the "
        f"validation window with them and {without.score:.4f} without."
    )


def choose_trees(validation: Validation, latest: Examples, singles: Singles, ranker: Ranker, most: int) -> Choice:
    """How many trees go beyond the best single source, by the validation window, which nothing here was fitted on.

    Args:
        latest: examples of the validation window, of all its users.
        most: trees of `ranker`.
    """
    start = prior(latest.proposals, singles.column)
    stages = sorted({*(stage for stage in STAGES if stage < most), most})
    tried, score, before = {}, start, 0
    for stage in stages:
        score = score + ranker.beyond(latest.x, stage, before)
        tried[stage], before = _per_user(validation, latest, score), stage
    trees = max(tried, key=lambda stage: tried[stage].mean())  # the fewest of equals
    best, own = singles.best, singles.scores[singles.best]
    reached = float(tried[trees].mean())
    curve = [{"trees": stage, "score": float(values.mean())} for stage, values in tried.items()]
    gain = paired_gain(tried[trees], own, _SAMPLES, 0).absolute
    others = ", ".join(f"{name} {values.mean():.4f}" for name, values in singles.scores.items() if name != best)
    found = latest.hit.sum() / max(validation.relevant.nnz, 1)
    notes = [
        f"On the validation window the best single source is {best} ({own.mean():.4f}; {others or 'no other'}), so "
        f"boosting starts from its order. {trees} trees on top give {reached:.4f}, a gain of {gain.value:+.4f} "
        f"[{gain.low:+.4f}, {gain.high:+.4f}]" + ("." if trees else ": no tree is kept."),
        f"The sources' proposals held {found:.0%} of what was then taken.",
    ]
    return Choice(trees, reached, curve, notes, list(tried.values()))


def _per_user(validation: Validation, latest: Examples, score: Array) -> Float64Array:
    top = rank_pairs(latest.proposals.row, latest.proposals.item, score, latest.n, K)
    return validation.of_lists(top.items)


def of_today(
    names: list[str],
    settings: dict[str, Any],
    build: Callable[[str], Recommender],
    train: TrainingSet,
    validation: Validation,
) -> tuple[dict[str, Any], list[str]]:
    """New settings of those sources for which the newest window has clearly better ones, and why.

    Meant for what is popular, which moves on: settings are found a window earlier. Other sources keep theirs: to choose
    all of them anew helped one log and harmed another (docs/results.md).
    """
    found: dict[str, Any] = {}
    notes = []
    for name in names:
        old, new = settings[name], build(name).fit(train).report.chosen
        if new == old:
            continue
        before = train.before_validation()
        then, now = (validation.per_user(build(name).refit(before, one)) for one in (old, new))
        if clearly_better(now, then):
            found[name] = new
            notes.append(
                f"{name}: {_told(new)}, not {_told(old)} as the window before had it: clearly better on the validation "
                f"window ({now.mean():.4f} against {then.mean():.4f})."
            )
    return found, notes


def _told(setting: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in setting.items() if value is not None) or "all time"

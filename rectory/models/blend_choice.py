"""What a blend chooses from the data: which sources are switched on, and how far it goes beyond the best of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

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
"""Relative gain on the newest windows that optional sources must be able to bring."""


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
class Curve:
    """What each number of trees reaches on a window that neither the ranker nor the sources were fitted on.

    stages: numbers of trees, fewest first. per_user: (n_users,) scores for each of them.
    """

    stages: list[int]
    per_user: list[Float64Array]

    @classmethod
    def of(cls, window: Validation, held: Examples, column: int, ranker: Ranker, most: int) -> Self:
        """Score the lists of a ranker that was trained on other windows.

        Args:
            held: examples of the window. column: of the source whose order boosting starts from.
            most: trees of `ranker`.
        """
        score, before, per_user = prior(held.proposals, column), 0, []
        stages = sorted({*(stage for stage in STAGES if stage < most), most})
        for stage in stages:
            score = score + ranker.beyond(held.x, stage, before)
            per_user.append(_per_user(window, held, score))
            before = stage
        return cls(stages, per_user)


@dataclass(frozen=True)
class Choice:
    """trees: 0 is the best single source as it is. score: of the blend on the validation window, and its curve there.

    notes: for the fit report.
    """

    trees: int
    score: float
    curve: Curve
    notes: list[str]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The curve, for the fit report."""
        pairs = zip(self.curve.stages, self.curve.per_user, strict=True)
        return [{"trees": stage, "score": float(values.mean())} for stage, values in pairs]


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


def pay(without: Float64Array, with_them: Float64Array, group: list[str]) -> tuple[bool, str]:
    """Whether some optional sources may be worth a fit in each window and a place in each list, in a sentence.

    They go only where that is clearly not so: on a few hundred users a gain is anything between -2% and 2%, and sources
    that were kept so were worth more in the window after (docs/results.md).

    Args:
        without, with_them: (n,) scores of the same users.
    """
    gain = paired_gain(with_them, without, _SAMPLES, 0).relative
    if gain is None:
        return True, f"{', '.join(group)}: kept; without them there are too few hits to tell their gain."
    pays = gain.high >= _WORTH
    verdict = "kept" if pays else "dropped"
    return pays, (
        f"{', '.join(group)}: {verdict}. On the newest two windows, each with a ranker that was trained on the other, "
        f"the gain is {gain.value:+.1%} [{gain.low:+.1%}, {gain.high:+.1%}]; what is clearly below {_WORTH:.1%} goes."
    )


def best_stage(curves: list[Curve]) -> int:
    """Place of the number of trees with the best mean over the users of all these windows; the fewest of equals."""
    return int(np.argmax([everyone.mean() for everyone in _joined(curves)]))


def at_best(curves: list[Curve]) -> Float64Array:
    """(n,) scores of the users of all these windows with that number of trees."""
    return _joined(curves)[best_stage(curves)]


def _joined(curves: list[Curve]) -> list[Float64Array]:
    return [np.concatenate(stage) for stage in zip(*(curve.per_user for curve in curves), strict=True)]


def choose_trees(validation: Validation, latest: Examples, singles: Singles, curves: list[Curve]) -> Choice:
    """How many trees go beyond the best single source, by the newest windows.

    Args:
        latest: examples of the validation window, of all its users.
        curves: of the validation window and of others, each by a ranker that did not learn from it.
    """
    newest, place = curves[0], best_stage(curves)
    trees, reached = newest.stages[place], newest.per_user[place]
    best, own = singles.best, singles.scores[singles.best]
    gain = paired_gain(reached, own, _SAMPLES, 0).absolute
    others = ", ".join(f"{name} {values.mean():.4f}" for name, values in singles.scores.items() if name != best)
    found = latest.hit.sum() / max(validation.relevant.nnz, 1)
    notes = [
        f"On the validation window the best single source is {best} ({own.mean():.4f}; {others or 'no other'}), so "
        f"boosting starts from its order. {trees} trees on top, the best number on the newest two windows, give "
        f"{reached.mean():.4f}, a gain of {gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
        + ("." if trees else ": no tree is kept."),
        f"The sources' proposals held {found:.0%} of what was then taken.",
    ]
    return Choice(trees, float(reached.mean()), newest, notes)


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

"""How the parts of a live score are weighed: a sum, so that every part can be told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from rectory.arrays import Array, Float32Array, Float64Array
from rectory.files import read_json, write_json

SIGNALS = (
    "champion",
    "champion_height",
    "now",
    "now_height",
    "like",
    "like_place",
    "next",
    "next_place",
    "near",
    "near_place",
    "people",
    "people_place",
    "embedded",
    "embedded_last",
    "day",
    "week",
    "month",
    "content",
    "own",
    "own_recent",
    "just",
    "new",
)
"""What is known of a candidate, each in [0, 1].

champion: nearness to the top of the champion's list for the user; champion_height: score within that list.
now: the same of the list that the champion gives for the history with fresh events in it.
like: likeness to what was taken lately. next: taken after what was taken lately. near: taken before or after it,
popular items damped. people: taken around the same things by who took them too. _place: nearness to the top by that
value. embedded: likeness, smoothed, to what was taken lately; embedded_last: to the last of it alone.
day, week, month: taken by everyone, with that half-life. content: shares declared features with what was taken lately.
own: how much of the user's own interactions; own_recent: how lately. just: taken within the hour.
new: how lately it was posted or first taken.
"""
SQUARED = "_squared"
TERMS = (*SIGNALS, *(f"{name}{SQUARED}" for name in SIGNALS))
"""Columns of a matrix of signals: each and its square. Twice as strong may say more, or less, than twice as much."""
PLACE = {name: place for place, name in enumerate(TERMS)}
_LINKED = {
    **{name: (name, f"{name}_place") for name in ("like", "next", "near", "people")},
    "embedded": ("embedded", "embedded_last"),
}
LINKED = {name: (*own, *(f"{one}{SQUARED}" for one in own)) for name, own in _LINKED.items()}
"""Signals that a whole history is looked through for, and their terms: a sixth of an answer's cost each."""
_TIE = 1e-6
"""Weight of popularity where the champion alone decides: it fills up lists and breaks ties."""


def places_of(linked: Iterable[str]) -> list[int]:
    """Columns of the terms of some of LINKED."""
    return [PLACE[term] for name in linked for term in LINKED[name]]


def squared(x: Float32Array) -> Float32Array:
    """(m, len(TERMS)) of (m, len(SIGNALS))."""
    return np.concatenate([x, np.square(x)], axis=1)


def parts(x: Array, weights: Float64Array) -> Float64Array:
    """(m, len(SIGNALS)) what each signal adds to a score, of (m, len(TERMS)); a row sums to it."""
    both = x.astype(np.float64) * weights
    told: Float64Array = both[..., : len(SIGNALS)] + both[..., len(SIGNALS) :]
    return told


@dataclass(frozen=True)
class Settings:
    """like_decay, next_decay, near_decay: weight of a step back in a history for that signal.

    moment_seconds: interactions at most this far apart are one step; below 0: each is a step.
    """

    like_decay: float = 0.7
    next_decay: float = 0.7
    near_decay: float = 0.95
    moment_seconds: float = -1.0


@dataclass(frozen=True)
class Mix:
    """weights: term -> weight; terms that are not named weigh nothing.

    settings: half-lives and such by which signals are made. facts: how the weights were found, for people.
    """

    weights: Mapping[str, float]
    settings: Settings = Settings()
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def frozen(cls) -> Mix:
        """The champion's lists as they are."""
        return cls({"champion": 1.0, "month": _TIE})

    @classmethod
    def untuned(cls) -> Mix:
        """A cautious default for a champion whose log was never replayed."""
        weights = {
            "champion": 0.5,
            "now": 0.5,
            "like": 0.5,
            "next": 0.5,
            "week": 0.3,
            "content": 0.1,
            "new": 0.05,
            "month": 0.01,
        }
        return cls(weights, facts={"note": "not fitted: `rectory run` fits the weights, or `rectory replay --fit`"})

    @classmethod
    def everything(cls, settings: Settings) -> Mix:
        """All signals weigh something, so all are made: to look at them."""
        return cls(dict.fromkeys(TERMS, 1.0), settings)

    @property
    def vector(self) -> Float64Array:
        """(len(TERMS),) weights in the order of TERMS."""
        return np.array([self.weights.get(name, 0.0) for name in TERMS])

    @property
    def linked(self) -> frozenset[str]:
        """Which of LINKED weigh anything."""
        return frozenset(name for name, terms in LINKED.items() if any(map(self.weights.get, terms)))

    @property
    def live(self) -> bool:
        """Whether anything but the champion's list weighs."""
        return any(abs(value) > _TIE for name, value in self.weights.items() if name != "champion")

    def save(self, path: Path) -> None:
        write_json(path, {"weights": dict(self.weights), "settings": asdict(self.settings), "facts": self.facts})

    @classmethod
    def load(cls, path: Path) -> Mix:
        told = read_json(path)
        return cls(told["weights"], Settings(**told["settings"]), told["facts"])


@dataclass(frozen=True)
class Examples:
    """Choices that were really made, each among its candidates.

    x: (m, len(TERMS)) signals of all candidates of all choices, one after another. ends: (n + 1,) where each begins.
    chosen: (n,) place in x of what was taken; -1: it was not among the candidates.
    """

    x: Float32Array
    ends: Float64Array
    chosen: Float64Array

    @property
    def starts(self) -> Array:
        """(n,) place in x of the first candidate of each choice."""
        return self.ends[:-1].astype(np.int64)

    @property
    def row(self) -> Array:
        """(m,) the choice that each candidate belongs to."""
        return np.repeat(np.arange(len(self.chosen)), np.diff(self.ends).astype(np.int64))

    def split(self, share: float) -> tuple[Examples, Examples]:
        """The first share of the choices, and the rest."""
        n = int(len(self.chosen) * share)
        return self._part(0, n), self._part(n, len(self.chosen))

    def _part(self, first: int, last: int) -> Examples:
        start, stop = int(self.ends[first]), int(self.ends[last])
        chosen = self.chosen[first:last]
        return Examples(
            self.x[start:stop], self.ends[first : last + 1] - start, np.where(chosen >= 0, chosen - start, -1)
        )

    def without(self, linked: Iterable[str]) -> Examples:
        """The same with nothing said by some of LINKED."""
        x = self.x.copy()
        x[:, places_of(linked)] = 0.0
        return replace(self, x=x)

    def thinned(self, others: int, seed: int) -> Examples:
        """The choices whose item was among the candidates, each against so many of the others at most, drawn evenly.

        A conditional logit fitted on them has the same expectation (McFadden 1978), at a fraction of the cost.
        """
        draw = np.random.default_rng(seed)
        rows, ends, chosen = [], [0], []
        for place, start, stop in zip(
            self.chosen.tolist(), self.ends[:-1].tolist(), self.ends[1:].tolist(), strict=True
        ):
            if place < 0:
                continue
            among = np.arange(start, stop)[np.arange(start, stop) != place]
            if len(among) > others:
                among = draw.choice(among, others, replace=False)
            rows.append(np.append(among, place))
            ends.append(ends[-1] + len(among) + 1)
            chosen.append(ends[-1] - 1)
        places = np.concatenate(rows).astype(np.int64) if rows else np.zeros(0, dtype=np.int64)
        return Examples(self.x[places], np.array(ends), np.array(chosen, dtype=np.int64))

    def ranks(self, weights: Float64Array) -> Float64Array:
        """(n,) rank of what was taken, from 1; inf where it was not among the candidates."""
        score = self.x @ weights.astype(np.float32)
        found = np.flatnonzero(self.chosen >= 0)
        own = np.full(len(self.chosen), np.inf, dtype=np.float32)
        own[found] = score[self.chosen[found].astype(np.int64)]
        above = np.bincount(self.row, score > own[self.row], len(self.chosen))
        return np.where(self.chosen >= 0, above + 1.0, np.inf)

    def log_likelihood(self, weights: Float64Array) -> float:
        """Of what was taken, among its candidates by exp(score); the mean over the choices where it was among them."""
        if not (self.chosen >= 0).any():
            return 0.0
        score = self.x @ weights.astype(np.float32)
        highest = np.maximum.reduceat(score, self.starts)
        total = np.log(np.add.reduceat(np.exp(score - highest[self.row]), self.starts)) + highest
        found = np.flatnonzero(self.chosen >= 0)
        return float(np.mean(score[self.chosen[found].astype(np.int64)] - total[found], dtype=np.float64))


def fit_weights(examples: Examples, penalty: float, start: Float64Array | None = None) -> Float64Array:
    """(len(TERMS),) weights under which the choices that were made are likeliest.

    A conditional logit: each choice is a draw from its candidates by exp(score). Convex, so there is one answer, and
    with so few weights Newton's steps find it in a tenth of the passes that gradients alone take.
    Source: McFadden, "Conditional Logit Analysis of Qualitative Choice Behavior", 1974.

    Args:
        penalty: on the squared weights, per choice.
        start: weights that may be near; None: the champion's list alone.
    """
    from scipy.optimize import minimize

    found = np.flatnonzero(examples.chosen >= 0)
    if not len(found):
        return Mix.frozen().vector
    x, row, starts = examples.x, examples.row, examples.starts
    chosen = x[examples.chosen[found].astype(np.int64)].mean(axis=0, dtype=np.float64)
    counts = np.zeros(len(examples.chosen), dtype=np.float32)
    counts[found] = 1.0 / len(found)

    def shares(weights: Float64Array) -> tuple[Float32Array, float]:
        """(m,) probability of each candidate, times what its choice counts; and the mean log of the sums of odds."""
        score = x @ weights.astype(np.float32)
        highest = np.maximum.reduceat(score, starts)
        odds = np.exp(score - highest[row])
        total = np.add.reduceat(odds, starts)
        odds *= (counts / total)[row]
        return odds, float(((np.log(total) + highest) * counts).sum(dtype=np.float64))

    def loss(weights: Float64Array) -> tuple[float, Float64Array]:
        share, partition = shares(weights)
        value = partition - float(chosen @ weights) + penalty * float(weights @ weights)
        return value, (x.T @ share).astype(np.float64) - chosen + 2 * penalty * weights

    def curvature(weights: Float64Array) -> Float64Array:
        share, _ = shares(weights)
        of_choices = csr_array((share, np.arange(len(x)), examples.ends), shape=(len(counts), len(x)))
        expected = (of_choices @ x)[found].astype(np.float64)
        spread: Float64Array = (x.T @ (x * share[:, None])).astype(np.float64) - len(found) * (expected.T @ expected)
        spread[np.diag_indices_from(spread)] += 2 * penalty
        return spread

    if start is None:
        start = np.zeros(len(TERMS))
        start[PLACE["champion"]] = 1.0
    done = minimize(loss, start, jac=True, hess=curvature, method="trust-exact", options={"gtol": 1e-5, "maxiter": 100})
    return np.asarray(done.x)

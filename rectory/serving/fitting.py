"""What is fitted in the night for live answers: links between items, and how much each signal weighs."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from rectory.arrays import BoolArray, Float64Array, Int32Array
from rectory.features.training_set import TrainingSet
from rectory.files import replacing
from rectory.metrics.clustered import clustered_gain
from rectory.models.catalogue import import_for_fit
from rectory.models.item_to_item import strongest_per_row
from rectory.models.nearest import build_nearest
from rectory.models.neighbours import most_like_items, taken, with_diagonal
from rectory.models.protocol import Recommender
from rectory.serving.embedding import embedded
from rectory.serving.links import EARLIER, STEPS, Links, beside, steps_weight
from rectory.serving.mixing import LINKED, TERMS, Examples, Mix, Settings, fit_weights, places_of
from rectory.serving.moments import by_moment

MIX_FILE = "mix.json"
K = 10
_NEIGHBOURS = 200
_MIN_USERS = 3
_PENALTY = 1e-4
_CHOICES = 4000
"""Choices of the validation window that weights are fitted on at most, drawn evenly over it."""
_OTHERS = 80
"""Candidates that a choice is held against in the fit."""
_FIRST = 0.7
"""Share of them, the earliest, that candidates for the weights are fitted on; the rest decides between these."""
_NOT_MISSED = 0.01
"""Log-likelihood of a choice (so 1% of its odds) that is given up for each sum of links that need not be made."""
_SHARES = (1.0, 0.5, 0.25)
"""Of the live part in a score, the first of equals."""
_SAMPLES = 500
_FOLLOWERS = 300
_ROWS_AT_ONCE = 500_000


def import_for_links() -> None:
    """Import all that `fit_links` imports: before it is called in threads (see `catalogue.import_for_fit`)."""
    import_for_fit("item_knn")  # likeness is its
    importlib.import_module("sklearn.utils.extmath")


def fit_links(train: TrainingSet, moment_seconds: float, *, vectors: bool = True) -> Links:
    """Likeness by the cosine of who took it, and counts of what is taken after what, over all of `train`.

    Args:
        moment_seconds: interactions at most this far apart are one step (see `mixing.Settings`).
        vectors: embed the items too, which takes a third of the time.
    """
    n = train.n_items
    taken_times = np.bincount(train.item, minlength=n).astype(np.float64)
    if not len(train.user):
        nothing = csr_array((n, n), dtype=np.float32)
        return Links(nothing, nothing, np.zeros(n), taken_times)
    like = with_diagonal(most_like_items(taken(train), "cosine", _NEIGHBOURS, _MIN_USERS), 0.0)
    following, out = followers(train, moment_seconds)
    near = beside(following)
    return Links(like, following, out, taken_times, near=near, vectors=embedded(like, near) if vectors else None)


def followers(train: TrainingSet, moment_seconds: float) -> tuple[csr_array, Float64Array]:
    """Weighted counts of what is taken after each item, the strongest kept, and their sums before that."""
    order = by_moment(train.time)
    order = order[np.argsort(train.user[order], kind="stable")]
    user, item, time = train.user[order], train.item[order], train.time[order]
    new = np.ones(len(user), dtype=np.int64)
    new[1:] = (time[1:] - time[:-1] > moment_seconds) | (user[1:] != user[:-1])
    step = np.cumsum(new)
    n = train.n_items
    total = csr_array((n, n), dtype=np.float32)
    for start in range(0, len(user), _ROWS_AT_ONCE):
        part = np.arange(start, min(start + _ROWS_AT_ONCE, len(user)))
        rows, columns, weights = [], [], []
        for back in range(1, EARLIER + 1):
            later = part[part >= back]
            steps = step[later] - step[later - back] - (moment_seconds < 0)
            kept = (user[later] == user[later - back]) & (steps < STEPS) & (item[later] != item[later - back])
            later, weight = later[kept], steps_weight(steps[kept])
            # Of one moment there is no order: each leads to the other.
            same = time[later] - time[later - back] <= max(moment_seconds, 0.0)
            rows += [item[later - back], item[later[same]]]
            columns += [item[later], item[later[same] - back]]
            weights += [weight, weight[same]]
        entries = (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns)))
        total = csr_array(total + csr_array(entries, shape=(n, n), dtype=np.float32))
    out = np.asarray(total.sum(axis=1), dtype=np.float64).ravel()
    return strongest_per_row(total, _FOLLOWERS), out


@dataclass(frozen=True)
class Tried:
    """Signals made by `settings` on the validation window. examples: in order of time. user: (n,) of each choice."""

    settings: Settings
    examples: Examples
    user: Int32Array


def choose_mix(tried: Tried) -> Mix:
    """Weights for the live signals, down to none.

    Weights are fitted on the earlier choices; the later ones decide how much of the live part is kept, and whether
    any: unless nDCG@10 rises with the lower end of its interval (over users) above zero, the champion's lists stay as
    they are. Sums of links that they do not miss are left out: these cost the most.
    """
    if not len(tried.examples.chosen):  # Nobody took anything new in the window: there is nothing to learn from.
        return replace(Mix.untuned(), settings=tried.settings)
    first, rest = tried.examples.split(_FIRST)
    fitted = _fitted(first)
    share = max(_SHARES, key=lambda one: float(ndcg_of(rest.ranks(_between(fitted, one))).mean()))
    spared, fitted = _spared(first, rest, fitted)
    live = ndcg_of(rest.ranks(_between(fitted, share)))
    frozen = ndcg_of(rest.ranks(Mix.frozen().vector))
    users = tried.user[len(tried.user) - len(live) :]
    facts: dict[str, Any] = {
        "choices": len(tried.examples.chosen),
        "found": float((tried.examples.chosen >= 0).mean()) if len(tried.examples.chosen) else 0.0,
        "ndcg@10": {"live": float(live.mean()), "frozen": float(frozen.mean())},
        "hit@10": {"live": float((live > 0).mean()), "frozen": float((frozen > 0).mean())},
        "share": share,
        "left_out": spared,
    }
    gain = clustered_gain(live, frozen, users, _SAMPLES, 0).absolute
    facts["gain"] = gain.to_dict()
    if not gain.low > 0:
        note = "live signals gain nothing that is beyond chance on the validation window: the champion's lists stay"
        return replace(Mix.frozen(), settings=tried.settings, facts={**facts, "share": 0.0, "note": note})
    weights = _between(_fitted(tried.examples.without(spared)), share)
    return Mix(dict(zip(TERMS, np.round(weights, 6).tolist(), strict=True)), tried.settings, facts)


def _spared(first: Examples, rest: Examples, fitted: Float64Array) -> tuple[list[str], Float64Array]:
    """Which of LINKED are not missed, one after another, and the weights of the others.

    Likelihood decides: what a sum adds to nDCG@10 drowns in the chance of some thousand choices.
    """
    spared: list[str] = []
    thinned, likely = _thinned(first), rest.log_likelihood(fitted)
    while left := [name for name in LINKED if name not in spared]:
        tries = {name: _fitted_without(thinned, [*spared, name], fitted) for name in left}
        found = {name: rest.log_likelihood(one) for name, one in tries.items()}
        name = max(found, key=lambda one: found[one])
        if found[name] < likely - _NOT_MISSED:
            break
        spared, fitted, likely = [*spared, name], tries[name], found[name]
    return spared, fitted


def _fitted_without(thinned: Examples, spared: list[str], near: Float64Array) -> Float64Array:
    """Weights of the other terms, sought from where they stood; those of the spared ones are 0 to the bit."""
    start = np.array(near)
    start[places_of(spared)] = 0.0
    return fit_weights(thinned.without(spared), _PENALTY, start)


def ndcg_of(ranks: Float64Array) -> Float64Array:
    """(n,) nDCG@10 of one relevant item each, by its rank from 1."""
    return np.where(ranks <= K, 1.0 / np.log2(np.minimum(ranks, K) + 1.0), 0.0)


def sampled(asked: BoolArray, most: int = _CHOICES) -> BoolArray:
    """At most so many of the rows that are asked, evenly over time."""
    places = np.flatnonzero(asked)
    if len(places) > most:
        places = places[np.linspace(0, len(places) - 1, most).astype(np.int64)]
    kept = np.zeros(len(asked), dtype=bool)
    kept[places] = True
    return kept


def save_live(folder: Path, links: Links, mix: Mix, model: Recommender) -> list[str]:
    """Atomically write what `Links.save` does, mix.json and, of a model with very many items, what finds them.

    Returns:
        What there is to say of the latter.
    """
    with replacing(folder) as scratch:
        scratch.mkdir(parents=True)
        links.save(scratch)
        mix.save(scratch / MIX_FILE)
        return build_nearest(model, scratch)


def _thinned(examples: Examples) -> Examples:
    return examples.thinned(_OTHERS, seed=0)


def _fitted(examples: Examples) -> Float64Array:
    return fit_weights(_thinned(examples), _PENALTY)


def _between(fitted: Float64Array, share: float) -> Float64Array:
    """Weights of which the live part counts `share`, the champion's list the rest."""
    live, frozen = np.array(fitted), Mix.frozen().vector
    return share * live + (1.0 - share) * float(np.abs(live).max(initial=1.0)) * frozen

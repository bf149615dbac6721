"""What is known of a user's candidates at one moment: a row of signals for each, all of them live."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np

from rectory.arrays import Array, BoolArray, Float32Array, Float64Array, Int32Array
from rectory.features.training_set import SECONDS_PER_DAY
from rectory.serving.champion import Ranked
from rectory.serving.histories import Taken
from rectory.serving.links import Links
from rectory.serving.mixing import LINKED, PLACE, SIGNALS, Settings, squared
from rectory.serving.people import People
from rectory.serving.places import Places
from rectory.serving.shelf import Shelf
from rectory.serving.trends import Trend

Asking = Callable[[Int32Array, Array], tuple[Int32Array, Float32Array]]
"""Items and weights -> links: column and value of each."""
RECENT = 64
"""Interactions of a history that are looked at for what goes with them. 100 gave the same hit@10 on the validation
windows of MovieLens-100K and Complete Journey."""
OWN = 4096
"""Interactions of a history that are counted for what the user takes again."""
FROM_EACH = 100
"""Candidates that each live signal may bring."""
_OWN_HALF_LIFE_DAYS = 60.0
_NEW_DAYS = 7.0
_JUST_SECONDS = 3600.0
_KINDRED_DECAY = 0.9
"""Weight of a step back in what embedded items are compared with."""
_TASTE_DECAY = 0.9
"""Weight of a step back in the profile that content is compared with."""
_DENSE = 16
"""Items for each link up to which a sum for every item is cheaper than to find out which items there are."""
_GUESSED_FROM = 32
"""One in so many items is looked at to guess what is among the strongest."""
_TINY = 5e-324
"""The smallest number above 0."""
_NEAR: Float64Array = 1.0 / np.log2(np.arange(4096) + 2.0)
_FAINT = 0.005
"""Weight of a step back below which an interaction is not asked any more."""


@dataclass(frozen=True)
class Pull:
    """What a history says of items.

    codes: distinct items; None: all items, where they are so few that sums for all cost less than to find these.
    total: of each, the sum of its links' values. ask, items, weights: where they came from.
    """

    codes: Int32Array | None
    total: Float64Array
    ask: Asking
    items: Int32Array
    weights: Array

    @classmethod
    def of(cls, ask: Asking, items: Int32Array, weights: Array, places: Places, n_items: int) -> Pull:
        """Sum up links from `items`; the cost goes with the links, not with all items."""
        column, value = ask(items, weights)
        if n_items <= _DENSE * len(column):
            sums = np.asarray(np.bincount(column, value, n_items), dtype=np.float64)
            return cls(None, sums, ask, items, weights)
        last = places.last_of_equals(column)
        sums = np.asarray(np.bincount(last, value, len(column)), dtype=np.float64)
        kept = np.flatnonzero(last == np.arange(len(last)))
        return cls(column[kept], sums[kept], ask, items, weights)

    def top(self, n: int, allowed: BoolArray) -> Int32Array:
        """Codes of the n strongest that are allowed."""
        if self.codes is None:
            some = np.flatnonzero(self.total >= self._least(n))
            some = some[allowed[some]]
            if len(some) < n:
                some = np.flatnonzero((self.total > 0) & allowed)
        else:
            some = np.flatnonzero((self.total > 0) & allowed[self.codes])
        if len(some) > n:
            some = some[np.argpartition(self.total[some], len(some) - n)[len(some) - n :]]
        return some.astype(np.int32) if self.codes is None else self.codes[some]

    def _least(self, n: int) -> float:
        """A total that very likely n items reach, if so many have any: guessed from every 32nd item."""
        some, place = self.total[::_GUESSED_FROM], 4 * n // _GUESSED_FROM
        if len(some) <= place:
            return _TINY
        return max(float(np.partition(some, len(some) - place)[len(some) - place]), _TINY)

    def totals(self, items: Int32Array, places: Places) -> Float64Array:
        """(m,) sums of some items, 0 of those that nothing speaks for."""
        if self.codes is None:
            return self.total[items]
        place, found = places.find(items, self.codes)
        sums = np.zeros(len(items))
        sums[found] = self.total[place[found]]
        return sums

    def sources_of(self, item: int) -> dict[int, float]:
        """Item of the history -> its part of the total of `item`; while nothing new has been learned."""
        found: dict[int, float] = {}
        for at, source in enumerate(self.items.tolist()):
            column, value = self.ask(self.items[at : at + 1], self.weights[at : at + 1])
            if len(spoken := value[column == item]):
                found[source] = found.get(source, 0.0) + float(spoken.sum())
        return found


@dataclass(frozen=True)
class Kindred:
    """Embedded items that were taken. items: (m,) codes. weights: (m,) how much each counts."""

    links: Links
    items: Int32Array
    weights: Float64Array

    def totals(self, items: Int32Array) -> Float32Array:
        """(n,) how like them each of `items` is, in [0, 1]."""
        return self.links.kindred(items, self.items, self.weights)

    def sources_of(self, item: int) -> dict[int, float]:
        """Item that was taken -> what it adds to the likeness of `item`."""
        found: dict[int, float] = {}
        for source, value in zip(
            self.items.tolist(), self.links.kindred_each(item, self.items, self.weights), strict=True
        ):
            if value > 0:
                found[source] = found.get(source, 0.0) + float(value)
        return found


@dataclass(frozen=True)
class View:
    """A user's candidates.

    items: (m,) codes, ascending. x: (m, len(TERMS)) signals. profile: of content.
    said: signal -> what says it of single items of the history.
    """

    items: Int32Array
    x: Float32Array
    said: Mapping[str, Pull | Kindred]
    profile: Float32Array | None


@dataclass(frozen=True)
class World:
    """All that live answers are made of, beside the user's own history."""

    links: Links
    people: People | None
    """None: they weigh nothing."""
    trends: tuple[Trend, Trend, Trend]
    shelf: Shelf
    settings: Settings
    repeats: bool
    places: Places
    newest: dict[int, float]
    """Code -> moment it was posted or first taken; the latest items, most recent last."""


def near(n: int) -> Float64Array:
    """(n,) of the ranks from 0 on: 1 at the top of a list, falling as the discount of nDCG does."""
    return _NEAR[:n] if n <= len(_NEAR) else 1.0 / np.log2(np.arange(n) + 2.0)


def look(
    world: World,
    user: int,
    taken: Taken,
    lists: tuple[Ranked, Ranked | None],
    *,
    allowed: BoolArray,
    now: float,
    linked: Collection[str] = LINKED,
    more: Int32Array | None = None,
) -> View:
    """Gather candidates and their signals.

    Args:
        user: code, UNKNOWN for a stranger. taken: the whole history, a session's events included.
        lists: the champion's list, and its list with fresh events in the history; None: as the first.
        allowed: (n_items,) bool.
        linked: which sums of links are wanted; the signals of the others are 0.
        more: codes to look at in any case, allowed or not.
    """
    ranked, now_ranked = lists
    n_items = len(world.shelf.items)
    world.places.grow(n_items)
    settings = world.settings
    recent = taken.last(RECENT)
    steps = recent.steps_back(settings.moment_seconds)
    links = world.links
    pulls = {
        name: _pull(ask, recent.items, np.power(decay, steps), world.places, n_items)
        for name, ask, decay in (
            ("like", links.liked, settings.like_decay),
            ("next", links.next, settings.next_decay),
            ("near", links.near, settings.near_decay),
        )
        if name in linked
    }
    if world.people is not None and "people" in linked:
        alike = world.people.alike(user, recent.items, steps)
        pulls["people"] = Pull.of(alike.links, alike.items, alike.weights, world.places, n_items)
    profile = world.shelf.profile(recent.items[-20:], np.power(_TASTE_DECAY, steps[-20:])) if len(recent) else None
    own = _own(taken.last(OWN), now) if world.repeats else None

    parts = [ranked.items, *(pull.top(FROM_EACH, allowed) for pull in pulls.values())]
    parts += [trend.top(FROM_EACH) for trend in world.trends]
    parts.append(np.fromiter(world.newest, dtype=np.int32, count=len(world.newest)))
    if now_ranked is not None:
        parts.append(now_ranked.items)
    if own is not None:
        parts.append(own[0])
    items = np.unique(np.concatenate(parts))
    items = items[allowed[items]]
    if more is not None:
        items = np.union1d(items, more)
    items = items.astype(np.int32)
    kindred: dict[str, Kindred] = {}
    if "embedded" in linked and len(recent):
        kindred["embedded"] = Kindred(links, recent.items, np.power(_KINDRED_DECAY, steps))
        kindred["embedded_last"] = Kindred(links, recent.items, (steps == 0).astype(np.float64))
    x = _signals(
        world, items, (ranked, now_ranked or ranked), pulls, kindred=kindred, profile=profile, own=own, now=now
    )
    return View(items, x, {**pulls, **kindred}, profile)


def _pull(ask: Asking, items: Int32Array, weights: Array, places: Places, n_items: int) -> Pull:
    """What those items of a history that still weigh something say."""
    lately = weights > _FAINT
    return Pull.of(ask, items[lately], weights[lately], places, n_items)


def _signals(
    world: World,
    items: Int32Array,
    lists: tuple[Ranked, Ranked],
    pulls: Mapping[str, Pull],
    *,
    kindred: Mapping[str, Kindred],
    profile: Float32Array | None,
    own: tuple[Int32Array, Float64Array, Float64Array, Float64Array] | None,
    now: float,
) -> Float32Array:
    x = np.zeros((len(items), len(SIGNALS)), dtype=np.float32)
    if not len(items):
        return squared(x)
    for ranked, name in zip(lists, ("champion", "now"), strict=True):
        place, found = _places(items, ranked.items)
        x[place, PLACE[name]] = near(len(ranked.items))[found]
        x[place, PLACE[f"{name}_height"]] = ranked.heights[found]
    for name, pull in pulls.items():
        value = pull.totals(items, world.places)
        most = float(value.max(initial=0.0))
        if most > 0:
            x[:, PLACE[name]] = value / most
            positive = np.flatnonzero(value > 0)
            order = positive[np.argsort(-value[positive], kind="stable")]
            x[order, PLACE[f"{name}_place"]] = near(len(order))
    for name, taken in kindred.items():
        x[:, PLACE[name]] = taken.totals(items)
    for trend, name in zip(world.trends, ("day", "week", "month"), strict=True):
        x[:, PLACE[name]] = np.sqrt(trend.shares(items))
    if profile is not None:
        x[:, PLACE["content"]] = world.shelf.content(profile, items)
    if own is not None:
        place, found = _places(items, own[0])
        x[place, PLACE["own"]], x[place, PLACE["own_recent"]] = own[1][found], own[2][found]
        x[place, PLACE["just"]] = own[3][found]
    place, found = _places(items, np.fromiter(world.newest, dtype=np.int32, count=len(world.newest)))
    moments = np.fromiter(world.newest.values(), dtype=np.float64, count=len(world.newest))[found]
    x[place, PLACE["new"]] = np.power(0.5, np.maximum(now - moments, 0.0) / SECONDS_PER_DAY / _NEW_DAYS)
    return squared(x)


def _places(items: Int32Array, some: Int32Array) -> tuple[Array, Array]:
    """Where each of `some` stands in the ascending `items`, and which of them do."""
    place = np.minimum(np.searchsorted(items, some), len(items) - 1)
    found = np.flatnonzero(items[place] == some)
    return place[found], found


def _own(taken: Taken, now: float) -> tuple[Int32Array, Float64Array, Float64Array, Float64Array]:
    """Distinct items, and of each: root of its share of the user's faded interactions, how lately, whether just now."""
    if not len(taken):
        nothing = np.zeros(0)
        return taken.items, nothing, nothing, nothing
    age = np.maximum(now - taken.time, 0.0) / SECONDS_PER_DAY
    items, place = np.unique(taken.items, return_inverse=True)
    faded = np.bincount(place, taken.weight * np.power(0.5, age / _OWN_HALF_LIFE_DAYS))
    last = np.full(len(items), np.inf)
    np.minimum.at(last, place, age)
    just = (last * SECONDS_PER_DAY <= _JUST_SECONDS).astype(np.float64)
    return items, np.sqrt(faded / faded.max()), 1.0 / (1.0 + last), just

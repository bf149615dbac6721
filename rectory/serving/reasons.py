"""Why an item is in a list, in words a shopper understands, and where another one was lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from rectory.arrays import Float64Array
from rectory.serving.mixing import PLACE, SIGNALS, parts
from rectory.serving.shelf import Shelf
from rectory.serving.signals import Kindred, Pull, View

if TYPE_CHECKING:
    from rectory.serving.asked import Asked
    from rectory.serving.engine import LiveEngine

_TOLD = 3
"""Items of a history that are named; the rest are summed up."""
_EVERYONE = "popular with everyone"
_CHAMPION = {"popularity": _EVERYONE, "personal_frequency": "you take it often"}
_PLAIN = {
    "now": "it fits what you have taken lately",
    "now_height": "it fits what you have taken lately",
    "own": "you take it again and again",
    "own_recent": "you took it lately",
    "just": "you have just taken it",
    "new": "it is new",
}
_BECAUSE, _AROUND = "because you took", "people like you took it around"
_TRENDS = {"day": "popular today", "week": "popular this week", "month": "popular this month"}


def champion_words(kind: str, known: bool) -> str:
    """What the champion's list stands for: of someone it does not know, and of counts, nothing but popularity."""
    return _CHAMPION.get(kind, "people like you take it") if known else _EVERYONE


def reasons_for(
    view: View, at: int, weights: Float64Array, shelf: Shelf, champion: str
) -> tuple[tuple[str, float], ...]:
    """(words, contribution) of candidate `at`, largest first; they add up to its score.

    Args:
        champion: words for the champion's list.
    """
    item = int(view.items[at])
    found: dict[str, float] = {}
    for name, part in zip(SIGNALS, parts(view.x[at], weights).tolist(), strict=True):
        if part:
            told = [(champion, 1.0)] if name.startswith("champion") else _told(name, item, view, shelf)
            for words, share in told:
                found[words] = found.get(words, 0.0) + share * part
    return tuple(sorted(found.items(), key=lambda one: -one[1]))


def _told(name: str, item: int, view: View, shelf: Shelf) -> Iterator[tuple[str, float]]:
    """Words for a term, and the share of the term that each stands for; shares sum to 1."""
    if name in _PLAIN:
        yield _PLAIN[name], 1.0
    elif name in _TRENDS:
        categories = shelf.categories(item)
        yield _TRENDS[name] + (f" in {categories[0]}" if categories else ""), 1.0
    elif name == "content":
        yield _alike(view, item, shelf), 1.0
    else:
        said = view.said[name.removesuffix("_place")]
        yield from _because(said, item, shelf, _AROUND if name.startswith("people") else _BECAUSE)


def _because(said: Pull | Kindred, item: int, shelf: Shelf, words: str) -> Iterator[tuple[str, float]]:
    sources = sorted(said.sources_of(item).items(), key=lambda one: -one[1])
    total = sum(value for _, value in sources)
    if total <= 0:
        yield "it goes with what you took lately", 1.0
        return
    for source, value in sources[:_TOLD]:
        yield f"{words} {shelf.title(source)}", value / total
    if rest := sum(value for _, value in sources[_TOLD:]):
        yield "because of other things you took lately", rest / total


def _alike(view: View, item: int, shelf: Shelf) -> str:
    columns, values = shelf.row(item)
    if view.profile is None or not len(columns):
        return "it is like what you took lately"
    best = int(columns[np.argmax(values * view.profile[columns])])
    return f"you like {shelf.names[best].replace('=', ' ')}"


def why_not_stages(engine: LiveEngine, asked: Asked, item: int) -> Iterator[tuple[str, bool, str]]:
    """(stage, passed, what happened), in order; all stages are told, whichever the item failed."""
    world, request, title = engine._world, asked.request, engine._world.shelf.title(item)
    yield "known", True, f"{title} is a known item"
    hidden = world.shelf.hidden(item)
    yield "shown", hidden is None, hidden or "the catalogue shows it"
    excluded = engine._items.ids[item] in request.exclude
    yield "asked for", not excluded, "the request excludes it" if excluded else "the request does not exclude it"
    for name, wanted in request.where.items():
        passes = bool(world.shelf.having(name, wanted)[item])
        yield f"filter {name}", passes, f"{name} {'is' if passes else 'is not'} {wanted!r}"
    times = int(np.count_nonzero(asked.taken.items == item))
    seen = times > 0 and not world.repeats
    yield "not taken before", not seen, f"taken {times} times" + (", and repeats are excluded" if seen else "")
    view = asked.view()
    at = np.flatnonzero(view.items == item)
    proposed = _proposers(view.x[int(at[0])]) if len(at) else []
    words = f"proposed by {', '.join(proposed)}" if proposed else "no source proposes it to this user"
    yield "proposed", bool(len(at)), words
    yield _ranked(engine, asked, item)


def _proposers(row: Float64Array) -> list[str]:
    sources = {
        "champion": "champion",
        "like_place": "likeness",
        "next_place": "what is taken next",
        "near_place": "what is taken near",
        "people_place": "people who took the same lately",
        "own": "own",
    }
    sources |= {"day": "trends", "new": "new items"}
    return [words for name, words in sources.items() if row[PLACE[name]] > 0]


def _ranked(engine: LiveEngine, asked: Asked, item: int) -> tuple[str, bool, str]:
    view = asked.view(more=item)
    score = view.x @ engine._weights
    at = int(np.searchsorted(view.items, item))
    others = np.delete(score, at)
    wanted = asked.request.offset + asked.request.n
    rank = 1 + int(np.count_nonzero(others > score[at]))
    if rank <= wanted:
        return "ranked", True, f"place {rank} of {len(score)} with a score of {score[at]:.3f}"
    last = float(np.sort(others)[::-1][wanted - 1])
    return (
        "ranked",
        False,
        f"place {rank} of {len(score)}: its score of {score[at]:.3f} is {last - score[at]:.3f} below place {wanted}",
    )

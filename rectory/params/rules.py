"""Section `rules`: what the shop wants, whatever the model says. Read again whenever the file changes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from rectory.params.base import Section

ItemId = Annotated[str, Field(min_length=1, max_length=256)]
Where = dict[str, Any]
Rung = Literal["personal", "popular", "latest", "editorial"]


class Pin(Section):
    """An item that stands at a given place."""

    item: ItemId
    """Id of the item; one that is hidden, filtered or excluded is not pinned."""
    place: Annotated[int, Field(ge=1, le=1000)] = 1
    """Place in the list, counted from 1."""
    where: Where = {}
    """Only in answers to requests that ask for these features, e.g. {category: wine}; empty: in all."""


class Boost(Section):
    """Items that are moved up or down."""

    where: Where
    """Feature -> value, list of values or {min, max}: the items that are meant."""
    factor: Annotated[float, Field(gt=0, le=100)]
    """Their score's height above the list's lowest is multiplied by this; below 1 moves down."""


class RulesParams(Section):
    """Merchandising: rules that stand above the model in `rectory serve`. Changed without a restart."""

    filters: Where = {}
    """Feature -> value, list of values or {min, max} that every recommended item must have, e.g. {in_stock: "yes"}."""
    pins: tuple[Pin, ...] = ()
    """Items at fixed places: [{item: ..., place: 1, where: {}}]."""
    boosts: tuple[Boost, ...] = ()
    """Items moved up or down: [{where: {brand: own}, factor: 1.5}]."""
    caps: dict[str, Annotated[int, Field(ge=1, le=1000)]] = {}
    """Feature -> how many items of one value a list may have, e.g. {category: 3}."""
    diversity: Annotated[float, Field(ge=0, le=1)] = 0.0
    """0: the model's order; towards 1 items unlike those in the list come first (maximal marginal relevance)."""
    cool_down_days: Annotated[float, Field(gt=0)] | None = None
    """Where items may be taken again: one that the user took less than so many days ago is not shown."""
    candidates: Annotated[int, Field(ge=10, le=10_000)] = 200
    """Places of the model's list that rules choose from."""
    chain: Annotated[tuple[Rung, ...], Field(min_length=1)] = ("personal", "popular", "latest", "editorial")
    """Where a list is filled from, in this order, until it is full."""
    editorial: tuple[ItemId, ...] = ()
    """Items that are shown when nothing else is left, in this order."""

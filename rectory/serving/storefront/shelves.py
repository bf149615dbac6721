"""From answers to what a page shows of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rectory.serving.storefront.render import in_words
from rectory.serving.types import Answer, Engine, ItemFacts

_FEATURES_SHOWN = 3


@dataclass(frozen=True)
class Card:
    """One item in a row. reasons: (words, contribution), largest first. hue: colour of an item without a picture."""

    facts: ItemFacts
    rung: str
    reasons: Sequence[tuple[str, float]]
    hue: int

    @property
    def words(self) -> str:
        """A few of its features."""
        named = [in_words(value) for value in self.facts.features.values() if isinstance(value, str | int | float)]
        return " · ".join([*self.facts.categories, *named][:_FEATURES_SHOWN])


@dataclass(frozen=True)
class Shelf:
    """A row of items under a title."""

    title: str
    recommendation_id: str
    cards: Sequence[Card]


def shelf_of(
    engine: Engine, title: str, answer: Answer, reasons: Mapping[str, Sequence[tuple[str, float]]] | None = None
) -> Shelf:
    """An answer as a row."""
    facts = engine.facts([one.item_id for one in answer.items])
    told = reasons or {}
    cards = [
        Card(fact, shown.rung, told.get(shown.item_id, ()), hue_of(shown.item_id))
        for fact, shown in zip(facts, answer.items, strict=True)
    ]
    return Shelf(title, answer.recommendation_id, cards)


def titled(engine: Engine, item_ids: list[str]) -> list[dict[str, Any]]:
    """id and title of items."""
    return [{"item_id": one.item_id, "title": one.title or one.item_id} for one in engine.facts(item_ids)]


def hue_of(item_id: str) -> int:
    """0..359, the same for the same item everywhere (Python's own hash changes with each process)."""
    return sum((place + 1) * ord(letter) for place, letter in enumerate(item_id)) * 47 % 360

"""docs/datasets.md explains every key of a card."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from rectory.data import card as cards
from rectory.params.base import Section

PAGE = (Path(__file__).parents[3] / "docs" / "datasets.md").read_text(encoding="utf-8")
KEYS = sorted(
    {
        (section.__name__, key)
        for _, section in inspect.getmembers(cards, inspect.isclass)
        if issubclass(section, Section) and section is not Section
        for key in section.model_fields
    }
)


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_each_key_of_a_card_is_explained(section: str, key: str) -> None:
    assert f"`{key}`" in PAGE or f"`{key}: " in PAGE, f"{section}.{key} is not in docs/datasets.md"


@pytest.mark.parametrize("name", ["complete_journey", "movielens_100k", "movielens_1m"])
def test_each_card_is_named(name: str) -> None:
    assert f"`{name}`" in PAGE

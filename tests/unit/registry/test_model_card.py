"""The card of a version: what it is good at, where to be careful, and what was chosen."""

from __future__ import annotations

from typing import Any

from rectory.registry.model_card import model_card
from tests.unit.evaluation.small_world import make_card

TAGS = dict.fromkeys(
    ("candidate", "kind", "dataset", "snapshot_hash", "as_of", "trained_until", "lineage_key", "commit", "lock_hash"),
    "x",
) | {"baseline": "false", "reproducible": "true", "dirty": "false"}


def interval(value: float) -> dict[str, Any]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1, "users": 30}


def card(**metrics: Any) -> str:
    fit = {"metric": "ndcg@10", "score": 0.4, "chosen": {}, "notes": ["content is off: there are no item features."]}
    return model_card(make_card(), TAGS, metrics, fit)


def test_slices_are_ranked_by_the_metric_of_the_fit_and_not_by_whatever_stands_first() -> None:
    slices = {
        "users=warm": {"diversity@10": interval(0.1), "ndcg@10": interval(0.5)},
        "users=cold": {"diversity@10": interval(0.9), "ndcg@10": interval(0.2)},
    }
    text = card(slices=slices)
    assert text.index("| users=cold | ndcg@10 | 0.2 |") < text.index("| users=warm | ndcg@10 | 0.5 |")
    assert "| diversity@10 |" not in text


def test_gaps_and_notes_are_told() -> None:
    text = card(gaps={"age": {"metric": "ndcg@10", "best": "q1", "worst": "q4", "gap": interval(0.3)}})
    assert "| age | q1 | q4 | 0.3 | 0.2 to 0.4 |" in text
    assert "- content is off: there are no item features." in text


def test_an_old_version_without_gaps_has_no_such_chapter() -> None:
    assert "Gaps" not in card()

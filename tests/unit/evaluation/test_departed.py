"""Items that have left the catalogue: in no list that is measured or scored, whichever model made it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from rectory.evaluation.holdout import evaluate, ranked_lists
from rectory.evaluation.relevance import build_window
from rectory.models.bundle import Bundle
from rectory.params.sections import EvaluateParams
from rectory.registry.batch import score_blocks
from tests.unit.evaluation import behaving as models

PARAMS = EvaluateParams(k=(10,), bootstrap_samples=100)


def test_todays_catalogue_rules_the_lists_of_a_bundle_that_knows_nothing_of_it() -> None:
    train = models.log()
    there = np.arange(models.ITEMS) % 3 > 0
    bundle = Bundle.of("old", "old", models.Sound().refit(train), train, titles=None, dataset="small")  # type: ignore[arg-type]
    assert bundle.available is None
    today = build_window(models.later(train), replace(train, available=there), models.CARD, head_share=0.2)
    lists = ranked_lists(bundle, today, 10)
    assert (lists >= 0).all() and there[lists].all()
    before = build_window(models.later(train), train, models.CARD, head_share=0.2)
    assert not there[ranked_lists(bundle, before, 10)].all()
    measured, unaware = evaluate(bundle, today, PARAMS).metrics, evaluate(bundle, before, PARAMS).metrics
    assert measured["recall@10"].value < unaware["recall@10"].value, "what has left and was taken is a miss"
    assert measured["coverage@10"].value > unaware["coverage@10"].value * 0.9, "of what can be had, not of all"


def test_scores_go_by_todays_item_table() -> None:
    train = models.log()
    bundle = Bundle.of("mine", "mine", models.Sound().refit(train), train, titles=None, dataset="small")  # type: ignore[arg-type]
    users, nothing = train.users.ids[:5], pd.DataFrame({"user_id": [], "item_id": []}, dtype=object)
    plain = pd.concat(score_blocks(bundle, users, nothing, 5, exclude_seen=False))
    gone = plain["item_id"].iloc[0]
    table = pd.DataFrame({"item_id": train.items.ids, "available": train.items.ids != gone})
    left = pd.concat(score_blocks(bundle, users, nothing, 5, exclude_seen=False, items=table))
    assert gone not in set(left["item_id"]) and len(left) == len(plain) == 25
    same = pd.concat(score_blocks(bundle, users, nothing, 5, exclude_seen=False, items=table[["item_id"]]))
    assert same["item_id"].tolist() == plain["item_id"].tolist()

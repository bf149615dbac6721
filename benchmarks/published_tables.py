"""What others published, and which candidates of ours are held against it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from benchmarks import protocols


@dataclass(frozen=True)
class Published:
    """One row of a published table. deep: a neural network, which is not what we hold ourselves against here."""

    name: str
    metrics: dict[str, float]
    deep: bool = False


@dataclass(frozen=True)
class Protocol:
    """How one table was measured.

    words: for people. metrics: the first decides. split: makes it of canonical rows and what codes them.
    candidates: row -> params that differ from the defaults; the row's name is the kind where they do not say.
    left_out: kind -> why.
    """

    dataset: str
    source: str
    words: tuple[str, ...]
    metrics: tuple[str, ...]
    published: tuple[Published, ...]
    split: Callable[[pd.DataFrame, protocols.Coder], protocols.Split]
    candidates: dict[str, dict[str, Any]]
    left_out: dict[str, str]


_TIMELESS: dict[str, Any] = {"half_lives_days": [None], "popularity_windows_days": [None]}
_ANY_TIME: dict[str, Any] = {"popularity_windows_days": [None, 28]}
_PATIENT: dict[str, Any] = {"max_epochs": 200, "patience": 15}
_IDS: dict[str, Any] = {"kind": "lightfm_hybrid", "use_user_features": False, "use_item_features": False}
_NO_WINDOWS = "its ranker is trained on windows of time, which this split has not"

PROTOCOLS: dict[str, Protocol] = {
    "ml-100k-random": Protocol(
        dataset="movielens_100k",
        source="Microsoft Recommenders, benchmark table of its README (BiVAE and BPR are Cornac's)",
        words=(
            "Of each user's ratings a random 25% are the test, all of them relevant; training items are left out.",
            "Ours: a random 20% of each user's training ratings choose hyperparameters, then all of them train. Their "
            "draw is another one. No model sees times.",
        ),
        metrics=("ndcg@10", "precision@10", "recall@10"),
        published=(
            Published("BiVAE", {"ndcg@10": 0.475, "precision@10": 0.412, "recall@10": 0.219}, deep=True),
            Published("BPR", {"ndcg@10": 0.442, "precision@10": 0.388, "recall@10": 0.213}),
            Published("LightGCN", {"ndcg@10": 0.420, "precision@10": 0.380, "recall@10": 0.144}, deep=True),
            Published("NCF", {"ndcg@10": 0.396, "precision@10": 0.347, "recall@10": 0.181}, deep=True),
            Published("SAR", {"ndcg@10": 0.382, "precision@10": 0.331, "recall@10": 0.176}),
        ),
        split=protocols.stratified,
        candidates={
            "popularity": {"windows_days": [None], "half_lives_days": [None]},
            "item_knn": {**_TIMELESS, "step_decays": [1.0], "neighbours": [100, 20, 50, 200]},
            "user_knn": {**_TIMELESS, "step_decays": [1.0], "neighbours": [100, 50, 300]},
            "ease": {**_TIMELESS, "step_decays": [1.0], "l2": [3, 0.3, 1, 10, 30], "links": 2000},
            "als": {**_TIMELESS, "components": 32, "max_epochs": 30},
            "bpr": {**_TIMELESS, **_PATIENT},
            "content": _TIMELESS,
            "lightfm_hybrid": {"half_lives_days": [None], "max_epochs": 100},
            "lightfm_ids": {"half_lives_days": [None], "max_epochs": 100, "components": 32, **_IDS},
        },
        left_out={
            "transitions": "there is no order in this split",
            "blend": _NO_WINDOWS,
            "personal_frequency": "it is popularity where own items are left out",
        },
    ),
    "ml-1m-time": Protocol(
        dataset="movielens_1m",
        source="RePlay, examples/02_models_comparison.ipynb",
        words=(
            "Ratings of 3 and more; the newest 20% of them are the test, users and items that training does not know "
            "are dropped from it; training items are left out.",
            "Ours: the newest 20% of the training rows choose hyperparameters, by the same rule; then all train.",
        ),
        metrics=("ndcg@10", "mrr@10"),
        published=(
            Published("ItemKNN", {"ndcg@10": 0.258, "mrr@10": 0.414}),
            Published("Implicit ALS", {"ndcg@10": 0.255, "mrr@10": 0.413}),
            Published("Popular", {"ndcg@10": 0.244, "mrr@10": 0.390}),
            Published("SLIM", {"ndcg@10": 0.238, "mrr@10": 0.413}),
            Published("Word2Vec", {"ndcg@10": 0.139, "mrr@10": 0.252}, deep=True),
        ),
        split=protocols.newest,
        candidates={
            "popularity": {"windows_days": [None], "half_lives_days": [None]},
            "popularity_recent": {"kind": "popularity", "windows_days": [3, 7, 14, 28, 56]},
            "item_knn": {},
            "user_knn": {},
            "ease": {},
            "als": {},
            "bpr": {},
            "content": {},
            "transitions": {},
            "lightfm_hybrid": {},
            "lightfm_ids": _IDS,
            "blend": {},
        },
        left_out={"personal_frequency": "it is popularity where own items are left out"},
    ),
    "ml-1m-last": Protocol(
        dataset="movielens_1m",
        source="RecTools' transformers benchmark; MF-BPR and SASRec as in Petrov and Macdonald, RecSys 2022",
        words=(
            "Each user's last rating is the test, ranked against all items that the user had not rated before.",
            "The last but one of 2,048 random users chooses hyperparameters; then all but the last of everyone train. "
            "Of ratings in one second the later one in the file is the last.",
        ),
        metrics=("ndcg@10", "recall@10"),
        published=(
            Published("SASRec (RecTools)", {"ndcg@10": 0.178, "recall@10": 0.306}, deep=True),
            Published("BERT4Rec (RecTools)", {"ndcg@10": 0.162, "recall@10": 0.292}, deep=True),
            Published("SASRec (original)", {"ndcg@10": 0.108, "recall@10": 0.199}, deep=True),
            Published("MF-BPR", {"ndcg@10": 0.038, "recall@10": 0.074}),
        ),
        split=protocols.leave_last,
        candidates={
            "popularity": {"windows_days": [None], "half_lives_days": [None]},
            "item_knn": {**_ANY_TIME, "step_decays": [0.9, 1.0, 0.7, 0.97], "half_lives_days": [None]},
            "user_knn": {**_ANY_TIME, "step_decays": [0.9, 1.0, 0.97], "half_lives_days": [None]},
            "ease": {**_ANY_TIME, "step_decays": [0.9, 1.0, 0.7, 0.97], "half_lives_days": [None]},
            "als": _TIMELESS,
            "bpr": {**_TIMELESS, **_PATIENT},
            "content": _ANY_TIME,
            "transitions": {**_ANY_TIME, "step_decays": [0.7, 0.5, 0.9, 0.3], "recent": 50, "neighbours": 300},
            "lightfm_hybrid": {"half_lives_days": [None], "max_epochs": 100, "patience": 15},
            "lightfm_ids": {"half_lives_days": [None], "max_epochs": 100, "patience": 15, **_IDS},
        },
        left_out={"blend": _NO_WINDOWS, "personal_frequency": "it is popularity where own items are left out"},
    ),
}

"""What each kind reaches on MovieLens-100K: floors, not records; a little below what was measured when written.

In time: nDCG@10 on the newest tenth (166 users, 76 of them never seen before) with the defaults of the params class;
popularity lately reaches .364 there, popularity of all time .288. A model that leans on popularity passes with little
of its own. So what histories say is asked as well: nDCG@10 on the newest fifth of each user's ratings before that tenth
(866 users), with the fixed values given and popularity only filling up.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter
from scipy.sparse import csr_array

import tasks.features
import tasks.fetch
import tasks.split
import tasks.validate
from rectory.data.card import load_card
from rectory.evaluation.holdout import evaluate
from rectory.evaluation.relevance import Window, load_window
from rectory.features.training_set import TrainingSet
from rectory.metrics.hits import hit_matrix
from rectory.metrics.ranking import ndcg
from rectory.models.bundle import Bundle
from rectory.models.catalogue import build
from rectory.params import Params, load_params
from rectory.params.candidates import CandidateParams
from rectory.workspace import Workspace
from tests.shop import ROOT

pytestmark = pytest.mark.xdist_group("floors")

Chosen = dict[str, Any]

FLOORS: list[tuple[str, dict[str, Any], float]] = [
    ("item_knn", {}, 0.362),
    ("user_knn", {}, 0.352),
    ("ease", {}, 0.357),
    ("transitions", {}, 0.360),
    ("content", {}, 0.380),
    ("als", {}, 0.360),
    ("bpr", {}, 0.360),
]
"""Kind, params that differ from the defaults, floor."""

_FILL = {"popularity_weight": 0.001, "popularity_window_days": None}
_HISTORY = {"self_weight": 0.0, "half_life_days": None, "step_decay": 1.0, **_FILL}
OWN_FLOORS: list[tuple[str, Chosen, float]] = [
    ("popularity", {"window_days": None, "half_life_days": None}, 0.112),
    ("item_knn", {"weighting": "cosine", "neighbours": 100, **_HISTORY}, 0.175),
    ("item_knn", {"weighting": "tfidf", "neighbours": 100, **_HISTORY}, 0.175),
    ("item_knn", {"weighting": "bm25", "neighbours": 100, **_HISTORY}, 0.158),
    ("user_knn", {"likeness": "cosine", "neighbours": 100, **_HISTORY}, 0.170),
    ("user_knn", {"likeness": "pearson", "neighbours": 100, **_HISTORY}, 0.168),
    ("ease", {"l2": 3.0, **_HISTORY}, 0.178),
]
"""Kind, what a fit would have chosen, floor."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Params, Workspace]:
    """Training set and windows, made by the steps that make them in every run."""
    project = tmp_path_factory.mktemp("floors")
    shutil.copytree(ROOT / "datasets", project / "datasets")
    cache = Workspace(project=ROOT).downloads
    if cache.exists():  # else the step fetches it
        (project / ".rectory").mkdir()
        Workspace(project=project).downloads.symlink_to(cache)
    params = load_params(ROOT / "params.yaml").model_copy(update={"dataset": "movielens_100k"})
    workspace = Workspace(project / "run", project)
    for step in (tasks.fetch, tasks.validate, tasks.split, tasks.features):
        step.run(params, workspace)
    return params, workspace


@pytest.fixture(scope="module")
def train(made: tuple[Params, Workspace]) -> TrainingSet:
    return TrainingSet.load(made[1].features)


@pytest.fixture(scope="module")
def window(made: tuple[Params, Workspace]) -> Window:
    params, workspace = made
    return load_window(workspace, load_card(workspace.card(params.dataset)), params)


@pytest.mark.parametrize("entry", FLOORS, ids=[entry[0] for entry in FLOORS])
def test_floor_on_movielens_100k(
    entry: tuple[str, dict[str, Any], float], made: tuple[Params, Workspace], train: TrainingSet, window: Window
) -> None:
    (kind, keys, floor), params = entry, made[0]
    candidate = TypeAdapter[CandidateParams](CandidateParams).validate_python({"kind": kind, **keys})
    model = build(candidate, params.train.seed, params.train.validation_users).fit(train)
    bundle = Bundle.of(kind, kind, model, train, titles=None, dataset=params.dataset)
    reached = evaluate(bundle, window, params.evaluate).metrics["ndcg@10"]
    assert reached.users == 166
    assert reached.value > floor


@pytest.fixture(scope="module")
def own(train: TrainingSet) -> tuple[TrainingSet, csr_array]:
    """Without the newest fifth of each user's ratings (of users with ten or more), and that fifth."""
    order = np.lexsort((train.time, train.user))
    counts = np.bincount(train.user, minlength=train.n_users)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order)) - (np.cumsum(counts) - counts)[train.user[order]]
    held = (place >= np.ceil(0.8 * counts)[train.user]) & (counts >= 10)[train.user]
    ones = np.ones(int(held.sum()), dtype=np.float32)
    relevant = csr_array((ones, (train.user[held], train.item[held])), shape=(train.n_users, train.n_items))
    rows = {name: getattr(train, name)[~held] for name in ("user", "item", "time", "weight", "target")}
    return replace(train, **rows), relevant


@pytest.mark.parametrize(
    ("kind", "chosen", "floor"),
    OWN_FLOORS,
    ids=["-".join(str(part) for part in (kind, *list(chosen.values())[:1])) for kind, chosen, _ in OWN_FLOORS],
)
def test_floor_of_what_histories_say(
    kind: str, chosen: Chosen, floor: float, own: tuple[TrainingSet, csr_array]
) -> None:
    before, relevant = own
    model = build(TypeAdapter[CandidateParams](CandidateParams).validate_python({"kind": kind}), 42, 100)
    users = np.flatnonzero(np.diff(relevant.indptr)).astype(np.int32)
    lists = model.refit(before, chosen).recommend(users, 10, exclude=before.counts()[users]).items
    reached = ndcg(hit_matrix(lists, relevant[users]), np.diff(relevant[users].indptr)).mean()
    assert reached > floor

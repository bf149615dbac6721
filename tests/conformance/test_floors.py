"""What each kind reaches on MovieLens-100K, temporal split, with the defaults of its params class: floors, not records.

nDCG@10 on the newest tenth (166 users, 76 of them never seen before); popularity lately reaches .364 there, popularity
of all time .288. An entry's floor is a little below what was measured when it was written.
"""

from __future__ import annotations

import shutil
from typing import Any

import pytest
from pydantic import TypeAdapter

import tasks.features
import tasks.fetch
import tasks.split
import tasks.validate
from rectory.data.card import load_card
from rectory.evaluation.holdout import evaluate
from rectory.evaluation.relevance import Window, load_window
from rectory.features.training_set import TrainingSet
from rectory.models.bundle import Bundle
from rectory.models.catalogue import build
from rectory.params import Params, load_params
from rectory.params.candidates import CandidateParams
from rectory.workspace import Workspace
from tests.shop import ROOT

pytestmark = pytest.mark.xdist_group("floors")

FLOORS: list[tuple[str, dict[str, Any], float]] = [
    ("transitions", {}, 0.360),
    ("content", {}, 0.380),
    ("als", {}, 0.360),
    ("bpr", {}, 0.360),
]
"""Kind, params that differ from the defaults, floor."""


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

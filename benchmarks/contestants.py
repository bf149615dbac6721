"""Who is measured under a published protocol: our candidates, and RecTools' own LightFM and EASE beside them."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pydantic import TypeAdapter
from scipy.sparse import csr_array

from benchmarks.protocols import SEED, Split
from rectory.arrays import Int32Array
from rectory.features.training_set import TrainingSet
from rectory.metrics.bootstrap import mean_intervals
from rectory.metrics.hits import hit_matrix
from rectory.metrics.ranking import RANKING, ndcg
from rectory.models.catalogue import build
from rectory.models.validation import K, Validation
from rectory.params.candidates import CandidateParams

_SAMPLES = 1000
_VALIDATION_USERS = 5000
LIGHTFM = "LightFM (RecTools)"
EASE = "EASE (RecTools)"
_EASE_L2 = (50.0, 200.0, 500.0, 1000.0, 3000.0)
_LIGHTFM_COMPONENTS = (32, 64)
_LIGHTFM_EPOCHS = (5, 10, 20, 40)


@dataclass(frozen=True)
class Measured:
    """One contestant. Seconds are of the processor, on one thread: what else the machine does is not in them.

    label: its name in the table. kind: its kind, or the name of RecTools' model.
    metrics: name -> [value, low, high], 95% over users.
    search_seconds: hyperparameters on the validation rows. fit_seconds: the final fit. list_seconds: lists of ten for
        all tested users.
    chosen: what validation chose.
    """

    label: str
    kind: str
    metrics: dict[str, list[float]]
    users: int
    search_seconds: float
    fit_seconds: float
    list_seconds: float
    chosen: dict[str, Any]


def ours(label: str, keys: dict[str, Any], split: Split, metrics: tuple[str, ...]) -> Measured:
    """Search on `split.search`, fit with what was chosen on `split.train`, rank for the tested users."""
    candidate = TypeAdapter[CandidateParams](CandidateParams).validate_python({"kind": label, **keys})
    began = time.process_time()
    model = build(candidate, SEED, _VALIDATION_USERS).fit(split.search)
    searched = time.process_time()
    chosen = model.report.chosen
    # A split in time is fitted by `fit` itself; the other splits moved their validation rows for the search.
    if split.train is not split.search:
        model = build(candidate, SEED, _VALIDATION_USERS).refit(split.train, chosen)
    else:
        model = model.refit(split.train, chosen)
    fitted = time.process_time()
    lists = model.recommend(split.users, K, exclude=split.train.counts()[split.users]).items
    ended = time.process_time()
    found = _metrics(lists, split.relevant, metrics)
    seconds = (searched - began, fitted - searched, ended - fitted)
    return Measured(label, candidate.kind, found, len(split.users), *seconds, chosen)


def theirs(name: str, split: Split, metrics: tuple[str, ...]) -> Measured:
    """The same with a model of RecTools, each setting of its grid tried on the validation rows."""
    began = time.process_time()
    validation = Validation(split.search, _VALIDATION_USERS, SEED)
    before, full = split.search.before_validation(), _dataset(split.train)
    counts = np.diff(validation.relevant.indptr)
    dataset, tried = _dataset(before), []
    for chosen, model in _tries(name, dataset):
        hits = hit_matrix(_recommend(model, dataset, before, validation.users), validation.relevant)
        tried.append((float(np.mean(ndcg(hits, counts))), chosen))
    # The first of equals.
    chosen = max(tried, key=lambda one: one[0])[1]
    searched = time.process_time()
    model = _quietly(_made(name, chosen).fit, full)
    fitted = time.process_time()
    lists = _recommend(model, full, split.train, split.users)
    ended = time.process_time()
    found = _metrics(lists, split.relevant, metrics)
    return Measured(name, name, found, len(split.users), searched - began, fitted - searched, ended - fitted, chosen)


def _tries(name: str, dataset: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """Settings and a model fitted with them; LightFM goes on from one number of epochs to the next."""
    if name == EASE:
        for l2 in _EASE_L2:
            chosen: dict[str, Any] = {"regularization": l2}
            yield chosen, _quietly(_made(name, chosen).fit, dataset)
        return
    for components in _LIGHTFM_COMPONENTS:
        model, done = _made(name, {"no_components": components, "epochs": 0}), 0
        for epochs in _LIGHTFM_EPOCHS:
            _quietly(model.fit_partial, dataset, epochs=epochs - done)
            done = epochs
            yield {"no_components": components, "epochs": epochs}, model


def _made(name: str, chosen: dict[str, Any]) -> Any:
    """An unfitted model of RecTools."""
    from lightfm import LightFM
    from rectools.models import EASEModel, LightFMWrapperModel

    if name == EASE:
        return EASEModel(regularization=chosen["regularization"], recommend_n_threads=1)
    inner = LightFM(no_components=chosen["no_components"], loss="warp", learning_rate=0.05, random_state=SEED)
    return LightFMWrapperModel(inner, epochs=chosen["epochs"], num_threads=1)


def _dataset(train: TrainingSet) -> Any:
    from rectools.dataset import Dataset

    pairs = train.counts()
    row = np.repeat(np.arange(train.n_users), np.diff(pairs.indptr))
    frame = pd.DataFrame({"user_id": row, "item_id": pairs.indices, "weight": 1.0, "datetime": "2000-01-01"})
    return Dataset.construct(frame)


def _quietly(work: Callable[..., Any], *values: Any, **named: Any) -> Any:
    """RecTools warns of what the caller cannot change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return work(*values, **named)


def _recommend(model: Any, dataset: Any, train: TrainingSet, users: Int32Array) -> Int32Array:
    """(n, K) codes; users without a training row get an empty list, as the wrappers cannot answer them."""
    known = users[np.isin(users, train.user)]
    found = _quietly(model.recommend, users=known, dataset=dataset, k=K, filter_viewed=True)
    lists = np.full((len(users), K), -1, dtype=np.int32)
    lists[np.searchsorted(users, found["user_id"]), found["rank"] - 1] = found["item_id"]
    return lists


def _metrics(lists: Int32Array, relevant: csr_array, names: tuple[str, ...]) -> dict[str, list[float]]:
    """`name@k` -> value and interval."""
    hits, counts = hit_matrix(lists, relevant), np.diff(relevant.indptr)
    cuts = [(name.partition("@")[0], int(name.partition("@")[2])) for name in names]
    values = np.column_stack([RANKING[metric](hits[:, :k], counts) for metric, k in cuts])
    found = mean_intervals(values, _SAMPLES, SEED)
    return {name: [one.value, one.low, one.high] for name, one in zip(names, found, strict=True)}

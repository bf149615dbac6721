"""Our LightFM candidate's final fit against a bare `LightFM.fit` on the same matrices."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.ratios import alternating, median_ratio, median_seconds
from rectory.features.training_set import TrainingSet
from rectory.models.lightfm_hybrid import LightFMHybrid
from rectory.models.lightfm_training import Training, new_lightfm
from rectory.params.candidates import LightFMHybridParams

if TYPE_CHECKING:
    from lightfm import LightFM

AIM_RATIO = 1.05
_CONTESTANTS = ("bare", "ours", "whole")
_ROUNDS = 25
_FEWEST_ROUNDS = 3


@dataclass(frozen=True)
class FitComparison:
    """Median seconds, and median over the rounds of ours / bare.

    epochs: of all; `epochs_found` is what the run's search had chosen (fewer are timed when time is short).
    ours: train on the same ready matrices and take the factors. whole: make the matrices as well.
    """

    pairs: int
    components: int
    half_life_days: float | None
    epochs: int
    epochs_found: int
    rounds: int
    bare_seconds: float
    ours_seconds: float
    ratio: float
    whole_seconds: float
    whole_ratio: float

    @property
    def met(self) -> bool:
        return self.ratio <= AIM_RATIO


@dataclass(frozen=True)
class Bare:
    """A trained bare LightFM and the rows of all users and items that its `predict` takes."""

    model: LightFM
    user_rows: Any
    item_rows: Any


def compare_fits(
    train: TrainingSet, params: LightFMHybridParams, seed: int, chosen: dict[str, Any], budget_seconds: float
) -> tuple[FitComparison, Bare]:
    """Time bare and ours in turns, in this process.

    Ours is what follows the search in `LightFMHybrid.fit`.
    """
    half_life, found = chosen["half_life_days"], max(1, int(chosen["epochs"]))
    # The fit's own inner part: a whole `fit` would search first, which the bare one does not.
    run = Training(params, seed, train, half_life)
    began = time.perf_counter()
    run.train(1)
    one_epoch = time.perf_counter() - began
    epochs = max(1, min(found, int(budget_seconds / (len(_CONTESTANTS) * _FEWEST_ROUNDS * one_epoch))))
    model = LightFMHybrid(params, seed, validation_users=0)
    bare = new_lightfm(params, seed)

    def ours() -> None:
        run.begin()
        run.train(epochs)
        model._take(run)

    def whole() -> None:
        final = Training(params, seed, train, half_life)
        final.train(epochs)
        model._take(final)

    def alone() -> None:
        bare.fit(
            run.pairs.interactions,
            user_features=run.users.matrix,
            item_features=run.item_matrix,
            sample_weight=run.pairs.weights,
            epochs=epochs,
            num_threads=params.threads,
        )

    seconds = alternating(dict(zip(_CONTESTANTS, (alone, ours, whole), strict=True)), _ROUNDS, budget_seconds)
    comparison = FitComparison(
        pairs=int(run.pairs.interactions.nnz),
        components=params.components,
        half_life_days=half_life,
        epochs=epochs,
        epochs_found=found,
        rounds=len(seconds["ours"]),
        bare_seconds=median_seconds(seconds, "bare"),
        ours_seconds=median_seconds(seconds, "ours"),
        ratio=median_ratio(seconds, "ours", "bare"),
        whole_seconds=median_seconds(seconds, "whole"),
        whole_ratio=median_ratio(seconds, "whole", "bare"),
    )
    return comparison, Bare(bare, run.users.matrix, run.items.matrix)

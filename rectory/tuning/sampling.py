"""What is tried next: TPE, whose proposal depends on the trials before it and on how many there were, nothing else.

A sampler with one seed for the whole study would propose the first values again after a restart. Here each trial has a
sampler of its own, seeded by its place in the study; trials that were killed have no place. So with one worker a study
that was killed and resumed is the study that was left alone, trial for trial. With several workers the order in which
trials end decides what TPE knows when it proposes.

Source: Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011; multivariate as in optuna.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.pruners import MedianPruner
from optuna.samplers import BaseSampler, TPESampler

from rectory.tuning.storage import was_killed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, TrialState

_STARTUP_TRIALS = 8
"""Random trials before TPE has something to learn from."""
_UNPRUNED_TRIALS = 4
"""Whole trials before the median of them may end another."""
_WARMUP_STEPS = 3
"""The earliest step (they count from 1) that a trial may be ended at."""


class OrdinalSampler(BaseSampler):
    """TPE with a seed of its own for each place in the study."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._number = -1
        self._own = TPESampler()

    def _of(self, study: Study, trial: FrozenTrial) -> TPESampler:
        if trial.number != self._number:
            earlier = (one for one in study.get_trials(deepcopy=False) if one.number < trial.number)
            place = trial.number - sum(map(was_killed, earlier))
            seed = int(np.random.SeedSequence([self._seed, place]).generate_state(1)[0])
            self._own = TPESampler(seed=seed, n_startup_trials=_STARTUP_TRIALS, multivariate=True)
            self._number = trial.number
        return self._own

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._of(study, trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._of(study, trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._of(study, trial).sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._of(study, trial).after_trial(study, trial, state, values)


def pruner() -> MedianPruner:
    """Ends a trial whose best score so far is below the median of the others' best after as many steps."""
    return MedianPruner(n_startup_trials=_UNPRUNED_TRIALS, n_warmup_steps=_WARMUP_STEPS, n_min_trials=_UNPRUNED_TRIALS)

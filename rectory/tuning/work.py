"""A worker: takes the next trial, tries it, writes down what came of it, until the plan is fulfilled."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from rectory.errors import RectoryError
from rectory.features.training_set import TrainingSet
from rectory.files import write_arrays
from rectory.params.load import describe
from rectory.params.sections import TrainParams
from rectory.tuning.plan import Plan
from rectory.tuning.spaces import Dimension, Number, Space, space_of, with_values
from rectory.tuning.storage import counted, open_study, put_back, sole, take_up, worker_name
from rectory.tuning.trial import Outcome, Steps, try_candidate

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial


class _OutOfTime(Exception):
    """The plan's deadline came in the middle of a trial."""


def work(plan: Plan, settings: TrainParams, train: TrainingSet) -> int:
    """Try until the plan's trials are made or its time is over; gives the number of trials that this worker began."""
    study = open_study(plan, settings.seed)
    space = space_of(settings.candidates[plan.candidate])
    take_up(study, plan)
    done = 0
    while trial := take(study, plan, space):
        _try(study, plan, settings, train, trial)
        done += 1
    return done


def take(study: Study, plan: Plan, space: Space) -> Trial | None:
    """The next trial, its values among its attributes; None: there is nothing left to do."""
    with sole(plan):
        if _fulfilled(plan, study):
            return None
        trial = study.ask()
        trial.set_user_attr("worker", worker_name())
        # Proposed under the lock, so that the next worker's proposal knows this one.
        values = {one.key: one.value(_propose(trial, one), plan.defaults[one.key]) for one in space}
        trial.set_user_attr("values", values)
        if "origin" not in trial.user_attrs:
            trial.set_user_attr("origin", "proposed")
        return trial


def _fulfilled(plan: Plan, study: Study) -> bool:
    """All trials are made or the time is over. The defaults are tried even then, else nothing could be compared."""
    from optuna.trial import TrialState

    if len(counted(study)) < plan.trials and (plan.deadline is None or time.time() < plan.deadline):
        return False
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    return not any(one.user_attrs.get("origin") == "defaults" for one in waiting)


def _propose(trial: Trial, one: Dimension) -> Any:
    if not isinstance(one, Number):
        return trial.suggest_categorical(one.key, one.proposals)
    if one.whole:
        return trial.suggest_int(one.key, int(one.low), int(one.high), log=one.log)
    return trial.suggest_float(one.key, one.low, one.high, log=one.log)


def _try(study: Study, plan: Plan, settings: TrainParams, train: TrainingSet, trial: Trial) -> None:
    """Run a trial and tell the study how it ended."""
    from optuna import TrialPruned
    from optuna.trial import TrialState

    values = trial.user_attrs["values"]
    if earlier := _equal(study, trial.number, values):
        _take_over(study, trial, earlier)
        return
    steps, began = Steps(_watch(plan, trial)), time.perf_counter()
    try:
        candidate = with_values(settings.candidates[plan.candidate], values)
        outcome = try_candidate(candidate, train, settings, steps)
    except TrialPruned:
        _note_fit(trial, steps, began)
        study.tell(trial, state=TrialState.PRUNED)
    except _OutOfTime:
        frozen = next(one for one in study.get_trials(deepcopy=False) if one.number == trial.number)
        put_back(study, frozen, "the time was over")
    except (RectoryError, ValidationError, MemoryError) as error:
        # Values that cannot be fitted are an answer too: the next ones are tried.
        reason = describe(error) if isinstance(error, ValidationError) else str(error) or type(error).__name__
        _note_fit(trial, steps, began)
        trial.set_user_attr("reason", reason)
        study.tell(trial, state=TrialState.FAIL)
    else:
        _keep(plan, trial, outcome)
        _note_fit(trial, steps, began, chosen=outcome.chosen, by_user=outcome.per_user is not None)
        study.tell(trial, outcome.score)


def _watch(plan: Plan, trial: Trial) -> Any:
    """Report each step; end what is worse than others were, or out of time. The defaults are seen through."""
    from optuna import TrialPruned

    defaults = trial.user_attrs.get("values") == plan.defaults

    def watch(best: float, step: int) -> None:
        trial.report(best, step)
        if defaults:
            return
        if plan.deadline is not None and time.time() >= plan.deadline:
            raise _OutOfTime
        if trial.should_prune():
            raise TrialPruned

    return watch


def _note_fit(trial: Trial, steps: Steps, began: float, **more: Any) -> None:
    facts = {"steps": len(steps.curve), "seconds": round(time.perf_counter() - began, 3)}
    trial.set_user_attr("fit", {**facts, **more})


def _keep(plan: Plan, trial: Trial, outcome: Outcome) -> None:
    """Per-user scores go to a file of their own: thousands of numbers have no business in a table of attributes."""
    if outcome.per_user is not None:
        write_arrays(plan.scores / f"{trial.number}.npz", {"score": outcome.per_user})


def _equal(study: Study, number: int, values: dict[str, Any]) -> FrozenTrial | None:
    """An earlier trial with equal values that was seen through or pruned: fits are deterministic."""
    from optuna.trial import TrialState

    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    for one in ended:
        if one.number < number and one.user_attrs["values"] == values:
            return one
    return None


def _take_over(study: Study, trial: Trial, earlier: FrozenTrial) -> None:
    from optuna.trial import TrialState

    trial.set_user_attr("same_as", earlier.user_attrs.get("same_as", earlier.number))
    if earlier.state == TrialState.COMPLETE:
        study.tell(trial, earlier.value)
    else:
        for step, value in earlier.intermediate_values.items():
            trial.report(value, step)
        study.tell(trial, state=TrialState.PRUNED)

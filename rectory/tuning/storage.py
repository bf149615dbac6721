"""The study on disk: one SQLite file for each data set and candidate, any number of studies in it, no pickle.

A trial's own facts (user attributes):
values      key -> value that was tried; optuna's own params hold the unrounded proposals
wanted      the same, of a trial that is enqueued
origin      "defaults", "proposed" or, after a kill, "again"
worker      process id of who is at work on it, or the name that the engine knows it by
killed      why it was not seen through; such a trial counts for nothing and is enqueued again
reason      why it failed or was given up
same_as     number of the earlier trial with equal values, whose score it takes over
fit         seconds, steps, chosen, and by_user: the scores of its users are kept, beside the file
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rectory.errors import BusyError, StoreError
from rectory.files import exclusive
from rectory.tuning.plan import Plan
from rectory.tuning.spaces import Space

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

_LOCK_SECONDS = 60
WORKER_VARIABLE = "RECTORY_WORKER"
"""Name of a worker that may be started again elsewhere under the same name, after its machine was lost."""


def open_study(plan: Plan, seed: int) -> Study:
    """The plan's study, made when there is none yet.

    Args:
        seed: of the proposals.
    Raises:
        StoreError: the file cannot be read as a study.
    """
    import optuna
    import sqlalchemy.exc
    from optuna.storages import RDBStorage

    from rectory.tuning.sampling import OrdinalSampler, pruner

    optuna.logging.set_verbosity(logging.ERROR)
    plan.storage.parent.mkdir(parents=True, exist_ok=True)
    try:
        storage = RDBStorage(
            f"sqlite:///{plan.storage.absolute()}", engine_kwargs={"connect_args": {"timeout": _LOCK_SECONDS}}
        )
        return optuna.create_study(
            storage=storage,
            study_name=plan.study,
            direction="maximize",
            load_if_exists=True,
            sampler=OrdinalSampler(seed),
            pruner=pruner(),
        )
    except (sqlalchemy.exc.SQLAlchemyError, RuntimeError) as error:
        raise StoreError(
            f"the studies in {plan.storage} cannot be opened: {str(error).splitlines()[0]}. If another program holds "
            "the file, close it; if it is damaged, delete it: tuning then starts anew."
        ) from error


def known_studies(plan: Plan) -> list[str]:
    """Names of the studies that the plan's file holds."""
    import optuna

    if not plan.storage.is_file():
        return []
    return sorted(optuna.get_all_study_names(f"sqlite:///{plan.storage.absolute()}"))


def note(study: Study, trial: FrozenTrial, **facts: Any) -> None:
    """Add facts to a trial that has not ended."""
    for name, value in facts.items():
        study._storage.set_trial_user_attr(trial._trial_id, name, value)


def was_killed(trial: FrozenTrial) -> bool:
    """It was not seen through, by no fault of its own."""
    return "killed" in trial.user_attrs


def counted(study: Study) -> list[FrozenTrial]:
    """Trials that have begun, without those that were killed; in order."""
    from optuna.trial import TrialState

    return [one for one in study.get_trials(deepcopy=False) if one.state != TrialState.WAITING and not was_killed(one)]


def begin(study: Study, plan: Plan, space: Space) -> tuple[int, int]:
    """Put back what dead processes had at work and see to it that the defaults get a score.

    Only for who holds the study's lock (`alone`): then no worker of another call is alive.

    Returns:
        Number of trials so far, and of those cut short and put back.
    """
    from optuna.trial import TrialState

    begun = counted(study)
    left = [one for one in begun if one.state == TrialState.RUNNING]
    for trial in left:
        put_back(study, trial, "its process was killed")
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.WAITING))
    if not any(plan.defaults in (one.user_attrs.get("values"), one.user_attrs.get("wanted")) for one in trials):
        proposals = {one.key: one.proposal(plan.defaults[one.key]) for one in space}
        study.enqueue_trial(proposals, user_attrs={"origin": "defaults", "wanted": plan.defaults})
    return len(begun), len(left)


def put_back(study: Study, trial: FrozenTrial, reason: str) -> None:
    """End a running trial as killed; the same values are tried again later."""
    from optuna.trial import TrialState

    note(study, trial, killed=reason)
    study.tell(trial.number, state=TrialState.FAIL)
    # A trial that was killed before its first proposal has none; one that was enqueued knows what it was to try.
    values = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
    if values:
        origin = "defaults" if trial.user_attrs.get("origin") == "defaults" else "again"
        wanted = trial.user_attrs.get("values", trial.user_attrs.get("wanted"))
        study.enqueue_trial(values, user_attrs={"origin": origin, "wanted": wanted})


def worker_name() -> int | str:
    """What this process goes by in a study."""
    return os.environ.get(WORKER_VARIABLE) or os.getpid()


def take_up(study: Study, plan: Plan) -> None:
    """Put back what an earlier process of this name had at work: its machine was lost, its values are not to blame.

    Whoever takes a trial signs it before the lock is free: one without a name is of a process that died in between.
    """
    from optuna.trial import TrialState

    with sole(plan):
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial.user_attrs.get("worker", worker_name()) == worker_name():
                put_back(study, trial, "its worker was lost")


def give_up(study: Study, worker: int | str, reason: str) -> None:
    """End what a dead worker was at work on as failed: it counts, since it might die of it again."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if trial.user_attrs.get("worker") == worker:
            note(study, trial, reason=reason)
            study.tell(trial.number, state=TrialState.FAIL)


@contextmanager
def alone(storage: Path) -> Iterator[None]:
    """Nobody else tunes this candidate meanwhile; the system frees the lock if the process dies.

    Raises:
        BusyError: somebody does.
    """
    try:
        with exclusive(storage.with_suffix(".busy"), "rectory tune", timeout_seconds=0):
            yield
    except BusyError as error:
        raise BusyError(f"{storage.stem} is being tuned by another process: wait for it to end. {error}") from None


@contextmanager
def sole(plan: Plan) -> Iterator[None]:
    """One worker at a time counts trials and takes the next one."""
    with exclusive(plan.storage.with_suffix(".lock"), "taking the next trial"):
        yield

"""Step tune: try values of one candidate on the validation window. It acts on the study outside, so it is no DVC stage.

`prepare` opens the study, `run` is one worker of it (several may be at work, each a process of its own), `conclude`
compares, reports and records. The test window is in none of the files that they read.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rectory.data.card import load_card
from rectory.errors import DataError, UsageError
from rectory.features.training_set import TrainingSet
from rectory.files import read_json, write_json
from rectory.models.validation import Validation
from rectory.params import Params
from rectory.registry.lineage import candidate_lineage
from rectory.tuning.plan import MANY, Plan, study_name
from rectory.tuning.result import Tuned, summarise
from rectory.tuning.spaces import defaults_of, space_of
from rectory.tuning.storage import begin, known_studies, open_study
from rectory.tuning.work import work
from rectory.workspace import Workspace
from tasks import main

DEFAULT_TRIALS = 30


@dataclass(frozen=True)
class Prepared:
    """The study that the workers go on with. before: trials that it had; again: of those, cut short and enqueued."""

    study: str
    before: int
    again: int
    text: str


@dataclass(frozen=True)
class Worked:
    """Trials that this worker began."""

    trials: int


@dataclass(frozen=True)
class Concluded:
    """The result, where its page is, and its parent run in MLflow."""

    tuned: Tuned
    page: Path
    parent_run: str

    @property
    def text(self) -> str:
        return self.tuned.verdict


def prepare(
    params: Params,
    workspace: Workspace,
    candidate: str,
    *,
    trials: int | None = None,
    minutes: float | None = None,
    workers: int = 1,
) -> Prepared:
    """Open or go on with the study, defaults first, and write the plan for the workers.

    Args:
        trials: that the study shall have in all; None: no limit but the time's, or 30 where that has none either.
        minutes: from now on; trials at work when they are over are put back.
        workers: processes that will be at work.
    Raises:
        UsageError: there is nothing to tune.
        DataError: the validation window has nobody to score.
    """
    space = space_of(_section(params, candidate))
    validation = Validation(TrainingSet.load(workspace.features), params.train.validation_users, params.train.seed)
    if not len(validation.users):
        raise DataError(
            "the validation window has nobody to score, so nothing can be tuned: lengthen split.valid_days."
        )
    card, data = load_card(workspace.card(params.dataset)), str(read_json(workspace.snapshot)["hash"])
    lineage = candidate_lineage(params, card, data, workspace.lock_file, candidate)
    parts = {"data": lineage.data, "code": lineage.code, "lock": lineage.lock, "params": lineage.params}
    plan = Plan(
        dataset=params.dataset,
        candidate=candidate,
        kind=params.train.candidates[candidate].kind,
        study=study_name(parts, space),
        storage=workspace.study(params.dataset, candidate).absolute(),
        trials=trials or (MANY if minutes else DEFAULT_TRIALS),
        deadline=None if minutes is None else time.time() + minutes * 60,
        workers=workers,
        defaults=defaults_of(params.train.candidates[candidate], space),
    )
    earlier = known_studies(plan)
    study = open_study(plan, params.train.seed)
    before, again = begin(study, plan, space)
    plan.save(workspace.tuning_plan)
    return Prepared(plan.study, before, again, _in_words(plan, earlier, before, again))


def _section(params: Params, candidate: str) -> Any:
    candidates = params.train.candidates
    if candidate not in candidates:
        raise UsageError(f"no candidate {candidate!r} under train.candidates; there are {', '.join(candidates)}.")
    return candidates[candidate]


def _in_words(plan: Plan, earlier: list[str], before: int, again: int) -> str:
    if plan.study in earlier:
        cut = f", {again} of them cut short and tried again" if again else ""
        return f"study {plan.study} goes on: {before} trials so far{cut}"
    if earlier:
        return f"new study {plan.study}: the data, the card, the code or what is not tuned changed since the last one"
    return f"new study {plan.study}"


def run(params: Params, workspace: Workspace, candidate: str) -> Worked:
    """One worker: try until the plan is fulfilled."""
    plan = Plan.load(workspace.tuning_plan)
    if plan.candidate != candidate:
        raise UsageError(f"the plan in {workspace.tuning_plan} is for {plan.candidate}, not for {candidate}.")
    return Worked(work(plan, params.train, TrainingSet.load(workspace.features)))


def conclude(params: Params, workspace: Workspace, candidate: str) -> Concluded:
    """Compare the best with the defaults, write the result and its page, record the study in MLflow."""
    from rectory.registry.trials import record_study
    from rectory.reporting.tuning import write_tuning_page

    plan = Plan.load(workspace.tuning_plan)
    study = open_study(plan, params.train.seed)
    tuned = summarise(study, plan, params.evaluate.bootstrap_samples, params.train.seed)
    write_json(workspace.tuning_result, tuned.to_dict())
    parent = record_study(workspace, tuned)
    page = write_tuning_page(workspace.reports / f"tune-{plan.dataset}-{candidate}", tuned)
    return Concluded(tuned, page, parent)


if __name__ == "__main__":
    main("tune", run, per_candidate=True)

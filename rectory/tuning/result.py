"""What a study came to: its trials, the best of them, and whether it is better than the defaults beyond the noise."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rectory.arrays import Float64Array
from rectory.errors import RectoryError, StoreError
from rectory.files import read_arrays
from rectory.metrics.bootstrap import Gain, paired_gain
from rectory.metrics.selection import credible_gain
from rectory.models.validation import METRIC
from rectory.tuning.plan import Plan
from rectory.tuning.storage import counted

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

_IMPORTANCE_TRIALS = 6
"""Whole trials that importance is worked out from at least."""
_STATES: dict[str, Literal["complete", "pruned", "failed", "running"]] = {
    "COMPLETE": "complete",
    "PRUNED": "pruned",
    "FAIL": "failed",
    "RUNNING": "running",
}


@dataclass(frozen=True)
class Tried:
    """One trial. score: on validation; of a pruned one the best it had reached; None: it failed.

    curve: best score after each step. by_user: the scores of its users are kept. same_as: number of the trial whose
    score it took over. began, ended: ISO 8601, UTC.
    """

    number: int
    state: Literal["complete", "pruned", "failed", "running"]
    origin: str
    values: dict[str, Any]
    score: float | None
    steps: int
    seconds: float
    curve: list[float]
    chosen: dict[str, Any]
    by_user: bool
    same_as: int | None
    reason: str | None
    began: str
    ended: str | None


@dataclass(frozen=True)
class Tuned:
    """A study's result.

    trials: in order, those that a kill cut short left out.
    defaults, best: trials; the same one when nothing was better.
    changed: tuned keys in which the best differs from the defaults, as params.yaml would have them.
    gain: of the best over the defaults, paired by validation user; None: the same trial, or not known by user.
    credible: lower end of the absolute gain after having picked the best of all whole trials.
    better: `credible` lies above 0: the gain is more than noise and luck.
    importance: key -> share of the score's variance among whole trials (they add up to 1); empty: too few trials.
    """

    dataset: str
    candidate: str
    kind: str
    study: str
    metric: str
    users: int | None
    trials: list[Tried]
    defaults: Tried
    best: Tried
    changed: dict[str, Any]
    gain: Gain | None
    credible: float | None
    better: bool
    importance: dict[str, float]

    @property
    def verdict(self) -> str:
        """One sentence: how much better the best is, and whether that can be believed."""
        if not self.changed:
            return f"nothing tried was better than the defaults ({self.defaults.score:.4f})"
        head = f"{self.best.score:.4f} against {self.defaults.score:.4f} of the defaults"
        if self.gain is None or self.credible is None:
            return f"{head}; not known by user, so there is no interval"
        gain = self.gain.absolute
        figures = f"{gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}] paired over {gain.users} users"
        judged = "more than noise" if self.better else "not more than noise"
        return (
            f"{head}: {figures}; at least {self.credible:+.4f} after picking the best of {self.whole} trials: {judged}"
        )

    @property
    def whole(self) -> int:
        """Trials that were seen through, equal ones once."""
        return sum(one.state == "complete" and one.same_as is None for one in self.trials)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; `gain` as {absolute, relative}, `verdict` in words beside the figures."""
        facts = asdict(self)
        facts["gain"] = self.gain.to_dict() if self.gain else None
        return {**facts, "verdict": self.verdict}


def summarise(study: Study, plan: Plan, samples: int, seed: int) -> Tuned:
    """Read the study and compare its best with the defaults.

    Args:
        samples: resamples behind intervals. seed: of the draws.
    Raises:
        RectoryError: the defaults could not be scored; says why.
        StoreError: files of per-user scores are missing.
    """
    trials = [_tried(one) for one in counted(study)]
    whole = [one for one in trials if one.state == "complete" and one.score is not None]
    defaults = next((one for one in whole if one.values == plan.defaults), None)
    if defaults is None:
        raise RectoryError(_no_defaults(trials, plan))
    # The first of equals, but the defaults before all others.
    best = max(whole, key=lambda one: (one.score or 0.0, one is defaults, -one.number))
    changed = {key: value for key, value in best.values.items() if value != plan.defaults[key]}
    per_user = {one.number: _scores(plan, one) for one in whole if one.same_as is None}
    base, top = (per_user.get(one.number if one.same_as is None else one.same_as) for one in (defaults, best))
    gain, credible = None, None
    if changed and base is not None and top is not None:
        gain = paired_gain(top, base, samples, seed)
        others = [scores for number, scores in per_user.items() if number != defaults.number and scores is not None]
        credible = credible_gain(np.stack(others), base, samples, seed)
    return Tuned(
        dataset=plan.dataset,
        candidate=plan.candidate,
        kind=plan.kind,
        study=plan.study,
        metric=METRIC,
        users=None if base is None else len(base),
        trials=trials,
        defaults=defaults,
        best=best,
        changed=changed,
        gain=gain,
        credible=credible,
        better=credible is not None and credible > 0,
        importance=_importance(study, seed),
    )


def _tried(trial: FrozenTrial) -> Tried:
    facts, state = trial.user_attrs, _STATES[trial.state.name]
    fit = facts.get("fit", {})
    curve = [trial.intermediate_values[step] for step in sorted(trial.intermediate_values)]
    score = trial.value if state == "complete" else (curve[-1] if curve and state == "pruned" else None)
    return Tried(
        number=trial.number,
        state=state,
        origin=facts.get("origin", "proposed"),
        values=facts.get("values", {}),
        score=score,
        steps=fit.get("steps", 0),
        seconds=fit.get("seconds", 0.0),
        curve=curve,
        chosen=fit.get("chosen", {}),
        by_user=fit.get("by_user", False),
        same_as=facts.get("same_as"),
        reason=facts.get("reason"),
        began=_utc(trial.datetime_start) or "",
        ended=_utc(trial.datetime_complete),
    )


def _utc(local: datetime | None) -> str | None:
    """Optuna keeps the machine's own time."""
    return None if local is None else local.astimezone(UTC).isoformat()


def _no_defaults(trials: list[Tried], plan: Plan) -> str:
    failed = [one.reason for one in trials if one.values == plan.defaults and one.reason]
    why = f"they failed: {failed[-1]}" if failed else "no trial of them ended"
    return f"the defaults of {plan.candidate} have no score to compare with: {why}"


def _scores(plan: Plan, trial: Tried) -> Float64Array | None:
    path = plan.scores / f"{trial.number}.npz"
    if not trial.by_user:
        return None
    if not path.is_file():
        raise StoreError(f"{path} is missing, trials cannot be compared by user: delete {plan.storage} and tune again.")
    return read_arrays(path)["score"]


def _importance(study: Study, seed: int) -> dict[str, float]:
    """fANOVA (Hutter, Hoos, Leyton-Brown, ICML 2014) over the whole trials, most important key first."""
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances
    from optuna.trial import TrialState

    scores = [one.value for one in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))]
    if len(scores) < _IMPORTANCE_TRIALS or len(set(scores)) < 2:
        return {}
    found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed))
    return dict(sorted(found.items(), key=lambda entry: (-entry[1], entry[0])))

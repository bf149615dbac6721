"""`summary.json`: a run's facts for machines. The classes here are the contract; docs/report.md shows an example.

Keys may be added, never taken away or given another type. NaN and infinity do not exist in JSON: they are null.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from rectory.errors import DataError
from rectory.files import read_json
from rectory.models.warm_start import told
from rectory.reporting.inputs import Facts, Inputs
from rectory.reporting.pareto import pareto_front
from rectory.workspace import Workspace

SCHEMA_VERSION = 1


class Part(BaseModel):
    """What all parts share: frozen; unknown keys are kept, so that an older reader survives a newer file."""

    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True)


class Interval(Part):
    """A mean over users with its 95% bootstrap interval. For catalogue-wide metrics low and high may be null."""

    value: float | None
    low: float | None = None
    high: float | None = None
    users: int = 0
    """Users that the mean is taken over."""


class SnapshotSummary(Part):
    """The data: rows of the interactions table. rows_in = rows_kept + rows_quarantined + rows_filtered, always."""

    hash: str | None = None
    """Content hash of the validated tables (DVC, `<md5>.dir`); null before the snapshot step."""
    rows_in: int = 0
    rows_kept: int = 0
    rows_quarantined: int = 0
    """Bad rows, set aside with a reason."""
    rows_filtered: int = 0
    """Good rows that the data card leaves out on purpose."""


class GapSummary(Part):
    """The best and the worst served group of a declared user attribute."""

    metric: str
    best: str
    worst: str
    gap: Interval
    """Largest difference between two groups; its interval accounts for having picked the pair (docs/evaluation.md)."""


class BehaviourSummary(Part):
    """One behavioural test."""

    name: str
    passed: bool
    text: str = ""
    applicable: bool = True
    """false: it could not be asked of this candidate or log, `text` says why; it then counts as passed."""
    value: float | None = None
    limit: float | None = None


class CandidateSummary(Part):
    """One candidate, scored on the test window."""

    version: str | None = None
    """Registered version; null before the register step."""
    baseline: bool = False
    """A challenger must beat every baseline."""
    kind: str | None = None
    metrics: dict[str, Interval] = {}
    """Metric name such as `ndcg@10` -> mean with interval."""
    slices: dict[str, dict[str, Interval]] = {}
    """Slice such as `users=cold` -> metric -> mean with interval."""
    fit_seconds: float | None = None
    """Wall-clock seconds of the train step."""
    peak_memory_mb: float | None = None
    """Largest resident memory of the train step, MiB."""
    gaps: dict[str, GapSummary] = {}
    """Declared user attribute -> largest gap between its groups."""
    chosen: dict[str, Any] = {}
    """What validation chose, e.g. `half_life_days`."""
    notes: list[str] = []
    """What the fit switched on or off and why, in sentences."""
    chain: list[str] = []
    """Versions that this one was continued from, the full fit first; empty: a full fit itself (docs/warm-start.md)."""
    behaviour: list[BehaviourSummary] = []
    """Behavioural tests; empty before they ran."""


class ChampionSummary(Part):
    """Who serves after this run."""

    name: str
    version: str | None = None


class RuleSummary(Part):
    """One rule of the gate."""

    rule: str
    passed: bool | None
    """null: the rule did not apply, e.g. no champion to compare with."""
    text: str


class AttemptSummary(Part):
    """A challenger that was refused in the same run."""

    challenger: str
    rules: list[RuleSummary] = []


class DecisionSummary(Part):
    """The gate's decision."""

    promoted: bool = False
    champion: ChampionSummary | None = None
    """Champion after the decision; null when there is none."""
    reasons: list[str] = []
    """One sentence for each rule, in the gate's order."""
    challenger: str | None = None
    rules: list[RuleSummary] = []
    attempts: list[AttemptSummary] = []
    """Challengers that were refused before (or beside) this one."""
    champion_before: ChampionSummary | None = None
    """Whom the challenger was compared with."""


class RefitSummary(Part):
    """The champion's recipe, fitted again on everything up to as_of; docs/refit.md."""

    served: bool = False
    """It serves in the champion's place."""
    version: str | None = None
    """Registered version of the refit."""
    refit_of: str | None = None
    """The version that the gate has measured."""
    text: str = ""
    """What was done, or why nothing was."""


class DriftColumn(Part):
    """One watched column."""

    column: str
    distance: float | None = None
    threshold: float | None = None
    """`warn` from here on."""
    drift_threshold: float | None = None
    """`drift` from here on."""
    drifted: bool = False
    """The distance is at or beyond the first threshold."""
    status: str = "unknown"
    """ok, warn or drift."""
    method: str | None = None
    group: str | None = None
    """inputs (the log) or recommendations."""
    text: str = ""
    """What changed, in words."""


class DriftSummary(Part):
    """How far the newest window is from what the champion learned."""

    status: Literal["ok", "warn", "drift", "unknown"] = "unknown"
    """unknown: the drift step has not run."""
    columns: list[DriftColumn] = []
    notes: list[str] = []
    calibrated: bool = False
    """Thresholds were learned from past windows of this log."""


class Summary(Part):
    """summary.json."""

    schema_version: int = SCHEMA_VERSION
    dataset: str
    as_of: str | None = None
    """Newest moment that the run has seen, ISO 8601 with zone."""
    lineage_key: str | None = None
    """sha256 over data, params, code and lock; null before the register step."""
    snapshot: SnapshotSummary = SnapshotSummary()
    candidates: dict[str, CandidateSummary] = {}
    decision: DecisionSummary = DecisionSummary()
    refit: RefitSummary | None = None
    """null: refits are switched off."""
    drift: DriftSummary = DriftSummary()
    timings: dict[str, float] = {}
    """Step (`split`, `train-lightfm_hybrid`) -> wall-clock seconds. Candidates train side by side: they overlap."""
    total_seconds: float | None = None
    """Wall-clock seconds of the whole run; without a flow the sum of the steps."""
    reused: bool = False
    """Everything was already registered and nothing was trained."""
    run_id: str = "local"
    metric: str = "ndcg@10"
    """The metric that the gate compares."""
    peak_memory_mb: float | None = Field(default=None)
    """Largest resident memory of any step, MiB."""
    checks: dict[str, int] = {}
    """Number of the data checks that ended `ok`, `warn`, `fail`."""
    pareto: list[str] = []
    """Candidates that no other beats in both `metric` and catalogue coverage, most accurate first."""
    slice_meanings: dict[str, str] = {}
    """Slice -> what it holds in this log, where the log decides: "1 to 5 interactions before the window"."""


def build_summary(inputs: Inputs) -> Summary:
    """Collect the facts of a run."""
    validation = inputs.validation or {}
    snapshot = inputs.snapshot or {}
    registered = inputs.registered or {}
    candidates = {name: _candidate(name, inputs) for name in inputs.params.train.candidates if _known(name, inputs)}
    metric = inputs.params.gate.metric
    return Summary(
        dataset=inputs.params.dataset,
        as_of=validation.get("as_of") or snapshot.get("as_of"),
        lineage_key=registered.get("lineage_key"),
        snapshot=_snapshot(validation, snapshot),
        candidates=candidates,
        decision=_decision(inputs.decision),
        refit=_refit(inputs.renewal),
        drift=_drift(inputs.drift),
        timings={label: facts["seconds"] for label, facts in inputs.timings.items()},
        total_seconds=total_seconds(inputs),
        reused=bool(inputs.run.get("reused", False)),
        run_id=str(inputs.run.get("run_id") or "local"),
        metric=metric,
        peak_memory_mb=max((facts["peak_memory_mb"] for facts in inputs.timings.values()), default=None),
        checks=_check_counts(validation),
        pareto=pareto_front(trade_offs(candidates, metric)),
        slice_meanings=next((scored["meanings"] for scored in inputs.metrics.values() if scored.get("meanings")), {}),
    )


def trade_offs(candidates: dict[str, CandidateSummary], metric: str) -> dict[str, tuple[float, float]]:
    """Candidate -> (gate's metric, catalogue coverage at the same k), where both were measured."""
    spread = f"coverage@{metric.partition('@')[2]}"
    found = {}
    for name, one in candidates.items():
        good, wide = one.metrics.get(metric), one.metrics.get(spread)
        if good and wide and good.value is not None and wide.value is not None:
            found[name] = (good.value, wide.value)
    return found


def load_summary(workspace: Workspace, run_id: str = "latest") -> Summary:
    """Read a published summary.

    Raises:
        DataError: there is none, or it is not one.
    """
    path = workspace.reports / run_id / "summary.json"
    if not path.is_file():
        raise DataError(f"{path} is missing: no run has ended yet. Start one with `rectory run`.")
    return Summary.model_validate(read_json(path))


def finite(value: Any) -> float | None:
    """A float that JSON can hold, else None."""
    if value is None or isinstance(value, bool):
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def total_seconds(inputs: Inputs) -> float | None:
    """Seconds of the run: what the flow wrote, else since it started, else the sum of the steps' own."""
    if (total := finite(inputs.run.get("total_seconds"))) is not None:
        return total
    if started := inputs.run.get("started_at"):
        begun = datetime.fromisoformat(str(started))
        begun = begun.replace(tzinfo=UTC) if begun.tzinfo is None else begun
        return round((datetime.now(UTC) - begun).total_seconds(), 3)
    return round(sum(facts["seconds"] for facts in inputs.timings.values()), 3) if inputs.timings else None


def _snapshot(validation: Facts, snapshot: Facts) -> SnapshotSummary:
    rows = validation.get("tables", {}).get("interactions", {})
    names = ("rows_in", "rows_kept", "rows_quarantined", "rows_filtered")
    return SnapshotSummary(hash=snapshot.get("hash"), **{name: int(rows.get(name, 0)) for name in names})


def _known(name: str, inputs: Inputs) -> bool:
    return name in inputs.metrics or name in inputs.fits


def _candidate(name: str, inputs: Inputs) -> CandidateSummary:
    asked = inputs.params.train.candidates[name]
    scored = inputs.metrics.get(name, {})
    entry = (inputs.registered or {}).get("candidates", {}).get(name, {})
    timing, fit = inputs.timings.get(f"train-{name}", {}), inputs.fits.get(name, {})
    return CandidateSummary(
        version=_text(entry.get("version")),
        baseline=asked.baseline,
        kind=asked.kind,
        metrics=_intervals(scored.get("metrics", {})),
        slices={label: _intervals(metrics) for label, metrics in scored.get("slices", {}).items()},
        fit_seconds=finite(timing.get("seconds")),
        peak_memory_mb=finite(timing.get("peak_memory_mb")),
        gaps={attribute: _gap(gap) for attribute, gap in scored.get("gaps", {}).items()},
        chosen=_finite_tree(fit.get("chosen", {})),
        notes=told(fit),
        chain=[str(number) for number in entry.get("chain", [])],
        behaviour=[_behaviour(test) for test in inputs.behaviour.get(name, {}).get("tests", [])],
    )


def _intervals(metrics: Facts) -> dict[str, Interval]:
    return {name: _interval(one) for name, one in metrics.items()}


def _interval(one: Facts) -> Interval:
    return Interval(
        value=finite(one.get("value")),
        low=finite(one.get("low")),
        high=finite(one.get("high")),
        users=int(one.get("users") or 0),
    )


def _gap(gap: Facts) -> GapSummary:
    return GapSummary(
        metric=str(gap["metric"]), best=str(gap["best"]), worst=str(gap["worst"]), gap=_interval(gap["gap"])
    )


def _behaviour(test: Facts) -> BehaviourSummary:
    numbers = {name: finite(test.get(name)) for name in ("value", "limit")}
    words = {"text": str(test.get("text", "")), "applicable": bool(test.get("applicable", True))}
    return BehaviourSummary(name=str(test["name"]), passed=bool(test["passed"]), **words, **numbers)


def _finite_tree(value: Any) -> Any:
    """The same tree with null for numbers that JSON cannot hold."""
    if isinstance(value, dict):
        return {str(key): _finite_tree(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite_tree(one) for one in value]
    return finite(value) if isinstance(value, float) else value


def _decision(decision: Facts | None) -> DecisionSummary:
    if not decision:
        return DecisionSummary()
    rules = [RuleSummary(**reason) for reason in decision["reasons"]]
    return DecisionSummary(
        promoted=decision["promoted"],
        champion=_holder(decision.get("champion")),
        champion_before=_holder(decision.get("champion_before")),
        reasons=[rule.text for rule in rules],
        challenger=decision["challenger"]["name"],
        rules=rules,
        attempts=[
            AttemptSummary(challenger=tried["challenger"], rules=[RuleSummary(**reason) for reason in tried["reasons"]])
            for tried in decision.get("attempts", [])
        ],
    )


def _refit(renewal: Facts | None) -> RefitSummary | None:
    if renewal is None:
        return None
    named = {name: _text(renewal[name]) for name in ("version", "refit_of")}
    return RefitSummary(served=renewal["served"], **named, text=renewal["why"])


def _holder(seat: Facts | None) -> ChampionSummary | None:
    return ChampionSummary(name=str(seat["name"]), version=_text(seat.get("version"))) if seat else None


def _drift(drift: Facts | None) -> DriftSummary:
    if not drift:
        return DriftSummary()
    return DriftSummary(
        status=drift["status"],
        columns=[_drift_column(one) for one in drift.get("columns", [])],
        notes=[str(note) for note in drift.get("notes", [])],
        calibrated=bool(drift.get("calibrated", False)),
    )


def _drift_column(one: Facts) -> DriftColumn:
    distance, threshold = finite(one.get("distance")), finite(one.get("threshold"))
    return DriftColumn(
        column=str(one["column"]),
        distance=distance,
        threshold=threshold,
        drift_threshold=finite(one.get("drift_threshold")),
        drifted=one["status"] != "ok",
        status=one["status"],
        method=_text(one.get("method")),
        group=_text(one.get("group")),
        text=str(one.get("text", "")),
    )


def _check_counts(validation: Facts) -> dict[str, int]:
    counts = {"ok": 0, "warn": 0, "fail": 0}
    for check in validation.get("checks", []):
        counts[check["status"]] = counts.get(check["status"], 0) + 1
    return counts


def _text(value: Any) -> str | None:
    return None if value is None else str(value)

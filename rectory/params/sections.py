"""The sections of params.yaml, one for each step. docs/params.md is generated from these classes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from rectory.params.base import Section
from rectory.params.candidates import CandidateParams
from rectory.params.rules import RulesParams
from rectory.params.serve import ServeParams

Share = Annotated[float, Field(ge=0, le=1)]


class FetchParams(Section):
    """Step fetch: read the source that the card names."""

    max_memory_share: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Refuse a source whose estimated size in memory is above this share of the memory that is free."""


class ValidateParams(Section):
    """Step validate: canonical tables, quarantine, checks on the whole table."""

    max_bad_share: Share = 0.2
    """Stop the run when more than this share of the rows is bad. Of a table in several files, a file that is worse is
    set aside as a whole and the others get in."""
    max_bad_files_share: Share = 0.4
    """Stop the run when more than this share of a table's files was set aside."""
    min_interactions: Annotated[int, Field(ge=1)] = 100
    """Stop when fewer rows are left."""
    min_users: Annotated[int, Field(ge=1)] = 5
    """Stop when fewer users are left."""
    min_items: Annotated[int, Field(ge=1)] = 5
    """Stop when fewer items are left."""
    duplicates: Literal["quarantine", "keep"] = "quarantine"
    """Rows equal in every column: a double export (quarantine) or genuine repeats (keep)."""
    max_future_seconds: Annotated[int, Field(ge=0)] = 300
    """How far ahead of this machine's clock a row may be."""
    max_unknown_item_share: Share = 0.5
    """Warn when more than this share of the rows names an item without a row in the item table."""
    max_volume_change: Annotated[float, Field(gt=0)] = 0.5
    """Warn when the rows per day of the newest window differ from the previous snapshot's by more than this share."""
    max_age_days: Annotated[float, Field(gt=0)] = 7.0
    """Warn when the newest row is older than this; historic data sets are spared."""
    max_event_mix_change: Share = 0.2
    """Warn when an event's share differs from the previous snapshot's by more than this."""


class SplitParams(Section):
    """Step split: global windows in time, train < valid < test."""

    test_share: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    """Newest share of the interactions that is the test window, cut at a moment in time."""
    valid_share: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    """Share of the rest that is the validation window."""
    test_days: Annotated[float, Field(gt=0)] | None = None
    """Length of the test window in days; replaces test_share."""
    valid_days: Annotated[float, Field(gt=0)] | None = None
    """Length of the validation window in days; replaces valid_share."""
    history_days: Annotated[float, Field(gt=0)] | None = None
    """Use only this many days before the test window; null uses all."""


class FeaturesParams(Section):
    """Step features: id maps and sparse feature blocks."""

    min_value_count: Annotated[int, Field(ge=1)] = 5
    """Feature values that fewer users or items have are left out."""
    max_values: Annotated[int, Field(ge=1)] = 2000
    """Most frequent values that are kept for each feature."""
    numeric_bins: Annotated[int, Field(ge=2, le=100)] = 10
    """Quantile bins of a numeric feature."""


class WarmStartParams(Section):
    """When a candidate continues from its last registered version; docs/warm-start.md."""

    full_every: Annotated[int, Field(ge=1, le=1000)] = 7
    """Every so many runs a full fit, with its search; the runs between continue from the one before. 1: always full."""
    max_new_share: Share = 0.05
    """A full fit when more than this share of the rows is new since the version that would be continued."""


class TrainParams(Section):
    """Step train: the candidates."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 42
    """Seed of every random choice in training."""
    workers: Annotated[int, Field(ge=0, le=256)] = 0
    """Candidates trained at the same time; 0 is one for each core. Each fit has one thread."""
    validation_users: Annotated[int, Field(ge=100)] = 5000
    """Validation users that scores for early stopping and tuning are computed on (sampled above it)."""
    warm_start: WarmStartParams = WarmStartParams()
    """When a candidate continues from its last registered version instead of being fitted from scratch."""
    candidates: dict[str, CandidateParams]
    """Name -> candidate. Several of one kind are allowed."""

    @model_validator(mode="after")
    def _candidates_have_names(self) -> TrainParams:
        from rectory.workspace import safe_name

        if not self.candidates:
            raise ValueError("train.candidates is empty: name at least one candidate")
        for name in self.candidates:
            safe_name(name, "candidate")
        return self


class EvaluateParams(Section):
    """Step evaluate: the test window, touched once."""

    k: Annotated[tuple[Annotated[int, Field(ge=1, le=1000)], ...], Field(min_length=1)] = (10, 20)
    """List lengths to report; the first is the one that the gate looks at."""
    bootstrap_samples: Annotated[int, Field(ge=100, le=100_000)] = 1000
    """Resamples behind each 95% interval."""
    min_slice_users: Annotated[int, Field(ge=1)] = 20
    """Slices with fewer users are not reported: their intervals say nothing."""
    head_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Most popular share of the items that are called head; docs/evaluation.md tells middle from tail."""


class BehaveParams(Section):
    """Step behave: what-if questions to each candidate's recipe, refitted on a small sample of the log."""

    modules: tuple[str, ...] = ()
    """Files in the project's folder with behavioural tests of your own, e.g. my_tests.py (docs/behaviour.md)."""
    users: Annotated[int, Field(ge=50)] = 1500
    """Users of the sample at most: those seen last."""
    interactions: Annotated[int, Field(ge=500)] = 20_000
    """Interactions of the sample at most: the latest 50 of each of its users."""
    items: Annotated[int, Field(ge=50)] = 2000
    """Items of the sample at most: those that its users take most."""


class GateParams(Section):
    """Step promote: what a challenger must show."""

    metric: str = "ndcg@10"
    """Metric that is compared, at the first evaluate.k."""
    min_gain: float = 0.0
    """Relative gain over the champion that the interval's lower bound must reach; at 0 it must lie above."""
    max_refresh_loss: Share | None = 0.01
    """The champion's own recipe on newer data needs no gain: its interval may not lie wholly below minus this share.
    null asks it for the same gain as anybody else."""
    min_users: Annotated[int, Field(ge=2)] = 20
    """Test users that a gain over the champion or a baseline must rest on."""
    challengers: Annotated[int, Field(ge=1, le=20)] = 2
    """Candidates that are no baselines that may try, best validation score first, until one passes; the n-th must show
    its gain by an interval of 100 - 5/n percent."""
    beat_baselines: bool = True
    """The interval of the gain over each baseline must lie above zero (a baseline must not lie below another)."""
    max_slice_loss: Share | None = 0.1
    """A slice's gain interval may not lie wholly below minus this share; null switches the rule off."""
    slices: dict[str, Share] = {}
    """Slice, e.g. `users=cold` -> loss that must be ruled out: the whole interval must lie above minus this share."""
    max_gap_increase: Share | None = None
    """Largest gap between groups of a user attribute, as a share of the mean: it may not widen by more than this with
    confidence; null switches the rule off."""
    min_coverage_ratio: Share | None = 0.5
    """Catalogue coverage must be at least this share of the champion's; null switches the rule off."""
    max_popularity_share_ratio: Annotated[float, Field(ge=1)] | None = 2.0
    """Popularity share may be at most this many times the champion's; null switches the rule off."""
    max_milliseconds_per_user: Annotated[float, Field(gt=0)] | None = 50.0
    """Batch scoring time for each user; null switches the rule off."""
    max_model_mb: Annotated[float, Field(gt=0)] | None = 4096.0
    """Size of the model's files; null switches the rule off."""
    behaviour: Literal["fail", "warn", "off"] = "fail"
    """A behavioural test that a challenger fails refuses it, is told, or is not looked at; baselines are spared."""
    behaviour_waive: tuple[str, ...] = ()
    """Behavioural tests that are told and refuse nobody."""
    require_approval: bool = False
    """A challenger that passed waits for a person's yes (docs/flows.md); an empty seat is filled without asking."""
    approval_hours: Annotated[float, Field(gt=0, le=24 * 90)] = 72.0
    """How long it waits; without an answer it is refused."""


class RefitParams(Section):
    """Steps recipe, history, refit and renew: what serves may know the newest days too; docs/refit.md."""

    enabled: bool = False
    """The champion's recipe, fitted again on everything up to as_of, serves in its place. The gate goes on measuring
    the fit that has not seen the test window; the refit itself was measured by nobody."""


class ScoreParams(Section):
    """Step score: lists for every user."""

    k: Annotated[int, Field(ge=1, le=1000)] = 20
    """Items for each user."""
    jsonl: bool = True
    """Write JSON lines beside the parquet."""


class DriftParams(Section):
    """Step drift: what changed since the champion was trained."""

    window_days: Annotated[float, Field(gt=0)] | None = None
    """Length of the newest window; null takes the test window's length."""
    sample_rows: Annotated[int, Field(ge=1000)] = 50_000
    """Rows that each side is sampled down to."""
    calibration_windows: Annotated[int, Field(ge=3, le=200)] = 12
    """Past windows that thresholds are learned from."""
    max_false_alarm_share: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Share of quiet windows that may raise an alarm."""
    live_days: Annotated[float, Field(gt=0)] = 7.0
    """Length of the windows of live answers that the flow monitor shows: the newest, and the one before."""


class GuardParams(Section):
    """Step guard: what was recommended, what then happened; a champion that does worse than the previous one goes."""

    metric: Literal["ndcg", "recall", "precision", "map", "mrr", "hit_rate"] = "ndcg"
    """Metric of each user's lists against what the user then took."""
    k: Annotated[int, Field(ge=1, le=1000)] = 10
    """Places of a list that are kept and looked at."""
    users: Annotated[int, Field(ge=100)] = 20_000
    """Users whose lists are kept at each scoring (always the same ones)."""
    keep_days: Annotated[float, Field(gt=0)] = 30.0
    """Lists older than this are thrown away."""
    min_users: Annotated[int, Field(ge=2)] = 100
    """Users with both lists and something taken since, that a rollback must rest on."""
    max_loss: Share = 0.0
    """Roll back when the whole interval of the champion's relative gain lies below minus this share."""
    error_share: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Chance of a wrong rollback over all looks together, however often the guard looks."""
    live: Literal["ctr", "conversion"] | None = "ctr"
    """What the two models' live answers are compared by, where there is an event log; null: it is not looked at."""
    live_days: Annotated[float, Field(gt=0)] = 14.0
    """Live answers that are older do not count."""
    live_minutes: Annotated[float, Field(gt=0, le=60 * 24 * 90)] = 60.0
    """An event counts for a live answer when it comes within this time; younger answers are not looked at yet."""
    max_live_loss: Share = 0.05
    """Like `max_loss`, for live answers: the two models served at different times, which alone makes a difference."""


class ReportParams(Section):
    """Step report: the page."""

    sample_users: Annotated[int, Field(ge=0, le=100)] = 5
    """Users whose lists are shown with titles and reasons."""


class EngineParams(Section):
    """Where the processes of candidates, tuning trials, backtest dates and scoring run. No result depends on it."""

    kind: Literal["local", "dask"] = "local"
    """This machine, or a Dask cluster whose workers see the project's folder (docs/scale.md)."""
    address: str | None = None
    """Of the Dask scheduler, e.g. tcp://10.0.0.5:8786; the variable RECTORY_DASK_ADDRESS stands above it."""
    score_shards: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Pieces that scoring cuts the users into; 0 is one, or with dask one for each thread of the cluster."""


class GcParams(Section):
    """Command gc: what is kept. Champion, previous, challenger and all that they were made from always are."""

    keep_runs: Annotated[int, Field(ge=1)] = 10
    """Newest runs whose folders and reports stay."""
    keep_days: Annotated[float, Field(ge=0)] = 30.0
    """Runs, model versions and data versions that are younger stay."""
    keep_versions: Annotated[int, Field(ge=1)] = 20
    """Newest model versions of each data set that stay."""
    keep_snapshots: Annotated[int, Field(ge=1)] = 5
    """Newest data versions of each data set that stay."""


class Params(Section):
    """All of params.yaml."""

    dataset: str
    """Name of the card in datasets/, without .yaml."""
    as_of: datetime | None = None
    """Nothing after this moment is read by anything. null: now; for a historic data set the end of its log."""
    fetch: FetchParams = FetchParams()
    validation: ValidateParams = Field(default=ValidateParams(), alias="validate")
    split: SplitParams = SplitParams()
    features: FeaturesParams = FeaturesParams()
    train: TrainParams
    evaluate: EvaluateParams = EvaluateParams()
    behave: BehaveParams = BehaveParams()
    gate: GateParams = GateParams()
    refit: RefitParams = RefitParams()
    score: ScoreParams = ScoreParams()
    drift: DriftParams = DriftParams()
    guard: GuardParams = GuardParams()
    report: ReportParams = ReportParams()
    gc: GcParams = GcParams()
    serve: ServeParams = ServeParams()
    rules: RulesParams = RulesParams()
    engine: EngineParams = EngineParams()

    @field_validator("as_of")
    @classmethod
    def _in_utc(cls, value: datetime | None) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)

    @model_validator(mode="after")
    def _gate_metric_is_reported(self) -> Params:
        name, _, k = self.gate.metric.partition("@")
        if not name or not k.isdigit() or int(k) not in self.evaluate.k:
            raise ValueError(
                f"gate.metric is {self.gate.metric!r}, which evaluate.k {list(self.evaluate.k)} does not report; "
                f"for example ndcg@{self.evaluate.k[0]}"
            )
        return self

"""The only place that knows file names.

project/                      datasets/, params.yaml and the state that outlives a run
  .rectory/                   model store, data versions, download cache, audit log, locks
  runs/<run id>/              one flow run's workspace
  runs/backtest-<key>/        a backtest: class Backtest, with one workspace for each date
  reports/<run id>/ latest    the pages that people read
root/                         "." under `dvc repro`, runs/<run id> under a flow
  data/  models/  metrics/  evaluation/  plots/  scores/  drift/  registry/  timings/
"""

from __future__ import annotations

import re
from pathlib import Path

from rectory.errors import UsageError

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


def safe_name(name: str, what: str) -> str:
    """Return `name` if it can be a file name, else raise: no name from outside ever reaches a path unchecked."""
    if not _SAFE_NAME.fullmatch(name) or ".." in name:
        raise UsageError(
            f"{what} {name!r} cannot be used as a file name: use letters, digits, '_', '-' and '.', "
            "starting with a letter or digit, at most 100 characters."
        )
    return name


class Workspace:
    """Paths of one run.

    Args:
        root: folder of this run's files.
        project: folder with params.yaml, datasets/ and the state that outlives a run; default: the working folder.
    """

    def __init__(self, root: Path | str = ".", project: Path | str = ".") -> None:
        self.root = Path(root)
        self.project = Path(project)

    # Project: what outlives a run.
    @property
    def state(self) -> Path:
        return self.project / ".rectory"

    @property
    def downloads(self) -> Path:
        """Pinned packages, by sha256."""
        return self.state / "downloads"

    @property
    def model_store(self) -> Path:
        """SQLite file of MLflow when MLFLOW_TRACKING_URI names no other."""
        return self.state / "mlflow.db"

    @property
    def model_artifacts(self) -> Path:
        return self.state / "mlartifacts"

    @property
    def data_versions(self) -> Path:
        """The scm-less DVC repository that holds one pointer per validated snapshot."""
        return self.state / "data"

    @property
    def audit_log(self) -> Path:
        """One JSON line per decision, appended."""
        return self.state / "audit.jsonl"

    @property
    def forgotten(self) -> Path:
        """Keyed hashes of the users that were to be forgotten; see rectory.data.forgotten."""
        return self.state / "forgotten.json"

    def parts(self, dataset: str) -> Path:
        """Source files of a data set as they were parsed, by content, so that an unchanged one is not parsed again."""
        return self.state / "ingest" / safe_name(dataset, "data set")

    @property
    def journal(self) -> Path:
        """Structured log, one JSON line for each thing that a step did; see rectory.journal."""
        return self.state / "logs" / "rectory.jsonl"

    @property
    def gc_note(self) -> Path:
        """What `rectory gc` is removing; there only while it does, or after it was killed."""
        return self.state / "gc.json"

    @property
    def metrics_file(self) -> Path:
        """Prometheus textfile of the project's state, when RECTORY_METRICS_FILE names no other."""
        return self.state / "metrics.prom"

    @property
    def drift_history(self) -> Path:
        """One JSON line per drift check, appended."""
        return self.state / "drift.jsonl"

    @property
    def event_log(self) -> Path:
        """SQLite file of events, catalogue, answers and API keys when RECTORY_EVENTS_URL names no other store."""
        return self.state / "events.db"

    @property
    def installation(self) -> Path:
        """Where the servers of the running `rectory up` are; see rectory.installation."""
        return self.state / "installation.json"

    def service_log(self, service: str) -> Path:
        """Output of one server or worker that `rectory up` or a run started."""
        return self.state / "logs" / f"{safe_name(service, 'service')}.log"

    def kept_scores(self, dataset: str) -> Path:
        """A compact copy of the last scored runs' lists, to compare the next ones with."""
        return self.state / f"scores-{safe_name(dataset, 'data set')}.parquet"

    def kept_lists(self, dataset: str) -> Path:
        """Folder of the lists of champion and previous at each scoring, until what then happened has judged them."""
        return self.state / "lists" / safe_name(dataset, "data set")

    def finished(self, dataset: str) -> Path:
        """The last run of a data set that ended well."""
        return self.state / "finished" / f"{safe_name(dataset, 'data set')}.json"

    def finished_date(self, dataset: str, moment: str) -> Path:
        """A run as of a given date that ended well."""
        return self.state / "finished" / safe_name(dataset, "data set") / f"{safe_name(moment, 'date')}.json"

    def study(self, dataset: str, candidate: str) -> Path:
        """SQLite file of the tuning studies of one candidate; the scores of their users are in a folder beside it."""
        return self.state / "tuning" / f"{safe_name(dataset, 'data set')}-{safe_name(candidate, 'candidate')}.db"

    def live(self, lineage_key: str) -> Path:
        """What was fitted for live answers around one registered model: links between items, weights of signals."""
        return self.state / "live" / safe_name(lineage_key, "lineage key")

    def lock(self, what: str) -> Path:
        return self.state / "locks" / f"{safe_name(what, 'lock')}.lock"

    @property
    def params_file(self) -> Path:
        return self.project / "params.yaml"

    @property
    def lock_file(self) -> Path:
        """Hashed requirements that every run is made with; part of the lineage key."""
        return self.project / "requirements.lock"

    def card(self, dataset: str) -> Path:
        return self.project / "datasets" / f"{safe_name(dataset, 'data set')}.yaml"

    @property
    def runs(self) -> Path:
        """One folder a run; names sort by time."""
        return self.project / "runs"

    @property
    def reports(self) -> Path:
        return self.project / "reports"

    # Run: data.
    @property
    def raw(self) -> Path:
        """interactions.parquet, items.parquet, users.parquet as read, columns unmapped; source.json beside them."""
        return self.root / "data" / "raw"

    @property
    def tables(self) -> Path:
        """Canonical, validated interactions.parquet (a folder, a file a month), items.parquet, users.parquet: what DVC
        versions."""
        return self.root / "data" / "tables"

    @property
    def quarantine(self) -> Path:
        return self.root / "data" / "quarantine.parquet"

    @property
    def validation(self) -> Path:
        """Counts, reasons and checks of the validate step."""
        return self.root / "data" / "validation.json"

    @property
    def snapshot(self) -> Path:
        """Content hash and place of the versioned tables."""
        return self.root / "data" / "snapshot.json"

    @property
    def split(self) -> Path:
        """train.parquet, valid.parquet, test.parquet, split.json."""
        return self.root / "data" / "split"

    @property
    def features(self) -> Path:
        """The training set: id maps, coded interactions, sparse feature blocks."""
        return self.root / "data" / "features"

    @property
    def history(self) -> Path:
        """Everything up to as_of as one training set: what a model that serves from then on may know."""
        return self.root / "data" / "history"

    # Run: per candidate.
    def model(self, candidate: str) -> Path:
        """The bundle: model, id maps and seen items. Equal inputs give equal bytes."""
        return self.root / "models" / safe_name(candidate, "candidate")

    def parent(self, candidate: str) -> Path:
        """The registered version that a warm start continues from; see rectory.models.warm_start."""
        return self.root / "parents" / safe_name(candidate, "candidate")

    def fit_report(self, candidate: str) -> Path:
        """What the fit found: chosen values, validation score, learning curve."""
        return self.root / "metrics" / "fit" / f"{safe_name(candidate, 'candidate')}.json"

    def learning_curve(self, candidate: str) -> Path:
        return self.root / "plots" / "learning" / f"{safe_name(candidate, 'candidate')}.csv"

    def metrics(self, candidate: str) -> Path:
        return self.root / "metrics" / "test" / f"{safe_name(candidate, 'candidate')}.json"

    def per_user(self, candidate: str) -> Path:
        """One row a test user with each metric: what paired intervals are made of."""
        return self.root / "evaluation" / f"{safe_name(candidate, 'candidate')}.parquet"

    def behaviour(self, candidate: str) -> Path:
        """Behavioural tests of one candidate: {candidate, tests: [{name, passed, text}]}."""
        return self.root / "metrics" / "behaviour" / f"{safe_name(candidate, 'candidate')}.json"

    def metric_plot(self, candidate: str) -> Path:
        return self.root / "plots" / "metrics" / f"{safe_name(candidate, 'candidate')}.csv"

    # Run: tuning.
    @property
    def tuning_plan(self) -> Path:
        """What `rectory tune` was asked for: what its workers read."""
        return self.root / "tuning" / "plan.json"

    @property
    def tuning_result(self) -> Path:
        """The study's trials, its best and how that compares with the defaults."""
        return self.root / "tuning" / "result.json"

    def recipe(self, name: str) -> Path:
        """A candidate's params with what an earlier fit chose: what the step refit fits again."""
        return self.root / "recipes" / f"{safe_name(name, 'recipe')}.json"

    def kept(self, recipe: str) -> Path:
        """Files of the model that the recipe is of, which its refits take over as they are."""
        return self.root / "recipes" / safe_name(recipe, "recipe")

    def refitted(self, name: str) -> Path:
        """Bundle of a recipe, fitted on the history."""
        return self.root / "refits" / safe_name(name, "recipe")

    # Run: a date or a plan of a backtest.
    def done(self, what: str) -> Path:
        """Key of the inputs that a piece of work was done with; see rectory.registry.pieces."""
        return self.root / "done" / f"{safe_name(what, 'piece of work')}.json"

    @property
    def wanted(self) -> Path:
        """Models that the step hindsight is to score on what followed the date."""
        return self.root / "hindsight" / "wanted.json"

    def hindsight(self, model: str) -> Path:
        """One row for each user of the window that followed, with each ranking metric."""
        return self.root / "hindsight" / f"{safe_name(model, 'model')}.parquet"

    @property
    def plan(self) -> Path:
        """Dates and policies of one comparison."""
        return self.root / "plan.json"

    def turns(self, policy: str) -> Path:
        """What a policy did on each date."""
        return self.root / "policies" / f"{safe_name(policy.replace('+', '-'), 'policy')}.json"

    # Run: decisions and results.
    @property
    def registered(self) -> Path:
        """Candidate -> registered version and lineage key."""
        return self.root / "registry" / "registered.json"

    @property
    def decision(self) -> Path:
        return self.root / "registry" / "decision.json"

    @property
    def renewal(self) -> Path:
        """Which recipe was to be fitted again, and the version that serves for it or why there is none."""
        return self.root / "registry" / "renewal.json"

    @property
    def answer(self) -> Path:
        """What a person said to a challenger that waits for approval."""
        return self.root / "registry" / "answer.json"

    @property
    def asked(self) -> Path:
        """Which flow run is suspended until the answer."""
        return self.root / "registry" / "asked.json"

    @property
    def told(self) -> Path:
        """Which decision was told to those who listen."""
        return self.root / "registry" / "told.json"

    @property
    def serving(self) -> Path:
        """Who served when the run began and until when that was trained; written by the step serving."""
        return self.root / "registry" / "serving.json"

    @property
    def guarded(self) -> Path:
        """What the step guard found: champion against previous, by what then happened."""
        return self.root / "guard" / "guard.json"

    @property
    def observed(self) -> Path:
        """What the step observe found: metrics of the live service."""
        return self.root / "live" / "live.json"

    @property
    def scores(self) -> Path:
        return self.root / "scores" / "recommendations.parquet"

    @property
    def scores_jsonl(self) -> Path:
        return self.root / "scores" / "recommendations.jsonl"

    @property
    def score_shards(self) -> Path:
        """While scoring in shards: plan.json, users.parquet, and each shard's lists."""
        return self.root / "scores" / "shards"

    def score_shard(self, shard: int, ending: str) -> Path:
        return self.score_shards / f"{shard:05d}.{ending}"

    @property
    def scores_summary(self) -> Path:
        return self.root / "scores" / "summary.json"

    @property
    def drift(self) -> Path:
        """drift.json and drift.html."""
        return self.root / "drift"

    @property
    def report(self) -> Path:
        """index.html and summary.json of this run, before they are published to `reports`."""
        return self.root / "report"

    @property
    def run_facts(self) -> Path:
        """What the flow knows and the steps do not: run id, flow run, total seconds, whether it was reused."""
        return self.root / "run.json"

    def timing(self, step: str) -> Path:
        """Seconds and peak memory of one step, e.g. `train-lightfm`."""
        return self.root / "timings" / f"{safe_name(step, 'step')}.json"


class Backtest:
    """Paths of a backtest.

    runs/backtest-<key>/
      project/            the project as the dates see it: card and lock, and a model store that stays empty
      whole/              the log up to the end of the last window; only `hindsight` looks into it
      dates/<date>/       one workspace a date: validate, split, train, evaluate as of it
      plans/<id>/         one comparison of policies: plan.json, policies/<policy>.json

    Args:
        root: runs/backtest-<key>.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    @property
    def project(self) -> Path:
        return self.root / "project"

    @property
    def whole(self) -> Workspace:
        return Workspace(self.root / "whole", self.project)

    def date(self, label: str) -> Workspace:
        return Workspace(self.root / "dates" / safe_name(label, "date"), self.project)

    def plan(self, plan: str) -> Workspace:
        """Workspace whose params.yaml and plan.json say what is compared."""
        return Workspace(self.root / "plans" / safe_name(plan, "plan"), self.project)

    @classmethod
    def of(cls, workspace: Workspace) -> Backtest:
        """The backtest that a date's or a plan's workspace belongs to."""
        return cls(workspace.root.parent.parent)

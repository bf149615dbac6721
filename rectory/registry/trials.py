"""A tuning study in MLflow: one parent run, a child run for each trial. Telling it again adds what is new."""

from __future__ import annotations

import json
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from rectory.registry.connection import Connection
from rectory.registry.versions import experiment_name
from rectory.tuning.result import Tried, Tuned
from rectory.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_PART = "rectory.part"
_STATUS = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
_PAGE = 1000


def record_study(workspace: Workspace, tuned: Tuned) -> str:
    """Write the study's runs into the experiment `rectory/<dataset>/tuning`; gives the parent's run id.

    A study that was told before keeps its parent; trials that are there already are passed over.

    Raises:
        StoreError: the store stays locked or cannot be reached.
    """
    connection = Connection(workspace)
    client, call = connection.client(), connection.call
    experiment = call(lambda: _experiment(client, connection, tuned.dataset), "open the experiment of tuning")
    parent = call(lambda: _parent(client, experiment, tuned), "start the run of a study")
    known = call(lambda: _children(client, experiment, parent), "read the trials of a study")
    for trial in tuned.trials:
        if trial.state in _STATUS and str(trial.number) not in known:
            call(partial(_child, client, experiment, parent, tuned, trial), f"record trial {trial.number}")
    call(lambda: _conclude(client, parent, tuned), "record a study")
    return parent


def _experiment(client: MlflowClient, connection: Connection, dataset: str) -> str:
    name = f"{experiment_name(dataset)}/tuning"
    known = client.get_experiment_by_name(name)
    if known is not None:
        return str(known.experiment_id)
    place = f"{connection.artifacts}/{dataset}/tuning" if connection.artifacts else None
    return str(client.create_experiment(name, artifact_location=place))


def _parent(client: MlflowClient, experiment: str, tuned: Tuned) -> str:
    where = f"tags.`study` = '{tuned.study}' and tags.`{_PART}` = 'study' and tags.`candidate` = '{tuned.candidate}'"
    found = client.search_runs([experiment], where, max_results=1)
    if found:
        return str(found[0].info.run_id)
    tags = {
        "mlflow.runName": f"tune {tuned.candidate}",
        _PART: "study",
        "study": tuned.study,
        "dataset": tuned.dataset,
        "candidate": tuned.candidate,
        "kind": tuned.kind,
    }
    return str(client.create_run(experiment, tags=tags).info.run_id)


def _children(client: MlflowClient, experiment: str, parent: str) -> set[str]:
    """Numbers of the trials that are there, whole."""
    found: set[str] = set()
    token: str | None = None
    while True:
        where = f"tags.`mlflow.parentRunId` = '{parent}'"
        page = client.search_runs([experiment], where, max_results=_PAGE, page_token=token)
        for run in page:
            if run.info.status in _STATUS.values():
                found.add(run.data.tags["trial"])
            else:
                _clear(client, run)
        token = page.token
        if not token:
            return found


def _clear(client: MlflowClient, run: Run) -> None:
    """A trial that a killed process had not told to the end."""
    client.set_terminated(run.info.run_id, "KILLED")
    client.delete_run(run.info.run_id)


def _child(client: MlflowClient, experiment: str, parent: str, tuned: Tuned, trial: Tried) -> None:
    from mlflow.entities import Metric, Param

    began, ended = _milliseconds(trial.began), _milliseconds(trial.ended or trial.began)
    tags = {
        "mlflow.runName": f"trial {trial.number}",
        "mlflow.parentRunId": parent,
        _PART: "trial",
        "study": tuned.study,
        "trial": str(trial.number),
        "state": trial.state,
        "origin": trial.origin,
        **({"reason": trial.reason} if trial.reason else {}),
        **({"same_as": str(trial.same_as)} if trial.same_as is not None else {}),
    }
    run = str(client.create_run(experiment, start_time=began, tags=tags).info.run_id)
    name = f"validation_{tuned.metric.replace('@', '_at_')}"
    metrics = [Metric(f"{name}_so_far", score, ended, step) for step, score in enumerate(trial.curve, start=1)]
    metrics.append(Metric("seconds", trial.seconds, ended, 0))
    if trial.score is not None:
        metrics.append(Metric(name, trial.score, ended, 0))
    params = [Param(key, _text(value)) for key, value in {**trial.values, **_chosen(trial)}.items()]
    client.log_batch(run, metrics=metrics[:_PAGE], params=params)
    client.set_terminated(run, _STATUS[trial.state], end_time=ended)


def _conclude(client: MlflowClient, parent: str, tuned: Tuned) -> None:
    """The study's own figures; the newest stand."""
    from mlflow.entities import Metric, RunTag

    now = _milliseconds(max(one.ended or one.began for one in tuned.trials))
    facts: dict[str, float | None] = {
        "trials": len(tuned.trials),
        "default_score": tuned.defaults.score,
        "best_score": tuned.best.score,
        "gain": tuned.gain.absolute.value if tuned.gain else None,
        "gain_low": tuned.gain.absolute.low if tuned.gain else None,
        "gain_high": tuned.gain.absolute.high if tuned.gain else None,
        "gain_credible": tuned.credible,
    }
    facts |= {f"importance_{key}": share for key, share in tuned.importance.items()}
    metrics = [Metric(name, value, now, len(tuned.trials)) for name, value in facts.items() if value is not None]
    tags = [RunTag("best_trial", str(tuned.best.number)), RunTag("verdict", tuned.verdict)]
    tags += [RunTag(f"best_{key}", _text(value)) for key, value in tuned.best.values.items()]
    client.log_batch(parent, metrics=metrics, tags=tags)
    client.log_dict(parent, tuned.to_dict(), "study.json")
    client.set_terminated(parent)


def _chosen(trial: Tried) -> dict[str, Any]:
    return {f"chosen.{key}": value for key, value in trial.chosen.items()}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _milliseconds(moment: str) -> int:
    return round(datetime.fromisoformat(moment).timestamp() * 1000)

"""The loop on a real server with a real worker: what starts what, without a hand. One story, in order."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flows.deployments import DEPLOYMENTS, POOL
from flows.limits import LIMITS
from rectory.files import read_json
from rectory.registry.store import blocked
from tests.operations.conftest import Station, set_params, until
from tests.shop import ROOT

pytestmark = pytest.mark.server


def posts_about(station: Station, event: str) -> list[Any]:
    return [post for post in station.inbox.posts if post["event"] == event]


def completed(station: Station, flow: str) -> list[Any]:
    return [run for run in station.runs_of(flow) if run.state.name == "Completed"]


def parameters(run: Any) -> dict[str, Any]:
    return dict(run.parameters.get("options") or {})


def more_sales(project: Path, days: int, seed: int, *, shifted: bool = False) -> None:
    """Append rows after the log's end; shifted: other tastes, five times the price, hardly a purchase."""
    path = project / "exports" / "sales.csv"
    log = pd.read_csv(path, dtype=str)
    draw = np.random.default_rng(seed)
    times = pd.to_datetime(log["at"], errors="coerce", utc=True, format="ISO8601")
    rows = 70 * days
    new = log.iloc[draw.integers(400, len(log), rows)].copy()
    at = times.max() + pd.to_timedelta(np.sort(draw.random(rows)) * days * 86400, unit="s")
    new["at"] = at.strftime("%Y-%m-%dT%H:%M:%S.%f%z")
    if shifted:
        new["sku"] = [f"{(int(sku) + 8) % 60:04d}" for sku in new["sku"]]  # Of the same categories.
        new["what"] = np.where(draw.random(rows) < 0.9, "view", "buy")
        new["price"] = (new["price"].astype(float) * 5).clip(upper=900).round(2).astype(str)
    pd.concat([log, new]).to_csv(path, index=False)


def deployed(station: Station) -> dict[str, Any]:
    """What stands on the server."""
    deployments = {one.name: one for one in station.client.read_deployments()}
    limits = {one.name: one.limit for one in station.client.read_global_concurrency_limits(limit=50)}
    answer = station.client._client.post("/automations/filter", json={})
    return {
        "deployments": {
            name: (
                [(slot.schedule.cron, slot.active) for slot in one.schedules],
                one.work_pool_name,
                one.version,
                one.entrypoint,
                one.job_variables,
                one.global_concurrency_limit.limit if one.global_concurrency_limit else None,
                one.description,
                sorted(one.tags),
            )
            for name, one in deployments.items()
        },
        "limits": {name: limits[name] for name in LIMITS.values()},
        "automations": {
            one["name"]: (sorted(one["trigger"]["expect"]), one["actions"][0]["parameters"]) for one in answer.json()
        },
    }


def test_deploying_again_changes_nothing_and_keeps_what_an_operator_has_switched(station: Station) -> None:
    first = deployed(station)
    assert set(first["deployments"]) == {one.name for one in DEPLOYMENTS}
    assert all(one[1] == POOL for one in first["deployments"].values())
    assert first["deployments"]["tune"][0] == [("0 3 * * 0", False)]
    assert set(first["limits"].values()) == {1}
    assert len(first["automations"]) == sum(len(one.triggers) for one in DEPLOYMENTS)
    tune = station.client.read_deployment_by_name("tune/tune")
    station.client.update_deployment_schedule(tune.id, tune.schedules[0].id, active=True)
    station.rectory("deploy")
    again = deployed(station)
    assert again["deployments"].pop("tune")[0] == [("0 3 * * 0", True)]
    first["deployments"].pop("tune")
    assert again == first


@pytest.mark.slow
def test_prefects_own_command_deploys_the_same(station: Station) -> None:
    before = deployed(station)
    shutil.copy2(ROOT / "prefect.yaml", station.folder)
    station.command(sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all")
    after = deployed(station)
    for facts in (before, after):
        facts["deployments"].pop("tune")  # Its schedule is what the file says again: switched off.
    assert after == before


def test_a_schedule_that_fires_twice_trains_once(station: Station) -> None:
    one, two = station.start("train"), station.start("train")
    for run in (one, two):
        station.end(run)
    trained = [folder for folder in (station.folder / "runs").iterdir() if (folder / "registry").is_dir()]
    assert len(trained) == 1
    assert [version.candidate for version in station.store.versions()] == ["personal_frequency"]
    said = [station.artifacts(run) for run in (one, two)]
    assert sorted("candidates" in artifacts for artifacts in said) == [False, True]


def test_training_starts_the_gate_which_starts_the_scoring_and_people_are_told(station: Station) -> None:
    until(lambda: completed(station, "score"), "a promotion has started a scoring")
    assert station.champion() == "1"
    (scored,) = completed(station, "score")
    workspace = station.folder / "runs" / parameters(scored)["run_id"]
    assert read_json(workspace / "scores" / "summary.json")["model_version"] == "1"
    promoted = completed(station, "promote")[0]
    assert {"decision", "gate", "candidates", "report", "report-page", "mlflow"} <= set(
        station.artifacts(str(promoted.id))
    )
    assert promoted.name.startswith("shop, ")
    until(lambda: posts_about(station, "rectory.champion.promoted"), "the webhook hears of it")
    until(lambda: any("new champion" in mail for mail in station.inbox.mails), "a mail tells of it")
    assert (station.folder / "reports" / "latest" / "index.html").is_file()


@pytest.mark.slow
def test_a_slot_that_a_killed_run_has_left_on_a_server_that_forgot_it_is_freed(station: Station) -> None:
    from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate

    station.client.update_global_concurrency_limit(LIMITS["training"], GlobalConcurrencyLimitUpdate(active_slots=1))
    run = station.do("train")
    assert "freed" in station.logs(run)
    assert "Nothing was trained" in station.artifacts(run)["decision"].data


@pytest.mark.slow
def test_a_challenger_waits_for_a_person_who_approves_on_the_page(station: Station) -> None:
    set_params(station.folder, lambda params: params["gate"].update(require_approval=True))
    more_sales(station.folder, 6, seed=1)
    station.do("train")

    def asked() -> Any:
        return next((run for run in station.runs_of("promote") if run.state.name == "Suspended"), None)

    run = until(asked, "a promotion is suspended")
    assert station.champion() == "1"
    form = run.state.state_details.run_input_keyset
    assert form, "the page shows a form"
    until(lambda: posts_about(station, "rectory.champion.waiting"), "somebody is asked to look")
    wrong = station.client.resume_flow_run(run.id, run_input={"answer": "perhaps", "by": "ann"})
    assert wrong.status.value == "REJECT"
    station.client.resume_flow_run(run.id, run_input={"answer": "approve", "by": "ann", "comment": "looks right"})
    station.end(str(run.id))
    assert station.champion() == "2"
    line = next(line for line in station.audit() if line["event"] == "approved")
    assert (line["by"], line["version"]) == ("ann", "2")
    assert "looks right" in line["reason"]
    champion = station.store.champion()
    assert champion is not None
    assert "approved by ann" in champion.tags["approval"]
    set_params(station.folder, lambda params: params["gate"].update(require_approval=False))


def test_a_shifted_log_is_noticed_and_answered_without_a_hand(station: Station) -> None:
    """Drift, retraining, gate, promotion and rescoring, started by nothing but the drift check."""
    before = station.champion()
    until(lambda: not [run for run in station.runs_of("score") if not run.state.is_final()], "no scoring is under way")
    trainings, scorings = len(station.runs_of("train")), len(completed(station, "score"))
    more_sales(station.folder, 9, seed=2, shifted=True)
    monitored = station.do("monitor")
    assert "**drift**" in station.artifacts(monitored)["drift"].data
    until(lambda: len(completed(station, "train")) == trainings + 1, "drift has started a training")
    until(lambda: station.champion() != before, "the retrained model is promoted")
    until(lambda: len(completed(station, "score")) == scorings + 1, "the new champion has scored")
    newest = completed(station, "score")[-1]
    workspace = station.folder / "runs" / parameters(newest)["run_id"]
    assert read_json(workspace / "scores" / "summary.json")["model_version"] == station.champion()
    kept = sorted((station.folder / ".rectory" / "lists" / "shop").iterdir())
    both = {path.stem.partition("-v")[2] for path in kept[-2:]}
    assert both == {before, station.champion()}, "its lists are kept, and those of the one before"


@pytest.mark.slow
def test_drift_that_goes_on_does_not_train_again_within_the_cool_down(station: Station) -> None:
    trainings, fired = len(station.runs_of("train")), len(station.runs_of("monitor"))
    champion, previous = station.champion(), station.store.previous()
    assert previous is not None
    station.rectory("promote", previous.version, "--reason", "so that there is drift again")
    monitored = station.do("monitor")
    assert "**drift**" in station.artifacts(monitored)["drift"].data
    assert len(station.runs_of("monitor")) == fired + 1
    # A later event has been handled, so this one has been too.
    told = len(posts_about(station, "rectory.champion.promoted"))
    station.rectory("promote", str(champion), "--reason", "back")
    until(lambda: len(posts_about(station, "rectory.champion.promoted")) > told, "the seat given back is told")
    assert len(station.runs_of("train")) == trainings


@pytest.mark.slow
def test_a_rollback_from_the_page_blocks_the_bad_version_and_rescores(station: Station) -> None:
    before, scorings = station.champion(), len(completed(station, "score"))
    run = station.do("rollback", reason="sells worse", by="ann")
    assert station.champion() != before
    assert "sells worse" in str(blocked(station.store.version(str(before))))
    assert "sells worse" in station.artifacts(run)["decision"].data
    line = next(line for line in station.audit() if line["event"] == "rolled back")
    assert (line["by"], line["reason"]) == ("ann", "sells worse")
    until(lambda: len(completed(station, "score")) > scorings, "the seat's new holder scores")
    until(lambda: posts_about(station, "rectory.champion.rolled-back"), "people are told")


def test_data_that_turned_bad_are_refused_and_told_and_the_champion_stays(station: Station) -> None:
    champion = station.champion()
    export = station.folder / "exports" / "sales.csv"
    shutil.copy2(export, export.with_suffix(".good"))
    log = pd.read_csv(export, dtype=str)
    log.loc[log.index % 5 != 0, "at"] = "gone bad"
    log.to_csv(export, index=False)
    run = station.start("ingest")
    station.end(run, "Refused")
    export.with_suffix(".good").replace(export)
    (post,) = until(lambda: posts_about(station, "rectory.data.refused"), "the webhook hears of it")
    assert "gone bad" in post["text"]
    until(lambda: any("were refused" in mail for mail in station.inbox.mails), "a mail tells of it")
    assert station.champion() == champion


def test_a_flow_run_that_fails_is_told_once(station: Station) -> None:
    run = station.start("rollback", reason="no such version", by="ann", to="999")
    station.end(run, "Failed")
    (post,) = until(lambda: posts_about(station, "prefect.flow-run.Failed"), "the webhook hears of it")
    assert run in json.dumps(post)
    assert "no version '999'" in post["text"]


def test_the_server_refuses_what_the_form_forbids(station: Station) -> None:
    from prefect.exceptions import PrefectHTTPStatusError

    for wrong in ({"dataset": "../../x"}, {"as_of": "yesterday"}, {"colour": "red"}):
        with pytest.raises(PrefectHTTPStatusError, match="409"):
            station.start("train", **wrong)


@pytest.mark.slow
def test_a_worker_with_older_code_does_nothing_and_says_so(station: Station) -> None:
    deployment = station.client.read_deployment_by_name("ingest/ingest")
    before = set((station.folder / "runs").iterdir())
    from prefect.client.schemas.actions import DeploymentUpdate

    station.client.update_deployment(deployment.id, DeploymentUpdate(version="0123456789ab"))
    run = station.start("ingest")
    state = station.end(run, "Failed")
    assert "0123456789ab" in state.message and "git pull" in state.message
    assert set((station.folder / "runs").iterdir()) == before
    station.rectory("deploy")
    station.do("ingest")


@pytest.mark.slow
def test_a_backfill_makes_the_run_of_each_date_and_skips_those_that_are_done(station: Station) -> None:
    first = station.do("backfill", start="2025-03-01", end="2025-03-02")
    table = json.loads(station.artifacts(first)["dates"].data)
    assert [(row["date"], row["done"]) for row in table] == [("2025-03-01", "now"), ("2025-03-02", "now")]
    again = station.do("backfill", start="2025-03-01", end="2025-03-03")
    table = json.loads(station.artifacts(again)["dates"].data)
    assert [row["done"] for row in table] == ["before", "before", "now"]
    for row in table:
        split = read_json(station.folder / "runs" / row["run"] / "data" / "tables" / "tables.json")
        assert split["as_of"] <= f"{row['date']}T24"


@pytest.mark.slow
def test_while_a_challenger_waits_the_champions_refit_serves_and_is_scored(station: Station) -> None:
    """What nobody has promoted changes what serves all the same, so everybody's lists are made anew."""

    def suspended() -> Any:
        return next((run for run in station.runs_of("promote") if run.state.name == "Suspended"), None)

    until(lambda: not [run for run in station.runs_of("score") if not run.state.is_final()], "no scoring is under way")
    champion, scorings = station.store.champion(), len(completed(station, "score"))
    assert champion is not None
    set_params(station.folder, lambda params: params["gate"].update(require_approval=True))
    set_params(station.folder, lambda params: params["refit"].update(enabled=True))
    more_sales(station.folder, 5, seed=3)
    station.do("train")
    run = until(suspended, "a challenger waits")
    refit = station.store.champion()
    assert refit is not None and refit.refit_of == champion.version
    until(lambda: len(completed(station, "score")) == scorings + 1, "the refit has scored")
    workspace = station.folder / "runs" / parameters(completed(station, "score")[-1])["run_id"]
    assert read_json(workspace / "scores" / "summary.json")["model_version"] == refit.version
    station.client.resume_flow_run(run.id, run_input={"answer": "reject", "by": "ann"})
    station.end(str(run.id))
    assert station.champion() == refit.version

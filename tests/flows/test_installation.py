"""What `rectory run` leaves behind, through the commands that people type."""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path

import pandas as pd
import pytest

from rectory.files import read_json, tree_digests
from tests.flows.conftest import Installation

pytestmark = pytest.mark.server

CANDIDATES = ("popularity", "popularity_recent", "personal_frequency", "lightfm_hybrid", "blend")
CHANGED = (
    *("--set", "train.candidates.popularity.half_lives_days=[20]"),
    *("--set", "gate.min_gain=5.0"),
    *("--set", "refit.enabled=true"),
)


def test_rows_add_up_and_the_dirty_ones_are_told(installation: Installation) -> None:
    snapshot = installation.summary()["snapshot"]
    assert snapshot["rows_in"] == 6000
    assert snapshot["rows_in"] == snapshot["rows_kept"] + snapshot["rows_quarantined"] + snapshot["rows_filtered"]
    assert snapshot["rows_quarantined"] == 10
    assert snapshot["rows_filtered"] == 3
    quarantine = pd.read_parquet(installation.newest_run() / "data" / "quarantine.parquet")
    assert quarantine["reason"].value_counts().tolist() == [5, 5]


def test_every_candidate_is_registered_with_metrics_and_intervals(installation: Installation) -> None:
    candidates = installation.summary()["candidates"]
    assert set(candidates) == set(CANDIDATES)
    for facts in candidates.values():
        metric = facts["metrics"]["ndcg@10"]
        assert metric["low"] <= metric["value"] <= metric["high"]
        assert metric["users"] > 50
        assert int(facts["version"]) >= 1
        assert facts["fit_seconds"] > 0
        assert facts["peak_memory_mb"] > 0


def test_planted_tastes_beat_popularity(installation: Installation) -> None:
    """80% of the sales are in the user's own category: a model that learns anything beats one list for all."""
    metrics = {name: facts["metrics"]["ndcg@10"] for name, facts in installation.summary()["candidates"].items()}
    assert metrics["personal_frequency"]["low"] > metrics["popularity"]["high"]
    assert metrics["lightfm_hybrid"]["value"] > metrics["popularity"]["high"]


def test_a_champion_is_seated_with_reasons(installation: Installation) -> None:
    summary, status = installation.summary(), installation.json("status")
    assert summary["decision"]["promoted"]
    assert summary["decision"]["reasons"]
    assert status["champion"]["version"] == summary["decision"]["champion"]["version"]
    assert status["data"]["hash"] == summary["snapshot"]["hash"]
    assert status["champion"]["metrics"]["ndcg@10"]["users"] > 50


def test_prefect_history_is_complete(installation: Installation) -> None:
    """Every step of the first run stands in the database as completed, the last one included."""
    with sqlite3.connect(installation.folder / ".rectory" / "prefect.db") as history:
        runs = dict(history.execute("select name, state_type from task_run").fetchall())
    expected = {"fetch", "validate", "snapshot", "split", "features", "register", "promote", "score", "drift", "report"}
    expected |= {f"{step}-{name}" for step in ("train", "evaluate", "behave") for name in CANDIDATES}
    assert expected <= set(runs)
    assert {runs[name] for name in expected} == {"COMPLETED"}


def test_the_page_stands_alone(installation: Installation) -> None:
    page = (installation.folder / "reports" / "latest" / "index.html").read_text(encoding="utf-8")
    assert "Thing" in page
    assert "<script src" not in page
    assert '<link rel="stylesheet" href="http' not in page


def test_scores_hold_every_user_once_and_no_rank_twice(installation: Installation) -> None:
    scores = pd.read_parquet(installation.newest_run() / "scores" / "recommendations.parquet")
    assert scores["user_id"].nunique() == 200
    assert not scores.duplicated(["user_id", "rank"]).any()
    assert not scores.duplicated(["user_id", "item_id"]).any()
    assert scores["user_id"].str.len().eq(5).all(), "leading zeros were lost"
    lines = (installation.newest_run() / "scores" / "recommendations.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 200


@pytest.mark.parametrize("user", ["00000", "../../x"])
def test_anyone_gets_a_list(installation: Installation, user: str) -> None:
    found = installation.json("recommend", user, "-k", "5")
    assert [row["rank"] for row in found] == [1, 2, 3, 4, 5]
    assert all(row["title"].startswith("Thing") for row in found)


def test_why_adds_up_to_the_score_of_the_list(installation: Installation) -> None:
    first = installation.json("recommend", "00001", "-k", "1")[0]
    reasons = installation.json("why", "00001", first["item_id"])
    assert reasons["score"] == pytest.approx(first["score"], abs=1e-3)
    assert reasons["score"] == pytest.approx(sum(part["contribution"] for part in reasons["reasons"]), abs=1e-3)


def test_a_list_longer_than_the_catalogue_ends_with_it(installation: Installation) -> None:
    assert len(installation.json("recommend", "00001", "-k", "500")) <= 64


def test_similar_items_leave_out_the_item_itself(installation: Installation) -> None:
    found = installation.json("similar", "0004", "-k", "5")
    assert "0004" not in [row["similar_item_id"] for row in found]


def test_wrong_use_ends_with_two_and_names_what_there_is(installation: Installation) -> None:
    done = installation.run(sys.executable, "-m", "cli.main", "similar", "no such item", code=2)
    assert "no such item" in done.stderr
    assert "Traceback" not in done.stderr
    installation.run(sys.executable, "-m", "cli.main", "run", "--dataset", "nowhere", code=2)


def test_data_comes_back_by_its_hash(installation: Installation, tmp_path: Path) -> None:
    versions = installation.json("data", "list")
    assert versions[0]["hash"] == installation.summary()["snapshot"]["hash"]
    installation.rectory("data", "checkout", versions[0]["hash"][:8], "--to", str(tmp_path / "back"))
    assert tree_digests(tmp_path / "back") == tree_digests(installation.newest_run() / "data" / "tables")


def test_the_champion_loads_with_plain_mlflow_from_elsewhere(installation: Installation, tmp_path: Path) -> None:
    program = (
        "import mlflow, pandas as pd\n"
        "model = mlflow.pyfunc.load_model('models:/recommender@champion')\n"
        "print(model.predict(pd.DataFrame({'user_id': ['00001', 'never seen']}), params={'k': 3}).to_json())\n"
    )
    store = f"sqlite:///{installation.folder}/.rectory/mlflow.db"
    elsewhere = Installation(tmp_path)
    done = elsewhere.run(sys.executable, "-c", program, env={"MLFLOW_TRACKING_URI": store})
    answer = pd.DataFrame(json.loads(done.stdout.splitlines()[-1]))
    assert answer["user_id"].tolist() == ["00001"] * 3 + ["never seen"] * 3
    assert answer["rank"].tolist() == [1, 2, 3, 1, 2, 3]


def test_a_second_run_finds_everything_done(installation: Installation) -> None:
    before = installation.json("status")
    out = installation.rectory("run")
    summary = installation.summary()
    assert summary["reused"]
    assert "nothing was trained" in out
    assert installation.json("status")["champion"] == before["champion"]
    assert not (installation.newest_run() / "models").exists(), "nothing may be trained"


def test_the_champion_is_rebuilt_to_the_byte(installation: Installation) -> None:
    assert installation.json("reproduce")["identical"]


def test_one_changed_candidate_makes_one_new_version_and_a_refusal_has_its_own_exit_code(
    installation: Installation,
) -> None:
    """The others are found by their lineage keys."""
    before = {name: facts["version"] for name, facts in installation.summary()["candidates"].items()}
    out = installation.rectory("run", *CHANGED, "--require-promotion", code=4)
    after = {name: facts["version"] for name, facts in installation.summary()["candidates"].items()}
    assert {name for name in before if before[name] != after[name]} == {"popularity"}
    assert not installation.summary()["decision"]["promoted"]
    assert f"version {installation.json('status')['champion']['version']}: " in " ".join(out.split()), "the refit"


def test_the_champions_refit_serves_while_others_are_refused_and_is_found_done(installation: Installation) -> None:
    summary, champion = installation.summary(), installation.json("status")["champion"]
    assert summary["refit"]["served"]
    assert champion["version"] == summary["refit"]["version"]
    assert champion["refit_of"] == summary["refit"]["refit_of"] == summary["decision"]["champion"]["version"]
    measured = summary["candidates"][champion["name"]]
    assert (measured["version"], measured["metrics"]["ndcg@10"]["value"]) == (
        champion["refit_of"],
        champion["metrics"]["ndcg@10"]["value"],
    )
    scores = pd.read_parquet(installation.newest_run() / "scores" / "recommendations.parquet")
    assert set(scores["model_version"]) == {champion["version"]}
    assert installation.json("reproduce")["identical"]
    installation.rectory("run", *CHANGED)
    assert installation.summary()["reused"]
    assert installation.json("status")["champion"] == champion


def test_flow_and_dvc_give_the_same_bytes(installation: Installation) -> None:
    workspace = min(run for run in (installation.folder / "runs").iterdir() if (run / "models").is_dir())
    params = read_json(workspace / "params.yaml")
    installation.run(sys.executable, "-m", "dvc", "repro", "--quiet")
    same = [name for name in CANDIDATES if params["train"]["candidates"][name] == _shipped(installation, name)]
    assert len(same) >= 3
    for name in same:
        assert tree_digests(installation.folder / "models" / name) == tree_digests(workspace / "models" / name), name


def _shipped(installation: Installation, name: str) -> object:
    from rectory.params import dump_params, load_params

    return dump_params(load_params(installation.folder / "params.yaml"))["train"]["candidates"][name]


def test_a_data_scientist_can_experiment(installation: Installation) -> None:
    """dvc repro, metrics diff, plots, exp run and exp show, each as in the documentation of DVC."""
    dvc = (sys.executable, "-m", "dvc")
    installation.run(*dvc, "repro", "--quiet")
    installation.git("add", "dvc.lock")
    installation.git("commit", "--quiet", "--message", "first results", "--allow-empty")
    installation.run(
        *dvc, "exp", "run", "--quiet", "--name", "small", "-S", "train.candidates.lightfm_hybrid.components=4"
    )
    shown = json.loads(installation.run(*dvc, "exp", "show", "--json").stdout)
    assert "small" in json.dumps(shown)
    moved = json.loads(installation.run(*dvc, "metrics", "diff", "--json").stdout)
    assert "lightfm_hybrid" in json.dumps(moved)
    assert "popularity.json" not in json.dumps(moved)
    installation.run(*dvc, "plots", "show", "--out", "plots-page")
    assert (installation.folder / "plots-page" / "index.html").is_file()
    installation.git("checkout", "--quiet", "HEAD", "--", "params.yaml", "dvc.lock")


def test_rollback_seats_the_version_that_was_asked_for_and_keeps_the_reason(installation: Installation) -> None:
    champion = installation.json("status")["champion"]["version"]
    other = next(
        facts["version"] for facts in installation.summary()["candidates"].values() if facts["version"] != champion
    )
    installation.rectory("promote", other, "--reason", "a test of the seat")
    assert installation.json("status")["champion"]["version"] == other
    installation.rectory("rollback", "--reason", "it was only a test")
    status = installation.json("status")
    assert status["champion"]["version"] == champion
    installation.rectory("promote", other, "--reason", "and seat it for good")
    installation.rectory("run", *CHANGED)
    why = read_json(installation.newest_run() / "run.json")["why"]
    assert installation.summary()["reused"], f"a run with equal inputs must not undo what was done by hand: {why}"
    assert installation.summary()["decision"]["champion"]["version"] == other
    assert installation.json("status")["champion"]["version"] == other
    assert "it was only a test" in json.dumps(status["last_decisions"])

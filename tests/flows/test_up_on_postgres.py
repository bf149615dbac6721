"""The installation of a team: both servers on a real PostgreSQL, models and data versions on an S3 API over HTTP.

The S3 is moto's server, in a process of its own. One installation; the tests tell one story in their order.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.installed import PATIENCE, S3, Postgres, Up, environment, up, without
from tests.shop import make_project
from tests.waiting import until

pytestmark = [
    pytest.mark.server,
    pytest.mark.slow,
    pytest.mark.skipif(Postgres.folder_of_programs() is None, reason="PostgreSQL's initdb is not installed"),
]

BUCKET = "rectory"


@dataclass
class Team:
    """A project with everything elsewhere."""

    up: Up
    postgres: Postgres
    s3: S3

    def status(self) -> Any:
        return json.loads(self.up.rectory("status", "--json").stdout)

    def served(self, **more: str) -> list[str]:
        """What the champion, loaded by plain MLflow from another folder, gives a user."""
        program = (
            "import mlflow, pandas as pd\n"
            "model = mlflow.pyfunc.load_model('models:/recommender@champion')\n"
            "print(model.predict(pd.DataFrame({'user_id': ['00001']}), params={'k': 3}).item_id.to_json())\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=self.up.folder.parent,
            env=environment(
                self.up.folder, **{**self.s3.env, "MLFLOW_TRACKING_URI": self.up.address("mlflow"), **more}
            ),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stderr
        return list(json.loads(done.stdout.splitlines()[-1]).values())

    def run(self, *overrides: str) -> Any:
        """`rectory run --json`, in a terminal that knows of the S3 keys only."""
        arguments = [part for change in overrides for part in ("--set", change)]
        return json.loads(self.up.rectory("run", "--json", *arguments).stdout)


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    root = tmp_path_factory.mktemp("team")
    folder = without(make_project(root / "project", code=True), "blend", "popularity_recent")
    with ExitStack() as opened:
        yield _team(folder, root, opened)


def _team(folder: Path, root: Path, opened: ExitStack) -> Team:
    postgres, s3 = Postgres(), S3(root)
    opened.callback(s3.stop)
    opened.callback(postgres.close)
    s3.client().create_bucket(Bucket=BUCKET)
    dvc = [sys.executable, "-m", "dvc"]
    env = environment(folder, **s3.env, DVC_NO_ANALYTICS="1")
    for command in (
        ["remote", "add", "-d", "team", f"s3://{BUCKET}/data"],
        ["remote", "modify", "team", "endpointurl", s3.url],
    ):
        subprocess.run([*dvc, *command], cwd=folder, env=env, check=True, capture_output=True)
    settings = {
        **s3.env,
        "RECTORY_PREFECT_DATABASE": postgres.url("rectory_prefect"),
        "RECTORY_MLFLOW_DATABASE": postgres.url("rectory_mlflow"),
        "RECTORY_ARTIFACTS": f"s3://{BUCKET}/models",
    }
    return Team(opened.enter_context(up(folder, settings)), postgres, s3)


def test_a_run_puts_everything_into_postgresql_and_s3_and_nothing_into_files(team: Team) -> None:
    summary = team.run()
    assert summary["decision"]["promoted"]
    assert not {"mlflow.db", "prefect.db"} & {one.name for one in (team.up.folder / ".rectory").iterdir()}
    assert not (team.up.folder / ".rectory" / "mlartifacts").exists()
    assert any(key.endswith("bundle.json") for key in team.s3.keys(BUCKET, "models/"))
    version = summary["snapshot"]["hash"].removesuffix(".dir")
    assert any(key.endswith(f"{version[2:]}.dir") for key in team.s3.keys(BUCKET, "data/"))
    assert team.status()["champion"]["version"] == summary["decision"]["champion"]["version"]
    assert len(team.served()) == 3


def test_passwords_are_in_no_log_argument_or_file(team: Team) -> None:
    planted = (Postgres.PASSWORD, S3.KEYS["AWS_SECRET_ACCESS_KEY"])
    for process in team.up.family():
        assert not any(secret in " ".join(process.cmdline()) for secret in planted)
    folder = team.up.folder
    for path in (team.up.said, *(folder / ".rectory").rglob("*.log"), *(folder / "runs").rglob("*.json")):
        assert not any(secret in path.read_text(errors="replace") for secret in planted), path
    assert not any(secret in (folder / ".rectory" / "installation.json").read_text() for secret in planted)
    for service in ("worker", "mlflow"):
        assert "RECTORY_PREFECT_DATABASE" not in psutil.Process(team.up.pid(service)).environ(), service


def test_postgresql_that_crashes_during_a_run_costs_the_run_nothing(team: Team) -> None:
    before = team.status()["champion"]["version"]
    run = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "run", "--json", "--set", "train.seed=7"],
        cwd=team.up.folder,
        env={name: value for name, value in team.up.env.items() if not name.startswith("RECTORY_")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: training(run.pid), "a candidate trains")
    team.postgres.stop("immediate")
    try:
        until(lambda: not training(run.pid), "the run has gone on")
    finally:
        team.postgres.start()
    said, told = run.communicate(timeout=900)
    assert run.returncode == 0, told + team.up.logs()
    summary = json.loads(said)
    versions = {facts["version"] for facts in summary["candidates"].values()}
    assert len(versions) == len(summary["candidates"])
    assert team.status()["champion"]["version"] in {before, *versions}
    assert len(team.served()) == 3


def test_s3_that_is_away_during_a_push_loses_nothing_and_is_caught_up_with(team: Team) -> None:
    """Data versions wait in the cache and are pushed by the next run; a model that cannot be stored fails the run."""
    champion = team.status()["champion"]["version"]
    export = team.up.folder / "exports" / "sales.csv"
    lines = export.read_text().splitlines(keepends=True)
    export.write_text("".join(lines[:-50]))
    team.s3.stop()
    told = team.up.rectory("run", "--set", "train.seed=8", code=1, RECTORY_PATIENCE="5").stderr
    assert "Traceback" not in told
    assert "Could not connect to the endpoint" in told or "connect" in told.lower()
    newest = sorted((team.up.folder / "runs").iterdir())[-1]
    kept = json.loads((newest / "data" / "snapshot.json").read_text())
    assert not kept["pushed"]
    assert kept["problem"]
    assert team.status()["champion"]["version"] == champion
    team.s3.start()  # moto forgets all: the team's bucket is empty.
    team.s3.client().create_bucket(Bucket=BUCKET)
    summary = team.run("train.seed=8")
    # Versions that were pushed before are as gone as moto's memory; the one that waited must be there.
    assert any(key.endswith(kept["hash"][2:]) for key in team.s3.keys(BUCKET, "data/"))
    assert summary["snapshot"]["hash"] == kept["hash"]


def test_state_survives_a_restart(team: Team) -> None:
    champion = team.status()["champion"]
    assert team.up.stop(signal.SIGTERM) == 0
    # With nothing up, commands go to the database itself.
    settings = {name: team.up.env[name] for name in ("RECTORY_MLFLOW_DATABASE", "RECTORY_ARTIFACTS")}
    assert json.loads(team.up.rectory("status", "--json", **settings).stdout)["champion"] == champion
    team.up.start()
    team.up.until_up()
    assert team.status()["champion"] == champion


def training(pid: int) -> bool:
    """A candidate's training is among the descendants."""
    for process in psutil.Process(pid).children(recursive=True) if psutil.pid_exists(pid) else []:
        try:
            if "tasks.train" in process.cmdline():
                return True
        except psutil.Error:
            continue
    return False


def test_a_wrong_password_is_told_without_showing_it(tmp_path: Path, team: Team) -> None:
    wrong = team.postgres.url("rectory_mlflow").replace(Postgres.PASSWORD, "wrong-planted-secret")
    told = team.up.rectory("status", code=1, RECTORY_MLFLOW_DATABASE=wrong, RECTORY_PROJECT=str(tmp_path)).stderr
    assert "wrong-planted-secret" not in told
    assert "password authentication failed" in told
    assert os.linesep not in told.strip()

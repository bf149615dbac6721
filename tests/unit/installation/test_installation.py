"""Settings, who may know what, and how the rest of a project finds the installation."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flows.installation import serving, settings
from flows.installation.services import services
from flows.installation.settings import read_settings
from rectory.errors import ParamsError, UsageError
from rectory.installation import Installation, announce, born, running, withdraw
from rectory.registry.connection import Connection
from rectory.workspace import Workspace
from tests.shop import ROOT

LOOPBACKS = ("127.0.0.1", "localhost", "::1", "127.0.0.9")
PASSWORDS = {
    "PREFECT_SERVER_API_AUTH_STRING": "rectory:prefect-secret",
    "MLFLOW_AUTH_ADMIN_PASSWORD": "mlflow-secret",
    "MLFLOW_FLASK_SERVER_SECRET_KEY": "session-secret",
}


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    for name in ("MLFLOW_TRACKING_URI", "RECTORY_MLFLOW_DATABASE", "RECTORY_ARTIFACTS"):
        monkeypatch.delenv(name, raising=False)
    return Workspace(tmp_path, tmp_path)


def test_by_default_everything_listens_on_loopback_and_keeps_its_state_in_the_project(workspace: Workspace) -> None:
    made = services(read_settings(workspace, {}))
    assert {one.host for one in made} == {"127.0.0.1"}
    for one in made:
        if one.port:
            assert str(one.port) in one.command or one.env["PREFECT_WORKER_WEBSERVER_PORT"] == str(one.port)
    state = str(workspace.state.resolve())
    assert made[0].env["PREFECT_SERVER_DATABASE_CONNECTION_URL"] == f"sqlite+aiosqlite:///{state}/prefect.db"
    assert made[1].env["MLFLOW_BACKEND_STORE_URI"] == f"sqlite:///{state}/mlflow.db"
    assert made[1].env["MLFLOW_DEFAULT_ARTIFACT_ROOT"] == f"file://{state}/mlartifacts"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_one_variable_a_server_names_its_postgresql_and_each_gets_its_own_driver(
    workspace: Workspace, scheme: str
) -> None:
    url = f"{scheme}://me:secret@db/one"
    given = read_settings(workspace, {"RECTORY_PREFECT_DATABASE": url, "RECTORY_MLFLOW_DATABASE": url})
    assert given.prefect_database == "postgresql+asyncpg://me:secret@db/one"
    assert given.mlflow_database == "postgresql+psycopg2://me:secret@db/one"
    own = read_settings(workspace, {"MLFLOW_BACKEND_STORE_URI": "mysql://db/one"})
    assert own.mlflow_database == "mysql://db/one"
    with pytest.raises(UsageError, match="must look like postgresql://"):
        read_settings(workspace, {"RECTORY_PREFECT_DATABASE": "db/one"})


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "::", "shop.example.org"])  # noqa: S104
def test_a_public_address_without_passwords_is_refused(workspace: Workspace, host: str) -> None:
    with pytest.raises(UsageError) as refused:
        services(read_settings(workspace, {"RECTORY_HOST": host}))
    for name in PASSWORDS:
        assert name in str(refused.value)
    for missing in PASSWORDS:
        given = {name: value for name, value in PASSWORDS.items() if name != missing}
        with pytest.raises(UsageError, match=missing):
            services(read_settings(workspace, {"RECTORY_HOST": host, **given}))


@pytest.mark.parametrize("host", LOOPBACKS)
def test_loopback_needs_none(workspace: Workspace, host: str) -> None:
    assert services(read_settings(workspace, {"RECTORY_HOST": host}))


def test_with_passwords_mlflow_asks_for_them_if_it_can(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    public = {"RECTORY_HOST": "0.0.0.0", **PASSWORDS}  # noqa: S104
    monkeypatch.setattr(settings, "find_spec", lambda _name: None)
    with pytest.raises(UsageError, match="Flask-WTF"):
        services(read_settings(workspace, public))
    monkeypatch.setattr(settings, "find_spec", lambda name: name)
    made = {one.name: one for one in services(read_settings(workspace, public))}
    assert "basic-auth" in made["mlflow"].command
    assert made["worker"].host == "127.0.0.1"
    settings.prepare(read_settings(workspace, public))
    assert "NO_PERMISSIONS" in (workspace.state / "mlflow-auth.ini").read_text()
    assert "mlflow-secret" not in (workspace.state / "mlflow-auth.ini").read_text()


def test_each_process_knows_only_the_secrets_that_are_its_own(workspace: Workspace) -> None:
    database = {
        "RECTORY_PREFECT_DATABASE": "postgresql://u:db-secret@h/p",
        "RECTORY_MLFLOW_DATABASE": "postgresql://u:ml-secret@h/m",
    }
    inherited = {**PASSWORDS, **database, "PATH": os.environ["PATH"]}
    made = {one.name: one for one in services(read_settings(workspace, inherited))}
    told = {name: " ".join(one.environment(inherited).values()) for name, one in made.items()}
    for name, one in made.items():
        assert "secret" not in " ".join(one.command), name
        assert ("db-secret" in told[name]) == (name == "prefect")
        assert ("ml-secret" in told[name]) == (name == "mlflow")
        assert ("session-secret" in told[name]) == (name == "mlflow")
    assert made["worker"].env["PREFECT_API_AUTH_STRING"] == "rectory:prefect-secret"
    assert made["worker"].env["MLFLOW_TRACKING_PASSWORD"] == "mlflow-secret"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"RECTORY_PREFECT_PORT": "http"}, "RECTORY_PREFECT_PORT='http' must be a whole number"),
        ({"RECTORY_MLFLOW_PORT": "70000"}, "from 1 to 65535"),
        ({"RECTORY_MLFLOW_PORT": "4200"}, "prefect and mlflow cannot share port 4200"),
    ],
)
def test_wrong_settings_are_named(workspace: Workspace, given: dict[str, str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        read_settings(workspace, given)


def test_a_service_alone_looks_for_the_others_where_it_is_told_to(workspace: Workspace) -> None:
    elsewhere = {"PREFECT_API_URL": "http://prefect:4200/api", "MLFLOW_TRACKING_URI": "http://mlflow:5000"}
    (worker,) = services(read_settings(workspace, elsewhere), ["worker"])
    assert worker.needs == ()
    assert elsewhere.items() <= worker.env.items()
    whole = {one.name: one for one in services(read_settings(workspace, elsewhere))}
    assert whole["worker"].env["PREFECT_API_URL"] == "http://127.0.0.1:4200/api", "its own server goes before"
    with pytest.raises(UsageError, match="no service is called workers; there are prefect, mlflow"):
        services(read_settings(workspace, {}), ["workers"])


def test_the_installation_is_found_while_it_lives_and_the_environment_goes_before(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert running(workspace) is None
    own = born(os.getpid())
    assert own is not None
    there = Installation(os.getpid(), own, "http://127.0.0.1:1/api", "http://127.0.0.1:2", None, {"mlflow": 7})
    announce(workspace, there)
    assert running(workspace) == there
    assert Connection(workspace).uri == "http://127.0.0.1:2"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    assert Connection(workspace).uri == "http://elsewhere"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    announce(workspace, Installation(os.getpid(), own - 100, None, "http://127.0.0.1:2", None, {}))
    assert running(workspace) is None, "another process has its number now"
    assert Connection(workspace).uri == f"sqlite:///{workspace.model_store.absolute()}"
    workspace.installation.write_text("{half", encoding="utf-8")
    assert running(workspace) is None
    withdraw(workspace)
    withdraw(workspace)


def test_with_nothing_up_the_database_and_the_storage_are_those_of_the_environment(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECTORY_MLFLOW_DATABASE", "postgresql://me:secret@db/m")
    monkeypatch.setenv("RECTORY_ARTIFACTS", "s3://bucket/models/")
    connection = Connection(workspace)
    assert connection.uri == "postgresql+psycopg2://me:secret@db/m"
    assert connection.artifacts == "s3://bucket/models"
    assert connection.exists


def test_the_live_service_starts_with_the_last_params_that_could_be_read(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.state.mkdir(parents=True)
    workspace.params_file.write_text("split: [this is: no YAML", encoding="utf-8")
    with pytest.raises(ParamsError):
        serving.params_that_load(workspace)
    workspace.params_file.write_bytes((ROOT / "params.yaml").read_bytes())
    good = serving.params_that_load(workspace)
    workspace.params_file.write_text("split: [this is: no YAML", encoding="utf-8")
    assert serving.params_that_load(workspace) == good
    assert "The champion is served with the params of before" in capsys.readouterr().err

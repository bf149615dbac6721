"""compose.yaml and the Dockerfile describe the installation that `rectory up` starts. They are read here, not run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from flows.installation import settings as installation_settings
from flows.installation.services import services
from flows.installation.settings import read_settings
from rectory.errors import UsageError
from rectory.workspace import Workspace

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = YAML(typ="safe").load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
OURS = {name: one for name, one in COMPOSE["services"].items() if "build" in one}
# What compose's own schema allows of the keys in use; a misspelt key is refused by docker and by this test.
KEYS = {
    "build": str, "image": str, "init": bool, "restart": str, "stop_grace_period": str, "cap_drop": list,
    "security_opt": list, "volumes": list, "command": list, "environment": dict, "ports": list, "depends_on": dict,
    "healthcheck": dict, "configs": list,
}  # fmt: skip
CONDITIONS = {"service_healthy", "service_completed_successfully", "service_started"}
VALUES = {"PREFECT_PASSWORD": "p", "MLFLOW_PASSWORD": "m", "MLFLOW_SECRET": "s", "POSTGRES_PASSWORD": "d"}


def environ(service: dict[str, Any]) -> dict[str, str]:
    """A container's environment, the operator's values filled in."""

    def fill(match: re.Match[str]) -> str:
        name, _, default = match[1].partition(":-")
        return default or VALUES[name.removesuffix(":?")]

    return {name: re.sub(r"\$\{([^}]*)\}", fill, str(value)) for name, value in service["environment"].items()}


def test_only_keys_that_compose_knows_with_values_of_their_kind() -> None:
    assert set(COMPOSE) == {"name", "x-rectory", "x-clients", "services", "volumes", "configs"}
    for name, service in COMPOSE["services"].items():
        for key, value in service.items():
            assert key in KEYS, f"{name}: {key}"
            assert isinstance(value, KEYS[key]), f"{name}: {key}"
        for other, how in service.get("depends_on", {}).items():
            assert other in COMPOSE["services"]
            assert how["condition"] in CONDITIONS
            if how["condition"] == "service_healthy":
                assert "healthcheck" in COMPOSE["services"][other], f"{name} waits for the health of {other}"
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source.startswith("./") or source in COMPOSE["volumes"]


def test_each_service_of_up_is_one_container_and_none_is_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(installation_settings, "find_spec", lambda _name: True)  # Flask-WTF is in the image's lock.
    everything = {one.name: one for one in services(read_settings(Workspace(project=tmp_path), {}))}
    assert set(OURS) == set(everything)
    for name, container in OURS.items():
        assert container["command"] == ["up", "--only", name]
        settings = read_settings(Workspace(project=tmp_path), environ(container))
        (service,) = services(settings, (name,))
        if service.health:
            assert container["healthcheck"]["test"][-2:] == ["flows.installation.healthy", name]
        for needed in everything[name].needs:
            assert needed in container["depends_on"], f"{name} needs {needed}"
        if "ports" in container:
            (published,) = container["ports"]
            assert published == f"127.0.0.1:{service.port}:{service.port}", "published to this machine only"
        if name in ("worker", "deployments", "api"):
            assert service.env["PREFECT_API_URL"] == "http://prefect:4200/api"
            assert service.env["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"


@pytest.mark.parametrize("name", ["prefect", "mlflow"])
def test_a_server_without_its_password_is_refused(name: str, tmp_path: Path) -> None:
    bare = {key: value for key, value in environ(OURS[name]).items() if "AUTH" not in key}
    with pytest.raises(UsageError, match="without passwords whoever connects can run code here"):
        services(read_settings(Workspace(project=tmp_path), bare), (name,))


def test_no_secret_is_written_down_and_each_container_has_only_its_own() -> None:
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    for line in text.splitlines():
        if re.match(r"\s+\w*(PASSWORD|SECRET|AUTH_STRING|DATABASE)\w*:", line):
            assert ":?}" in line, f"a secret must come from the environment: {line.strip()}"
    for name in ("worker", "api", "deployments"):
        assert "POSTGRES_PASSWORD" not in str(OURS[name]["environment"])
        assert "MLFLOW_FLASK_SERVER_SECRET_KEY" not in OURS[name]["environment"]


def test_the_dockerfile_copies_what_there_is_and_runs_as_nobody_special() -> None:
    lines = DOCKERFILE.replace("\\\n", " ").splitlines()
    instructions = [line.split(maxsplit=1) for line in lines if line.strip() and not line.startswith("#")]
    assert {name for name, _ in instructions} <= {"FROM", "RUN", "ENV", "WORKDIR", "COPY", "USER", "ENTRYPOINT", "CMD"}
    for name, rest in instructions:
        words = shlex.split(rest) if name == "COPY" else []
        for source in words[:-1]:
            assert source.startswith("--") or (ROOT / source).exists() or "--from=build" in words, source
    env = " ".join(rest for name, rest in instructions if name == "ENV")
    assert "LIGHTFM_NO_CFLAGS=1" in env
    assert "libgomp1" in DOCKERFILE
    assert [rest for name, rest in instructions if name == "USER"] == ["rectory"]
    assert "require-hashes -r requirements-server.lock" in DOCKERFILE
    locked = (ROOT / "requirements-server.lock").read_text(encoding="utf-8").lower()
    for package in ("flask-wtf==", "psycopg2-binary==", "boto3==", "dvc-s3=="):
        assert package in locked


def test_the_image_holds_every_room_of_the_code() -> None:
    for room in ("rectory", "tasks", "flows", "cli"):
        assert f"COPY {room} {room}" in DOCKERFILE

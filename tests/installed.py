"""An installation for tests: `rectory up` in its own terminal, PostgreSQL, an S3 API; on loopback and free ports."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from ruamel.yaml import YAML

from flows.installation import marked
from rectory.files import read_json
from tests.waiting import until

BIN = Path(sys.executable).parent
PATIENCE = 600.0
_KEPT = ("PREFECT_", "MLFLOW_", "RECTORY_", "AWS_", "DVC_", "DO_NOT_TRACK")


def free_ports(count: int) -> list[int]:
    """Ports that are free now, all different."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


def without(project: Path, *candidates: str) -> Path:
    """Leave candidates out of params.yaml: what a test of servers trains should train fast."""
    yaml = YAML()
    file = project / "params.yaml"
    params = yaml.load(file.read_text(encoding="utf-8"))
    for name in candidates:
        del params["train"]["candidates"][name]
    with file.open("w", encoding="utf-8") as out:
        yaml.dump(params, out)
    return project


def answers(url: str, status: int = 200) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - our own http address
            return bool(answer.status == status)
    except urllib.error.HTTPError as error:
        return error.code == status
    except OSError:
        return False


def environment(folder: Path, **more: str) -> dict[str, str]:
    """The environment of a user who has set nothing of the tools but `more`."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith(_KEPT)}
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    return {**bare, "PATH": path, "PYTHONPATH": str(folder), "PYTHONUNBUFFERED": "1", "COLUMNS": "160", **more}


@dataclass
class Up:
    """`rectory up` at work in `folder`."""

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    """Environment that differs from the default; ports are chosen where it names none."""

    def __post_init__(self) -> None:
        names = ("PREFECT", "MLFLOW", "API", "WORKER")
        chosen = {f"RECTORY_{name}_PORT": str(port) for name, port in zip(names, free_ports(4), strict=True)}
        self.env = environment(self.folder, **{**chosen, **self.settings})
        self.start()

    def start(self) -> None:
        """(Again,) on the same ports."""
        self.said = self.folder / f"up-{time.monotonic_ns()}.txt"
        with self.said.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", "up"],
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.token = ""

    @property
    def text(self) -> str:
        return self.said.read_text(encoding="utf-8")

    def until_said(self, text: str, times: int = 1) -> None:
        def said() -> bool:
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.text}"
            return self.text.count(text) >= times

        try:
            until(said, f"up says {text!r}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.text}\n{self.logs()}") from None

    def until_up(self) -> None:
        self.until_said("rectory up.")
        self.token = psutil.Process(self.pid("prefect")).environ()[marked.MARK]

    def facts(self) -> Any:
        return read_json(self.folder / ".rectory" / "installation.json")

    def pid(self, service: str) -> int:
        return int(self.facts()["services"][service])

    def supervised(self, service: str) -> int | None:
        """Pid of a service's process as it is now, healthy or not."""
        wanted = {marked.MARK: self.token, marked.SERVICE: service}
        for process in psutil.Process(self.process.pid).children():
            try:
                if wanted.items() <= process.environ().items():
                    return process.pid
            except psutil.Error:
                continue
        return None

    def address(self, service: str) -> str:
        return f"http://127.0.0.1:{self.env[f'RECTORY_{service.upper()}_PORT']}"

    def family(self) -> list[psutil.Process]:
        """The supervisor and all that it has started, and what those have."""
        try:
            process = psutil.Process(self.process.pid)
            return [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def kill(self, service: str) -> None:
        """kill -9 of one service's process."""
        os.kill(self.pid(service), signal.SIGKILL)

    def logs(self, lines: int = 30) -> str:
        folder = self.folder / ".rectory" / "logs"
        tails = {
            log.name: log.read_text(errors="replace").splitlines()[-lines:] for log in sorted(folder.glob("*.log"))
        }
        return "\n".join(f"== {name}\n" + "\n".join(tail) for name, tail in tails.items())

    def rectory(self, *arguments: str, code: int | None = 0, **more: str) -> subprocess.CompletedProcess[str]:
        """Another command of the same project, in a terminal that has only the passwords set."""
        own = {name: value for name, value in self.env.items() if not name.startswith("RECTORY_")}
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments],
            cwd=self.folder,
            env={**own, **more},
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        assert code is None or done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def stop(self, number: int = signal.SIGINT) -> int:
        """Signal the supervisor; its exit code once nothing of the installation is left."""
        family = self.family()
        os.kill(self.process.pid, number)
        code = self.process.wait(PATIENCE)
        until(lambda: not any(map(_at_work, family)), "nothing of it is left", 60)
        assert marked.find(self.token) == []
        return code


def _at_work(process: psutil.Process) -> bool:
    """It runs; one that has ended and that nobody has asked about is no orphan."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextmanager
def up(folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[Up]:
    """An installation that is healthy; stopped at the end, however that comes."""
    made = Up(folder, settings or {})
    try:
        made.until_up()
        yield made
    finally:
        if made.process.poll() is None:
            made.stop()


class Postgres:
    """A PostgreSQL of our own, with one user who has a password, on a free port.

    In a folder of its own: pytest's are for their owner only, and PostgreSQL does not run as root.
    """

    USER, PASSWORD = "rectory", "pg-planted-secret"

    def __init__(self) -> None:
        self.folder, self.port = Path(tempfile.mkdtemp(prefix="rectory-postgres-")), free_ports(1)[0]
        password = self.folder / "password"
        password.write_text(self.PASSWORD)
        if os.getuid() == 0:
            for path in (self.folder, password):
                shutil.chown(path, "postgres", "postgres")
        data = ("-D", str(self.folder / "data"))
        self._run("initdb", *data, "-U", self.USER, "--auth=scram-sha-256", f"--pwfile={password}", "--no-sync")
        self.start()
        for name in ("rectory_prefect", "rectory_mlflow"):
            self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", self.USER, name)

    @staticmethod
    def folder_of_programs() -> Path | None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        on_path = shutil.which("initdb")
        return found[-1].parent if found else Path(on_path).parent if on_path else None

    def url(self, database: str) -> str:
        return f"postgresql://{self.USER}:{self.PASSWORD}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        options = f"-h 127.0.0.1 -p {self.port} -k '' -c fsync=off -c max_connections=60"
        log = str(self.folder / "postgres.log")
        self._run("pg_ctl", "start", "-w", "-t", "120", "-D", str(self.folder / "data"), "-o", options, "-l", log)

    def stop(self, mode: str = "immediate") -> None:
        """immediate: as a crash."""
        self._run("pg_ctl", "stop", "-w", "-m", mode, "-D", str(self.folder / "data"))

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def _run(self, program: str, *arguments: str) -> None:
        programs = self.folder_of_programs()
        assert programs is not None
        as_user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        done = subprocess.run(
            [*as_user, str(programs / program), *arguments],
            cwd=self.folder,
            env={**os.environ, "PGPASSWORD": self.PASSWORD, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{program}: {done.stderr}"


class S3:
    """moto's S3 API over HTTP, in a process of its own; it forgets all when it stops."""

    KEYS = {"AWS_ACCESS_KEY_ID": "rectory", "AWS_SECRET_ACCESS_KEY": "s3-planted-secret"}

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = {
            **self.KEYS,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.url,
            "MLFLOW_S3_ENDPOINT_URL": self.url,
        }
        self.start()

    def start(self) -> None:
        folder = self.folder
        with (folder / "moto.log").open("a") as out:
            command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
            self.process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=subprocess.STDOUT)
        until(lambda: answers(f"{self.url}/moto-api/"), "S3 answers")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def client(self) -> Any:
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=self.KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.KEYS["AWS_SECRET_ACCESS_KEY"],
        )

    def keys(self, bucket: str, prefix: str) -> list[str]:
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [one["Key"] for page in pages for one in page.get("Contents", [])]

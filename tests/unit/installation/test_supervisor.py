"""The supervisor on small services of its own: what dies is started again, what is stopped leaves nobody behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.installation import marked, ports
from flows.installation.services import Service
from flows.installation.supervisor import DONE, FAILED, HEALTHY, Pace, Supervisor, _rotate
from rectory.errors import RectoryError
from tests.waiting import until

ROOT = Path(__file__).parents[3]
PATIENCE = 60.0
QUICK = Pace(tick=0.02, probe=0.05, patience=1.0, first_pause=0.05, longest_pause=0.2, calm=0.5, grace=2.0)

# Answers on its port; has a child of its own that would outlive it.
SERVER = """
import http.server, os, subprocess, sys
if os.fork() == 0:
    import time; time.sleep(600)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        hang = os.path.exists(sys.argv[2] + ".hang")
        self.send_response(500 if hang else 200); self.end_headers()
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def server(name: str, folder: Path, **more: Any) -> Service:
    port = free_port()
    command = (sys.executable, "-c", SERVER, str(port), str(folder / name))
    return Service(name, command, what="a test's", port=port, health=f"http://127.0.0.1:{port}/", **more)


def program(name: str, text: str, **more: Any) -> Service:
    return Service(name, (sys.executable, "-c", textwrap.dedent(text)), what="a test's", **more)


class Up:
    """A supervisor at work in a thread, and what it said."""

    def __init__(self, folder: Path, *services: Service, pace: Pace = QUICK) -> None:
        self.said: list[tuple[str, str]] = []
        self.changes: list[dict[str, int]] = []
        self.supervisor = Supervisor(
            services,
            lambda name: folder / f"{name}.log",
            lambda name, text: self.said.append((name, text)),
            changed=lambda pids: self.changes.append(dict(pids)),
            environ=os.environ,
            pace=pace,
        )
        self.booted = threading.Event()
        self.failure: Exception | None = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.supervisor.run(self.booted.set)
        except RectoryError as error:
            self.failure = error

    def pid(self, name: str) -> int:
        return self.supervisor.pids[name]

    def heard(self, name: str, part: str) -> bool:
        return any(service == name and part in text for service, text in self.said)

    def healthy(self, name: str) -> bool:
        return self.supervisor.all[name].state == HEALTHY


@contextmanager
def up(folder: Path, *services: Service, pace: Pace = QUICK) -> Iterator[Up]:
    made = Up(folder, *services, pace=pace)
    try:
        yield made
    finally:
        made.supervisor.ask_to_stop()
        made.thread.join(PATIENCE)
        assert marked.find(made.supervisor.token) == []


def test_services_start_in_the_order_of_their_needs_and_all_end_with_the_supervisor(tmp_path: Path) -> None:
    first = server("first", tmp_path)
    work = program("work", "import sys; sys.stderr.write('done')", once=True, needs=("first",))
    second = server("second", tmp_path, needs=("first", "work"))
    with up(tmp_path, second, work, first) as installation:
        assert installation.booted.wait(PATIENCE)
        states = {name: one.state for name, one in installation.supervisor.all.items()}
        assert states == {"first": HEALTHY, "work": DONE, "second": HEALTHY}
        assert installation.changes[-1] == {name: installation.pid(name) for name in ("first", "second")}
        began = {name: psutil.Process(installation.pid(name)).create_time() for name in ("first", "second")}
        assert began["first"] < began["second"]
        assert len(marked.find(installation.supervisor.token)) == 4, "each server has a child"


def test_a_killed_service_is_started_again_with_nothing_of_the_old_one_left(tmp_path: Path) -> None:
    with up(tmp_path, server("one", tmp_path)) as installation:
        assert installation.booted.wait(PATIENCE)
        old = installation.pid("one")
        others = psutil.Process(old).children()
        os.kill(old, signal.SIGKILL)
        until(lambda: installation.heard("one", "healthy again"), "it is healthy again")
        assert installation.heard("one", "was killed by signal 9")
        assert installation.pid("one") != old
        assert not any(other.is_running() and other.status() != psutil.STATUS_ZOMBIE for other in others)
        assert installation.changes[-1] == {"one": installation.pid("one")}


def test_what_a_worker_has_at_work_survives_the_worker_but_not_the_installation(tmp_path: Path) -> None:
    with up(tmp_path, server("worker", tmp_path, spares_its_own=True)) as installation:
        assert installation.booted.wait(PATIENCE)
        run = psutil.Process(installation.pid("worker")).children()[0]
        os.kill(installation.pid("worker"), signal.SIGKILL)
        until(lambda: installation.heard("worker", "healthy again"), "the worker is back")
        assert run.is_running()
        assert run.status() != psutil.STATUS_ZOMBIE
    psutil.wait_procs([run], timeout=10)
    assert not run.is_running() or run.status() == psutil.STATUS_ZOMBIE


def test_a_service_that_hangs_is_started_again(tmp_path: Path) -> None:
    with up(tmp_path, server("one", tmp_path)) as installation:
        assert installation.booted.wait(PATIENCE)
        old = installation.pid("one")
        (tmp_path / "one.hang").touch()
        until(lambda: installation.heard("one", "has answered nothing"), "it is noticed")
        (tmp_path / "one.hang").unlink()
        until(
            lambda: installation.supervisor.pids.get("one", old) != old and installation.healthy("one"),
            "another one answers",
        )


def test_a_crash_loop_is_told_once_with_the_end_of_the_log_and_goes_on_ever_slower(tmp_path: Path) -> None:
    ill = tmp_path / "ill"
    text = f"""
        import pathlib, sys, time
        if pathlib.Path({str(ill)!r}).exists():
            sys.exit("no database")
        time.sleep(600)
    """
    with up(tmp_path, program("one", text)) as installation:
        assert installation.booted.wait(PATIENCE)
        ill.touch()
        os.kill(installation.pid("one"), signal.SIGKILL)
        one = installation.supervisor.all["one"]
        until(lambda: one.deaths > QUICK.loop + 1, "it dies again and again")
        loops = [text for _, text in installation.said if text.startswith("crash loop")]
        assert len(loops) == 1
        assert "no database" in loops[0]
        ill.unlink()
        until(lambda: one.deaths == 0, "a calm time makes up for it")


def test_what_never_was_healthy_ends_the_start_with_the_reason(tmp_path: Path) -> None:
    ill = program("one", "raise SystemExit('no such database')", health=f"http://127.0.0.1:{free_port()}/")
    with up(tmp_path, server("fine", tmp_path), ill) as made:
        made.thread.join(PATIENCE)
        assert not made.booted.is_set()
        assert "one cannot be started" in str(made.failure)
        assert "no such database" in str(made.failure)


def test_work_that_is_refused_is_told_and_done_again_when_the_file_is_mended(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("wrong")
    text = f"""
        import pathlib, sys
        if pathlib.Path({str(file)!r}).read_text() == "wrong":
            sys.stderr.write("rectory: params.yaml is wrong"); sys.exit(2)
    """
    work = program("work", text, once=True, watches=file, when_it_fails="What was serves on.")
    with up(tmp_path, work, server("one", tmp_path, needs=("work",))) as installation:
        assert installation.booted.wait(PATIENCE), "the rest does not wait for it"
        assert installation.supervisor.all["work"].state == FAILED
        assert installation.heard("work", "What was serves on.\nrectory: params.yaml is wrong")
        file.write_text("right")
        until(lambda: installation.supervisor.all["work"].state == DONE, "it is done")


def test_a_taken_port_is_named_with_its_holder(tmp_path: Path) -> None:
    service = server("one", tmp_path)
    assert service.port is not None
    with socket.create_server(("127.0.0.1", service.port)):
        supervisor = Supervisor([service], lambda name: tmp_path / name, lambda *_: None)
        with pytest.raises(
            RectoryError, match=rf"one needs port {service.port}, which process {os.getpid()} \(`.*python"
        ):
            supervisor.check_ports()
    assert not ports.taken("127.0.0.1", service.port)


def test_services_that_all_end_end_the_installation_and_a_failure_is_one(tmp_path: Path) -> None:
    with up(tmp_path, program("work", "", once=True)) as fine:
        fine.thread.join(PATIENCE)
        assert fine.failure is None
    with up(tmp_path, program("work", "raise SystemExit(2)", once=True)) as refused:
        refused.thread.join(PATIENCE)
        assert "work failed" in str(refused.failure)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_kill_9_of_the_supervisor_leaves_no_orphan(tmp_path: Path) -> None:
    """Not even a process that is deaf to SIGTERM and has lost its parent."""
    deaf = (
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('deaf', flush=True)\ntime.sleep(600)"
    )
    script = f"""
        import os, sys
        from pathlib import Path
        from flows.installation.keeper import kept
        from flows.installation.services import Service
        from flows.installation.supervisor import Supervisor
        service = Service("deaf", (sys.executable, "-c", {deaf!r}), what="")
        supervisor = Supervisor([service], lambda name: Path({str(tmp_path)!r}) / name, print, environ=os.environ)
        with kept(supervisor.token):
            supervisor.run(lambda: print(supervisor.token, flush=True))
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as supervisor:
        assert supervisor.stdout is not None
        token = supervisor.stdout.readline().strip()
        until(lambda: "deaf" in (tmp_path / "deaf").read_text(), "it is deaf")
        assert len(marked.find(token)) == 1
        supervisor.kill()
    until(lambda: marked.find(token) == [], "the keeper made it end")


def test_a_log_that_grows_too_long_is_set_aside_while_its_writer_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "one.log"
    with log.open("a") as writer:
        writer.write("old\n" * 100)
        writer.flush()
        _rotate(log, most_bytes=100)
        writer.write("new\n")
        writer.flush()
    assert log.read_text() == "new\n"
    assert (tmp_path / "one.old.log").read_text() == "old\n" * 100

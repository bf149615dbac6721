"""`rectory serve` as it is installed: a registered champion, the real engine, a change of champions."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from gorse import Gorse
from typer.testing import CliRunner

from benchmarks.swaps import lists_of, swap_under_load
from cli.main import app
from rectory.files import read_parquet, tree_digests, write_json, write_parquet
from rectory.registry.record import DIGESTS_FILE
from rectory.registry.sample_lists import SAMPLE_FILE
from rectory.registry.store import ModelStore, Version
from rectory.workspace import Workspace
from tests.serving.running import ROOT, Server
from tests.shop import make_project
from tests.unit.registry.conftest import Bench, small_params
from tests.waiting import until

CANDIDATES = ("popularity", "personal_frequency")
SWAPS = 20


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ModelStore, dict[str, Version]]:
    """A project with two registered versions, the popular list seated, and three more to be changed."""
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    project = make_project(tmp_path_factory.mktemp("installed") / "project")
    text = (project / "params.yaml").read_text(encoding="utf-8")
    (project / "params.yaml").write_text(text.replace("look_seconds: 3.0", "look_seconds: 0.2"), encoding="utf-8")
    params, workspace = small_params(project), Workspace(project / "runs" / "first", project)
    for step in ("fetch", "validate", "snapshot", "split", "features"):
        importlib.import_module(f"tasks.{step}").run(params, workspace)
    for candidate in CANDIDATES:
        importlib.import_module("tasks.train").run(params, workspace, candidate)
        importlib.import_module("tasks.evaluate").run(params, workspace, candidate)
    store = ModelStore(workspace)
    bench = Bench(params, workspace, store)
    snapshot = json.loads(workspace.snapshot.read_text(encoding="utf-8"))["hash"]
    versions = {name: bench.register(name, data=snapshot) for name in CANDIDATES}
    changed = ("damaged", "permuted", "of old")
    versions |= {name: bench.register("personal_frequency", data=f"ab{at}.dir") for at, name in enumerate(changed)}
    store.promote(versions["popularity"], "the first")
    return project, store, versions


@contextmanager
def started(project: Path, log: Path) -> Iterator[Server]:
    """`rectory serve` for the length of the block."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "--project", str(project), "serve", "--port", "0"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        found = until(lambda: re.search(r"serves at (http://\S+) ", log.read_text()))
        running = Server(process, found[1], log)
        until(running.ready)
        yield running
        assert running.stop() == 0
        assert "Traceback" not in log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def server(shop: tuple[Path, ModelStore, dict[str, Version]]) -> Iterator[Server]:
    with started(shop[0], shop[0] / "serve.log") as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server) -> Gorse:
    return Gorse(server.url, "", timeout=60)


def test_a_client_of_gorse_shops_with_the_champion(client: Gorse) -> None:
    shown = client.get_recommend("00001", n=5)
    assert len(shown) == 5 and [one.score for one in shown] == sorted((one.score for one in shown), reverse=True)
    assert len(client.get_recommend("a stranger", n=5)) == 5
    assert client.get_neighbors(shown[0].id, n=3)
    assert len(client.session_recommend([{"FeedbackType": "view", "ItemId": shown[0].id}], n=4)) == 4
    assert len(client.get_recommend("00001", "fruit", n=3)) == 3


def test_the_next_answer_knows_of_an_event(server: Server) -> None:
    with httpx.Client(base_url=server.url, timeout=60) as http:
        before = http.post("/api/v1/recommend", json={"user_id": "newcomer", "n": 60}).json()
        rare = before["items"][-1]["item_id"]
        events = [{"user_id": "newcomer", "item_id": rare, "kind": "buy"} for _ in range(5)]
        assert http.post("/api/v1/events", json={"events": events}).json()["accepted"] == 5
        after = http.post("/api/v1/recommend", json={"user_id": "newcomer", "n": 60}).json()
        assert [one["item_id"] for one in after["items"]] != [one["item_id"] for one in before["items"]]
        why = http.get(f"/api/why/{after['recommendation_id']}/{after['items'][0]['item_id']}").json()
        assert why["score"] == pytest.approx(sum(one["contribution"] for one in why["reasons"]), abs=1e-6)
        assert http.get(f"/api/whynot/newcomer/{rare}").json()["stages"]


def test_a_new_item_can_be_recommended_as_soon_as_it_is_posted(client: Gorse, server: Server) -> None:
    client.insert_item(
        {"ItemId": "brand-new", "Categories": ["novel"], "Labels": {"category": "fruit"}, "Comment": "New"}
    )
    asked = {"user_id": "00001", "where": {"category": "novel"}}
    answer = httpx.post(f"{server.url}/api/v1/recommend", json=asked, timeout=60).json()
    assert [one["item_id"] for one in answer["items"]] == ["brand-new"]
    assert client.get_recommend("00002", "novel")[0].id == "brand-new"
    latest = httpx.get(f"{server.url}/api/latest", params={"n": 1}, timeout=60).json()
    assert latest[0]["Id"] == "brand-new"
    client.delete_item("brand-new")
    assert client.get_recommend("00002", "novel") == []


def test_when_the_alias_moves_the_new_champion_answers_and_no_request_fails(
    server: Server, shop: tuple[Path, ModelStore, dict[str, Version]]
) -> None:
    _, store, versions = shop
    with httpx.Client(base_url=server.url, timeout=60) as http:
        http.post("/api/v1/events", json={"events": [{"user_id": "loyal", "item_id": "0007", "kind": "buy"}]})
        old, new = versions["popularity"].version, versions["personal_frequency"].version
        assert http.post("/api/v1/recommend", json={"user_id": "00001"}).json()["model_version"] == old
        store.promote(versions["personal_frequency"], "better")
        deadline = time.monotonic() + 120
        seen = [old]
        while seen[-1] == old and time.monotonic() < deadline:
            answer = http.post("/api/v1/recommend", json={"user_id": "00001", "n": 5})
            assert answer.status_code == 200 and len(answer.json()["items"]) == 5
            seen.append(answer.json()["model_version"])
        assert seen[-1] == new
        assert http.get("/api/v1/status").json()["last_swap"]["outcome"] == "seated"
    # The new model answers first and the audit log tells of it afterwards.
    audit = shop[0] / ".rectory" / "audit.jsonl"
    until(lambda: '"event": "live model"' in audit.read_text(encoding="utf-8"))


def test_events_and_keys_on_the_command_line(
    server: Server, shop: tuple[Path, ModelStore, dict[str, Version]], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = shop[0]
    monkeypatch.setenv("RECTORY_PROJECT", str(project))

    def rectory(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["--project", str(project), *arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    out = project / "out.jsonl.gz"
    assert "events in" in rectory("events", "export", str(out))
    told = json.loads(rectory("events", "import", str(out), "--json"))
    assert told["accepted"] == 0 and told["duplicates"] > 5, "what the log has is not there twice"
    key = rectory("keys", "create", "shop", "--scope", "read").strip()
    listed = json.loads(rectory("keys", "list", "--json"))
    assert [(one["name"], one["scope"]) for one in listed] == [("shop", "read")]
    key_id = key.split("_")[1]
    assert rectory("keys", "rotate", key_id).startswith("rk_")
    assert "revoked" in rectory("keys", "revoke", key_id)
    assert "revoked" in rectory("keys", "list")


def port_of(server: Server) -> int:
    return int(server.url.rpartition(":")[2])


def test_twenty_changes_of_champion_under_load_give_no_failed_and_no_mixed_answer(
    server: Server, shop: tuple[Path, ModelStore, dict[str, Version]]
) -> None:
    project, store, versions = shop
    users, lists = [f"{code:05d}" for code in range(40)], {}

    def seat(version: str) -> None:
        store.promote(store.version(version), "its turn")

    for name in CANDIDATES:
        version = versions[name].version
        seat(version)
        # In a process that has never heard of the other.
        with started(project, project / f"serve-{name}.log") as alone:
            lists[version] = lists_of(port_of(alone), version, users)
    done = swap_under_load(port_of(server), seat, lists, rate=40.0, swaps=SWAPS)
    assert done.users > 30, "for most users the lists tell the versions apart"
    assert (done.swaps, done.failed, done.mixed, done.first_mixed) == (SWAPS, 0, 0, "")
    assert done.answers > 10 * SWAPS and done.events > 2 * SWAPS
    # Loading takes turns with answering, but nobody waits for all of it.
    assert done.most_ms < 5000


def swapped_ids(folder: Path) -> None:
    """The two halves of the users change places, and with them all lists."""
    users = read_parquet(folder / "users.parquet")
    half = len(users) // 2
    users["user_id"] = [*users["user_id"][half:], *users["user_id"][:half]]
    write_parquet(users, folder / "users.parquet")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("damaged", "1 of its files differ"),
        ("permuted", "sampled users would get other lists than by batch scoring"),
    ],
)
def test_a_version_that_is_not_as_it_was_registered_is_refused_and_the_old_one_stays(
    server: Server, shop: tuple[Path, ModelStore, dict[str, Version]], name: str, says: str
) -> None:
    project, store, versions = shop
    version = versions[name]
    with httpx.Client(base_url=server.url, timeout=60) as http:
        old = http.get("/api/v1/status").json()["model_version"]
        swapped_ids(store.bundle_folder(version))
        if name == "permuted":
            # As by a fault of ours: the files are those that were registered, what they say is wrong.
            write_json(store.artifact(version, DIGESTS_FILE), tree_digests(store.bundle_folder(version)))
        store.promote(version, "by mistake")

        def refused() -> dict | None:
            swap = http.get("/api/v1/status").json()["last_swap"]
            return swap if swap and swap["version"] == version.version else None

        swap = until(refused)
        assert swap["outcome"] == "refused" and says in swap["reason"] and swap["replaced"] == old
        answer = http.post("/api/v1/recommend", json={"user_id": "00001"})
        assert answer.status_code == 200 and answer.json()["model_version"] == old

        def audited() -> bool:
            lines = (project / ".rectory" / "audit.jsonl").read_text(encoding="utf-8").splitlines()
            last = json.loads(lines[-1])
            return (last["event"], last.get("version"), last.get("outcome")) == (
                "live model",
                version.version,
                "refused",
            )

        until(audited)
    assert f"version {version.version} is refused, {old} stays" in server.log.read_text(encoding="utf-8")


def test_a_version_without_noted_lists_is_held_to_its_own(
    server: Server, shop: tuple[Path, ModelStore, dict[str, Version]]
) -> None:
    _, store, versions = shop
    version = versions["of old"]
    noted = store.artifact(version, SAMPLE_FILE)
    assert noted is not None
    noted.unlink()
    store.promote(version, "registered before lists were noted")
    with httpx.Client(base_url=server.url, timeout=60) as http:
        until(lambda: http.get("/api/v1/status").json()["model_version"] == version.version)

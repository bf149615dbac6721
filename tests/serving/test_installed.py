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
from pathlib import Path

import httpx
import pytest
from gorse import Gorse
from typer.testing import CliRunner

from cli.main import app
from rectory.registry.store import ModelStore, Version
from rectory.workspace import Workspace
from tests.serving.running import ROOT, Server, until
from tests.shop import make_project
from tests.unit.registry.conftest import Bench, small_params

CANDIDATES = ("popularity", "personal_frequency")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ModelStore, dict[str, Version]]:
    """A project with two registered versions, the popular list seated."""
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
    store.promote(versions["popularity"], "the first")
    return project, store, versions


@pytest.fixture(scope="module")
def server(shop: tuple[Path, ModelStore, dict[str, Version]]) -> Iterator[Server]:
    project = shop[0]
    log = project / "serve.log"
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
        audit = (shop[0] / ".rectory" / "audit.jsonl").read_text(encoding="utf-8")
        assert '"event": "live model"' in audit


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

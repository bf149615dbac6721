"""A user who is forgotten by API is forgotten as by `rectory forget`: in every byte of the log, and for good."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import httpx
import pandas as pd
from starlette.testclient import TestClient

from rectory.data.forgotten import read_forgotten, remember_to_forget
from rectory.files import read_parquet
from rectory.params import load_params
from rectory.params.serve import ServeParams
from rectory.registry import audit
from rectory.serving.app import create_app
from rectory.serving.bulk import import_events
from rectory.serving.forgetting import datasets_of_log, ledgers, remember
from rectory.serving.service import Champions, Service
from rectory.serving.store import Store
from rectory.workspace import Workspace
from tests.serving.popular_engine import PopularEngine
from tests.serving.running import serving
from tests.shop import make_project
from tests.waiting import until

WHO = "zebra-4711"
LIVE = """
name: live
source: {kind: events}
interactions: {user_id: user_id, item_id: item_id, timestamp: {column: timestamp, format: epoch_s}, event: kind}
"""


def mentioned_in(folder: Path) -> list[str]:
    return [str(path) for path in sorted(folder.rglob("*")) if path.is_file() and WHO.encode() in path.read_bytes()]


def test_by_api_no_byte_of_a_user_is_left_and_every_worker_forgets(tmp_path: Path) -> None:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "live.yaml").write_text(LIVE)
    with serving(tmp_path, workers=2) as server, httpx.Client(base_url=server.url, timeout=60) as http:
        taken = [{"user_id": WHO, "item_id": f"i{at}", "kind": "buy"} for at in range(5)]
        others = [{"user_id": f"u{at}", "item_id": "i1", "kind": "buy"} for at in range(50)]
        assert http.post("/api/v1/events", json={"events": taken + others}).status_code == 200
        assert http.post("/api/user", json={"UserId": WHO, "Labels": ["x"], "Comment": "c"}).status_code == 200
        answers = [http.post("/api/v1/recommend", json={"user_id": WHO}).json() for _ in range(20)]
        assert not any("i4" in str(one["items"]) for one in answers)
        assert mentioned_in(tmp_path)
        assert http.delete(f"/api/user/{WHO}").json() == {"RowAffected": 1}
        # Whichever worker is asked: what only they had taken is gone, so is what was shown to them.
        until(lambda: all("i4" not in httpx.get(f"{server.url}/api/popular").text for _ in range(10)))
        until(lambda: not mentioned_in(tmp_path))
        ids = [one["recommendation_id"] for one in answers]
        for one in ids:
            assert http.get(f"/api/v1/recommendations/{one}").status_code == 404
        assert len(http.get("/api/feedback?n=100").json()["Feedback"]) == 50
    assert not mentioned_in(tmp_path)
    workspace = Workspace(tmp_path, tmp_path)
    assert read_forgotten(workspace, "live").has(WHO)
    (line,) = audit.read(workspace)
    assert (line["event"], line["dataset"]) == ("forgot a user", "live")
    # A service that begins anew reads it in the log, and does not know whom.
    with serving(tmp_path) as server:
        assert "i4" not in httpx.get(f"{server.url}/api/popular").text


def test_whom_the_api_forgot_neither_exports_nor_imports_bring_back(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    (project / "datasets" / "live.yaml").write_text(LIVE)
    workspace = Workspace(project, project)
    assert datasets_of_log(workspace) == ["live", "shop"]
    store = Store.of(workspace)
    service = Service(
        Champions(lambda: "popular-1", PopularEngine),
        store,
        ServeParams(),
        remember=lambda who: remember(workspace, who),
    )
    with TestClient(create_app(service, keys_asked=False), base_url="http://localhost") as client:
        events = [{"user_id": who, "item_id": "0001", "kind": "buy", "timestamp": 1e9} for who in ("00007", "00008")]
        assert client.post("/api/v1/events", json={"events": events}).json()["accepted"] == 2
        assert client.delete("/api/user/00007").json() == {"RowAffected": 1}
    assert not remember_to_forget(workspace, "shop", "00007"), "the command would enter them into the same ledger"

    run = Workspace(project / "runs" / "one", project)
    params = load_params(project / "params.yaml")
    for step in ("fetch", "validate"):
        importlib.import_module(f"tasks.{step}").run(params, run)
    export = set(pd.read_csv(project / "exports" / "sales.csv", dtype=str)["customer"])
    users = set(read_parquet(run.tables / "interactions.parquet", ["user_id"])["user_id"])
    assert {"00007", "00008"} <= export and "00008" in users and "00007" not in users

    lines = project / "events.jsonl"
    lines.write_text("".join(json.dumps({**one, "item_id": "0002"}) + "\n" for one in events))
    told = import_events(lines, store, now=2e9, max_future_seconds=300.0, ledgers=ledgers(workspace))
    assert (told.accepted, told.forgotten) == (1, 1)


def test_a_ledger_that_cannot_be_written_keeps_the_user_and_says_so(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    (project / "datasets" / "broken.yaml").write_text("name: broken\n")
    workspace = Workspace(project, project)
    service = Service(
        Champions(lambda: "popular-1", PopularEngine),
        Store.of(workspace),
        ServeParams(),
        remember=lambda who: remember(workspace, who),
    )
    with TestClient(create_app(service, keys_asked=False), base_url="http://localhost") as client:
        event = {"user_id": "ann", "item_id": "i", "kind": "buy"}
        client.post("/api/v1/events", json={"events": [event]})
        refused = client.delete("/api/user/ann")
        assert refused.status_code == 503 and refused.headers["Retry-After"] and "nothing was deleted" in refused.text
        assert len(client.get("/api/user/ann/feedback").json()) == 1
        (project / "datasets" / "broken.yaml").unlink()
        assert client.delete("/api/user/ann").status_code == 200
        assert client.get("/api/user/ann/feedback").json() == []

"""From events that the service accepted to the next training's input, through the same validation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from rectory.data.card import load_card
from rectory.data.readers import fetch
from rectory.errors import FetchError
from rectory.params import Params, load_params
from rectory.params.serve import ServeParams
from rectory.serving.app import create_app
from rectory.serving.service import Champions, Service
from rectory.serving.store import Store
from rectory.workspace import Workspace
from tasks import validate
from tests.serving.popular_engine import PopularEngine
from tests.shop import make_project

CARD = """\
name: live
source: {kind: events, items: true, users: true}
interactions:
  user_id: user_id
  item_id: item_id
  timestamp: {column: timestamp, format: epoch_s}
  event: kind
  value: value
  weights: {buy: 1.0, click: 0.3, impression: 0}
  context: {price: context.price}
  repeats: allow
items:
  id: item_id
  title: comment
  available: available
  features:
    category: {column: categories, kind: multi}
    colour: {column: labels.colour}
    size: {column: labels.size, kind: numeric}
    tags: {column: labels.tags, kind: multi}
users:
  id: user_id
  features:
    city: {column: labels.city}
"""
BEGAN = datetime(2026, 1, 1, tzinfo=UTC).timestamp()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_project(tmp_path_factory.mktemp("live") / "project")
    (made / "datasets" / "live.yaml").write_text(CARD, encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def served(project: Path) -> Iterator[Workspace]:
    """A workspace whose event log was filled over HTTP."""
    workspace = Workspace(project / "run", project)
    service = Service(Champions(lambda: "popular-1", PopularEngine), Store.of(workspace), ServeParams())
    with TestClient(create_app(service, keys_asked=False), base_url="http://localhost") as http:
        items = [
            {
                "ItemId": f"{at:04d}",
                "Comment": f"Thing {at}",
                "Categories": ["a", "b"] if at % 2 else ["a"],
                "Labels": {"colour": "red", "size": at / 2, "tags": ["x", "y"]},
                "IsHidden": at == 3,
            }
            for at in range(12)
        ]
        http.post("/api/items", json=items).raise_for_status()
        http.post("/api/user", json={"UserId": "000", "Labels": {"city": "Lyon"}}).raise_for_status()
        events = [
            {
                "user_id": f"{at % 20:03d}",
                "item_id": f"{(at * 7) % 12:04d}",
                "kind": "buy" if at % 3 else "click",
                "timestamp": BEGAN + 3600 * at + 0.25,
                "value": 1 + at % 4,
                "context": {"price": 2.5, "device": "phone"},
            }
            for at in range(600)
        ]
        http.post("/api/v1/events", json={"events": events}).raise_for_status()
        http.post("/api/v1/events", json={"events": events[:50]}).raise_for_status()
        http.post(
            "/api/feedback",
            json=[{"FeedbackType": "buy", "UserId": "late", "ItemId": "unheard", "Timestamp": "2025-12-01"}],
        )
        http.delete("/api/feedback/late/unheard").raise_for_status()
    yield workspace


def params(project: Path) -> Params:
    return load_params(project / "params.yaml", ["dataset=live"])


def test_accepted_events_are_read_as_they_were_sent(served: Workspace, project: Path) -> None:
    facts = fetch(load_card(project / "datasets" / "live.yaml"), served, 0.8)
    assert facts.kind == "events" and facts.rows == {"interactions": 600, "items": 12, "users": 1}
    raw = pq.read_table(served.raw / "interactions.parquet").to_pandas()
    assert list(raw["user_id"][:3]) == ["000", "001", "002"], "ids keep their zeros"
    assert set(raw["context.price"]) == {2.5}
    assert json.loads(raw["context"][0])["device"] == "phone"
    again = fetch(load_card(project / "datasets" / "live.yaml"), served, 0.8)
    assert again.reused and again.fingerprint == facts.fingerprint


def test_they_pass_the_same_validation_and_become_canonical(served: Workspace, project: Path) -> None:
    fetch(load_card(project / "datasets" / "live.yaml"), served, 0.8)
    validate.run(params(project), served)
    report = json.loads(served.validation.read_text())
    counts = report["tables"]["interactions"]
    assert counts["rows_in"] == counts["rows_kept"] == 600
    found = sorted(served.tables.glob("interactions*"))
    assert found
    log = pd.read_parquet(found[0])
    assert log["timestamp"].min() == pd.Timestamp("2026-01-01T00:00:00.25", tz="UTC")
    assert set(log["event"].astype(str)) == {"buy", "click"} and set(log["price"]) == {2.5}
    items = pd.read_parquet(served.tables / "items.parquet").set_index("item_id")
    assert list(items.loc["0001", "category"]) == ["a", "b"] and list(items.loc["0001", "tags"]) == ["x", "y"]
    assert items.loc["0005", "size"] == 2.5 and items.loc["0005", "title"] == "Thing 5"
    assert [bool(items.loc[one, "available"]) for one in ("0002", "0003")] == [True, False]


def test_without_a_log_the_error_says_how_one_begins(project: Path, tmp_path: Path) -> None:
    empty = Workspace(tmp_path / "run", tmp_path)
    with pytest.raises(FetchError, match="rectory serve"):
        fetch(load_card(project / "datasets" / "live.yaml"), empty, 0.8)

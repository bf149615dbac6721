"""API keys and limits: who may do what, how often, and what is kept of a key."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from rectory.errors import UsageError
from rectory.params.serve import ServeParams
from rectory.serving.app import create_app
from rectory.serving.keys import ApiKeys, KeyRing, allows
from rectory.serving.limits import TokenBuckets
from rectory.serving.server import is_loopback, keys_asked
from rectory.serving.service import Champions, Service
from rectory.serving.store import Store
from tests.serving.popular_engine import PopularEngine
from tests.waiting import until

PUBLIC = "0.0.0.0"  # noqa: S104 - nothing binds to it


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(f"sqlite:///{tmp_path / 'events.db'}")
    opened.open()
    yield opened
    opened.close()


@pytest.fixture
def keys(store: Store) -> ApiKeys:
    return ApiKeys(store)


def client(store: Store, *, asked: bool = True, **params: object) -> TestClient:
    service = Service(Champions(lambda: "popular-1", PopularEngine), store, ServeParams.model_validate(params))
    return TestClient(create_app(service, keys_asked=asked), base_url="http://localhost", raise_server_exceptions=False)


def test_each_scope_may_do_its_own_and_what_those_below_may(store: Store, keys: ApiKeys) -> None:
    made = {scope: keys.create(scope, scope) for scope in ("read", "write", "admin")}  # type: ignore[arg-type]
    feedback = [{"FeedbackType": "a", "UserId": "u", "ItemId": "i"}]
    asked = [
        ("GET", "/api/popular", None, "read"),
        ("POST", "/api/v1/recommend", {}, "read"),
        ("POST", "/api/session/recommend", [], "read"),
        ("POST", "/api/feedback", feedback, "write"),
        ("POST", "/api/item", {"ItemId": "i"}, "write"),
        ("DELETE", "/api/feedback/u/i", None, "write"),
        ("DELETE", "/api/item/i", None, "admin"),
        ("DELETE", "/api/user/u", None, "admin"),
    ]
    with client(store) as http:
        until(lambda: http.get("/api/health/ready").status_code == 200)
        for method, path, body, needed in asked:
            assert http.request(method, path, json=body).status_code == 401
            for scope, key in made.items():
                status = http.request(method, path, json=body, headers={"X-API-Key": key}).status_code
                assert status == (200 if allows(scope, needed) else 403), (method, path, scope)  # type: ignore[arg-type]
        bearer = {"Authorization": f"Bearer {made['read']}"}
        assert http.get("/api/popular", headers=bearer).status_code == 200
        assert http.get("/openapi.json").status_code == 401
        assert http.get("/api/health/live").status_code == 200


def test_wrong_keys_are_refused_and_slowed_down(store: Store, keys: ApiKeys) -> None:
    good = keys.create("shop", "read")
    wrong = [good[:-1] + ("a" if good[-1] != "a" else "b"), "", "rk_", good.upper(), good + "x", "x" * 10_000]
    with client(store) as http:
        until(lambda: http.get("/api/health/ready").status_code == 200)
        for key in wrong:
            assert http.get("/api/popular", headers={"X-API-Key": key}).status_code == 401
        for _ in range(40):
            last = http.get("/api/popular", headers={"X-API-Key": wrong[0]})
        assert last.status_code == 429 and int(last.headers["Retry-After"]) >= 1


def test_only_hashes_are_kept(keys: ApiKeys, store: Store) -> None:
    key = keys.create("shop", "read")
    secret = key.split("_", 2)[2]
    with store.reading() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM api_keys").all()
    assert secret not in str(rows)
    assert keys.create("shop", "read") != key
    ring = KeyRing(keys)
    ring.refresh()
    found = ring.slow(key)
    assert found is not None and found.name == "shop"
    assert ring.quick(key) == found
    assert ring.quick(key[:-1] + ("a" if key[-1] != "a" else "b")) == "unsure"


def test_rotation_lets_the_old_key_go_on_for_a_while(keys: ApiKeys) -> None:
    ring = KeyRing(keys)
    first = keys.create("shop", "write")
    second = keys.rotate(first.split("_")[1], grace_seconds=3600)
    ring.refresh()
    assert ring.slow(first) and ring.slow(second)
    third = keys.rotate(second.split("_")[1], grace_seconds=0)
    ring.refresh()
    assert ring.slow(second) is None and ring.slow(third)
    with pytest.raises(UsageError, match="expired or was revoked"):
        keys.rotate(second.split("_")[1], 0)


def test_a_revoked_or_expired_key_is_refused_though_it_was_seen_before(store: Store, keys: ApiKeys) -> None:
    key = keys.create("shop", "read")
    brief = keys.create("brief", "read", expires=time.time() + 3600)
    with client(store) as http:
        until(lambda: http.get("/api/health/ready").status_code == 200)
        for one in (key, brief):
            assert http.get("/api/popular", headers={"X-API-Key": one}).status_code == 200
        keys.revoke(key.split("_")[1])
        until(lambda: http.get("/api/popular", headers={"X-API-Key": key}).status_code == 401, seconds=20)
        assert http.get("/api/popular", headers={"X-API-Key": brief}).status_code == 200
    with pytest.raises(UsageError, match="no key"):
        keys.revoke("000000000000")


def test_a_public_bind_asks_for_keys_and_there_must_be_one(store: Store, keys: ApiKeys) -> None:
    assert is_loopback("127.0.0.1") and is_loopback("::1") and is_loopback("localhost")
    assert not is_loopback(PUBLIC) and not is_loopback("shop.example")
    assert keys_asked(ServeParams(), "127.0.0.1", store) is False
    with pytest.raises(UsageError, match="rectory keys create"):
        keys_asked(ServeParams(), PUBLIC, store)
    with pytest.raises(UsageError, match="keys is off"):
        keys_asked(ServeParams(keys="off"), PUBLIC, store)
    keys.create("shop", "read")
    assert keys_asked(ServeParams(), PUBLIC, store) is True
    assert keys_asked(ServeParams(keys="required"), "127.0.0.1", store) is True


def test_a_caller_has_so_many_requests_and_others_have_theirs(store: Store, keys: ApiKeys) -> None:
    one, other = keys.create("one", "read"), keys.create("other", "read")
    with client(store, requests_per_second=0.01, burst=3) as http:
        until(lambda: http.get("/api/health/ready").status_code == 200)
        told = [http.get("/api/popular", headers={"X-API-Key": one}) for _ in range(5)]
        assert [answer.status_code for answer in told] == [200, 200, 200, 429, 429]
        assert 90 <= int(told[-1].headers["Retry-After"]) <= 101
        assert http.get("/api/popular", headers={"X-API-Key": other}).status_code == 200


def test_token_buckets_fill_up_again_and_are_bounded() -> None:
    now = [0.0]
    buckets = TokenBuckets(2.0, 4, lambda: now[0])
    assert [buckets.take("a") for _ in range(5)] == [0.0, 0.0, 0.0, 0.0, 0.5]
    now[0] = 0.5
    assert buckets.take("a") == 0.0 and buckets.take("a") > 0
    now[0] = 100.0
    assert [buckets.take("a") for _ in range(5)] == [0.0, 0.0, 0.0, 0.0, 0.5]
    for caller in range(30_000):
        buckets.take(str(caller))
    assert len(buckets._buckets) <= 20_000


def test_a_fault_of_ours_shows_a_number_and_no_trace(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(PopularEngine):
        def popular(self, *_: object, **__: object) -> object:  # type: ignore[override]
            raise RuntimeError("secret of the inside")

    service = Service(Champions(lambda: "popular-1", Broken), store, ServeParams())
    app = create_app(service, keys_asked=False)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as http:
        until(lambda: http.get("/api/health/ready").status_code == 200)
        answer = http.get("/api/popular")
    assert answer.status_code == 500
    number = answer.json()["detail"].split()[-1].rstrip(".")
    assert "secret" not in answer.text and "Traceback" not in answer.text
    assert any(number in record.getMessage() for record in caplog.records)


def test_listed_origins_may_call_from_a_browser(store: Store) -> None:
    with client(store, asked=False, cors_origins=["https://shop.example"]) as http:
        asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "GET"}
        assert (
            http.options("/api/popular", headers=asked).headers["access-control-allow-origin"] == "https://shop.example"
        )
        other = http.options("/api/popular", headers={**asked, "Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers


def test_faults_of_the_store_are_503_and_lists_go_on(store: Store, tmp_path: Path) -> None:
    import sqlite3

    service = Service(
        Champions(lambda: "popular-1", PopularEngine),
        Store(f"sqlite:///{tmp_path / 'events.db'}", lock_seconds=0.2),
        ServeParams(),
    )
    with TestClient(create_app(service, keys_asked=False), base_url="http://localhost") as http:
        until(lambda: http.get("/api/health/ready").status_code == 200)
        feedback = [{"FeedbackType": "a", "UserId": "u", "ItemId": "i"}]
        other = sqlite3.connect(tmp_path / "events.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        refused = http.post("/api/feedback", json=feedback)
        assert refused.status_code == 503 and refused.headers["Retry-After"] and "events.db" not in refused.text
        assert http.get("/api/popular").status_code == 200
        other.execute("ROLLBACK")
        other.close()
        until(lambda: http.post("/api/feedback", json=feedback).status_code == 200)
        assert [one["Id"] for one in http.get("/api/popular").json()] == ["i"]


def test_an_item_with_a_megabyte_of_description_is_kept(store: Store) -> None:
    with client(store, asked=False) as http:
        item = {"ItemId": "long", "Comment": "\u00e9word " * 170_000, "Labels": {"text": "x" * 1000}}
        assert http.post("/api/item", json=item).status_code == 200
        assert http.get("/api/item/long").json()["Comment"] == item["Comment"]
        until(lambda: http.get("/api/health/ready").status_code == 200)
        assert "long" in [one["Id"] for one in http.get("/api/latest").json()]

"""Rectory's own paths, against a real server: all that an answer has, batches, events with ids, why and why not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serving.running import Server, serving
from tests.waiting import until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("native"), max_list=50, max_events=200, max_body_kb=64) as running:
        yield running


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        shop = [
            {"ItemId": f"i{at}", "Categories": ["fruit" if at % 2 else "tools"], "Labels": {"size": at % 3}}
            for at in range(1, 9)
        ]
        assert client.post("/api/items", json=shop).json() == {"RowAffected": 8}
        taken = [{"user_id": f"u{at}", "item_id": "i1", "kind": "buy"} for at in range(5)]
        assert client.post("/api/v1/events", json={"events": taken}).json()["accepted"] == 5
        yield client


def ask(http: httpx.Client, **body: Any) -> Any:
    answer = http.post("/api/v1/recommend", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def shown(answer: Any) -> list[str]:
    return [one["item_id"] for one in answer["items"]]


def test_an_answer_has_all_that_estimates_need_later(http: httpx.Client) -> None:
    raw = http.post("/api/v1/recommend", json={"user_id": "new", "n": 3, "context": {"device": "phone"}})
    answer = raw.json()
    assert raw.headers["X-Recommendation-Id"] == answer["recommendation_id"]
    assert answer["model_version"] == "popular-1" and shown(answer)[0] == "i1"
    assert all(0 < one["propensity"] <= 1 and one["rung"] for one in answer["items"])
    kept = until(
        lambda: (
            (found := http.get(f"/api/v1/recommendations/{answer['recommendation_id']}")).status_code == 200
            and found.json()
        )
    )
    assert kept["items"] == answer["items"] and kept["user_id"] == "new" and kept["followed"] == []
    click = {"user_id": "new", "item_id": "i1", "kind": "click", "recommendation_id": answer["recommendation_id"]}
    http.post("/api/v1/events", json={"events": [click]})
    followed = http.get(f"/api/v1/recommendations/{answer['recommendation_id']}").json()["followed"]
    assert [(one["item_id"], one["kind"]) for one in followed] == [("i1", "click")]


def test_lists_of_gorse_are_exposures_too(http: httpx.Client) -> None:
    answer = http.get("/api/recommend/someone", params={"n": 2})
    kept = until(
        lambda: (
            (found := http.get(f"/api/v1/recommendations/{answer.headers['X-Recommendation-Id']}")).status_code == 200
            and found.json()
        )
    )
    assert [one["item_id"] for one in kept["items"]] == answer.json()


def test_exclude_where_offset_and_session(http: httpx.Client) -> None:
    everything = shown(ask(http, n=8))
    assert shown(ask(http, n=8, exclude=["i1", "i2"])) == [one for one in everything if one not in {"i1", "i2"}]
    assert shown(ask(http, n=8, where={"category": "tools"})) == ["i2", "i4", "i6", "i8"]
    assert set(shown(ask(http, n=8, where={"category": ["tools", "fruit"], "size": 1}))) == {"i1", "i4", "i7"}
    assert shown(ask(http, n=3, offset=2)) == everything[2:5]
    session = ask(http, n=8, history=[{"item_id": "i1", "kind": "click"}])
    assert "i1" not in shown(session) and session["rung"] == "session"


def test_a_batch_answers_in_order(http: httpx.Client) -> None:
    requests = [{"user_id": "u0", "n": 1}, {"user_id": "stranger", "n": 2}, {"n": 3}]
    answers = http.post("/api/v1/recommend/batch", json={"requests": requests}).json()["answers"]
    assert [len(one["items"]) for one in answers] == [1, 2, 3]
    assert shown(answers[0]) != ["i1"] and shown(answers[1])[0] == "i1"
    assert len({one["recommendation_id"] for one in answers}) == 3
    assert http.post("/api/v1/recommend/batch", json={"requests": [{}] * 201}).status_code == 422


def test_an_event_sent_again_is_counted_once(http: httpx.Client) -> None:
    event = {"event_id": "mine-1", "user_id": "again", "item_id": "i2", "kind": "buy", "timestamp": time.time()}
    for accepted, duplicates in ((1, 0), (0, 1), (0, 1)):
        told = http.post("/api/v1/events", json={"events": [event]}).json()
        assert (told["accepted"], told["duplicates"]) == (accepted, duplicates)
    with ThreadPoolExecutor(8) as pool:
        told = list(
            pool.map(
                lambda _: http.post("/api/v1/events", json={"events": [{**event, "event_id": "mine-2"}]}).json(),
                range(16),
            )
        )
    assert sum(one["accepted"] for one in told) == 1


def test_why_and_why_not(http: httpx.Client) -> None:
    answer = ask(http, user_id="curious", n=2)
    why = http.get(f"/api/why/{answer['recommendation_id']}/i1").json()
    assert why["score"] == pytest.approx(sum(reason["contribution"] for reason in why["reasons"]))
    assert why["model_version"] == why["shown_by"] == "popular-1"
    assert http.get(f"/api/why/{answer['recommendation_id']}/i8").status_code == 404
    assert http.get("/api/why/nonsense/i1").status_code == 404
    stages = http.get("/api/whynot/u0/i1").json()["stages"]
    assert [(one["stage"], one["passed"]) for one in stages] == [("known", True), ("seen", False)]
    assert http.get("/api/whynot/u0/unheard-of").status_code == 404


def test_late_events_are_kept_and_future_ones_refused_as_a_whole(http: httpx.Client) -> None:
    late = {"user_id": "late", "item_id": "i3", "kind": "buy", "timestamp": "1999-12-31T23:59:59+02:00"}
    assert http.post("/api/v1/events", json={"events": [late]}).json()["accepted"] == 1
    assert http.get("/api/user/late/feedback").json()[0]["Timestamp"] == "1999-12-31T21:59:59Z"
    early = {**late, "timestamp": time.time() + 3600}
    refused = http.post("/api/v1/events", json={"events": [{**late, "item_id": "i4"}, early]})
    assert refused.status_code == 422 and "future" in refused.json()["detail"]
    assert len(http.get("/api/user/late/feedback").json()) == 1


def test_users_and_items_that_nobody_knows_are_kept(http: httpx.Client) -> None:
    event = {"user_id": "né à 東京 😀", "item_id": "unheard of", "kind": "buy"}
    assert http.post("/api/v1/events", json={"events": [event]}).json()["accepted"] == 1
    assert http.get("/api/user/né à 東京 😀/feedback").json()[0]["ItemId"] == "unheard of"
    assert "unheard of" in shown(ask(http, n=50))


def test_forgetting_a_user_reaches_log_and_live_state(http: httpx.Client) -> None:
    http.post("/api/v1/events", json={"events": [{"user_id": "goner", "item_id": "i5", "kind": "buy"}]})
    answer = ask(http, user_id="goner", n=3)
    assert "i5" not in shown(answer)
    assert http.delete("/api/user/goner").json() == {"RowAffected": 1}
    assert http.get("/api/user/goner/feedback").json() == []
    assert http.get(f"/api/why/{answer['recommendation_id']}/i1").status_code == 404
    assert "i5" in shown(ask(http, user_id="goner", n=50))


@pytest.mark.parametrize(
    "bad", ["", "a/b", "a\x00b", "a\nb", " a", "a ", "x" * 257, "\ud800", "a\u2028b", "null", "NaN", ".."]
)
def test_ids_that_cannot_be_ids_are_refused(http: httpx.Client, bad: str) -> None:
    import json

    told = json.dumps({"events": [{"user_id": bad, "item_id": "i1", "kind": "buy"}]}).encode()
    answer = http.post("/api/v1/events", content=told, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text
    told = json.dumps([{"FeedbackType": "buy", "UserId": "u", "ItemId": bad}]).encode()
    answer = http.post("/api/feedback", content=told, headers={"content-type": "application/json"})
    assert answer.status_code == 400


def test_ids_in_paths_are_checked_as_well(http: httpx.Client) -> None:
    assert http.get("/api/recommend/a%00b").status_code == 400
    assert http.get("/api/recommend/%0a").status_code == 400
    assert http.get("/api/user/" + "x" * 300).status_code == 400
    assert http.get("/api/recommend/..%2f..%2fetc%2fpasswd").status_code == 404
    assert http.get("/api/recommend/'; DROP TABLE events; --").status_code == 200
    assert http.get("/api/feedback").status_code == 200


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b'{"events": [{"user_id"', 400),
        (b"", 422),
        (b"\xff\xfe", 400),
        (b"[" * 50_000, 400),
        (b'{"events": 5}', 422),
        (b'{"events": [{"user_id": "u", "item_id": "i", "kind": "k", "value": 1e999}]}', 422),
        (b'{"events": [{"user_id": "u", "item_id": "i", "kind": "k", "value": NaN}]}', 422),
        (b'{"events": [{"user_id": "u", "item_id": "i", "kind": "k", "context": {"a": NaN}}]}', 422),
        (b'{"events": [{"user_id": "u", "item_id": "i", "kind": "k", "timestamp": "soon"}]}', 422),
        (b'{"events": [{"user_id": "u", "item_id": "i", "kind": "k", "timestamp": -5}]}', 422),
        (b'{"events": [{"user_id": 7, "item_id": "i", "kind": "k"}]}', 422),
    ],
)
def test_half_a_json_and_other_nonsense_is_refused_in_words(http: httpx.Client, content: bytes, status: int) -> None:
    answer = http.post("/api/v1/events", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text
    assert answer.json()["detail"]
    assert "Traceback" not in answer.text and len(answer.content) < 5000


def test_limits_of_one_request(http: httpx.Client) -> None:
    assert http.get("/api/recommend/u", params={"n": 51}).status_code == 422
    assert http.get("/api/recommend/u", params={"n": 0}).status_code == 422
    many = [{"user_id": "u", "item_id": "i", "kind": "k"}] * 201
    assert http.post("/api/v1/events", json={"events": many}).status_code == 422
    assert http.post("/api/feedback", content=b"x" * 70_000).status_code == 413

    def endless() -> Iterator[bytes]:
        for _ in range(200):
            yield b"[" * 1024

    assert (
        http.post("/api/feedback", content=endless(), headers={"content-type": "application/json"}).status_code == 413
    )
    assert http.get("/api/items", params={"cursor": "???"}).status_code == 400
    assert http.get("/api/feedback", params={"cursor": "eA=="}).status_code == 400
    assert (
        http.get("/api/recommend/u", params={"write-back-type": "read", "write-back-delay": "soon"}).status_code == 400
    )


def test_an_item_with_a_long_description(http: httpx.Client) -> None:
    item = {"ItemId": "long", "Comment": "word " * 10_000}
    assert http.post("/api/item", json=item).status_code == 200
    assert http.get("/api/item/long").json()["Comment"] == item["Comment"]


def test_a_foreign_host_name_gets_nothing_without_keys(http: httpx.Client) -> None:
    assert http.get("/api/popular", headers={"Host": "evil.example"}).status_code == 421
    assert http.get("/api/popular", headers={"Host": "localhost:8088"}).status_code == 200


def test_no_page_of_another_origin_may_call(http: httpx.Client) -> None:
    answer = http.options(
        "/api/popular", headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}
    )
    assert "access-control-allow-origin" not in answer.headers


def test_no_page_of_another_origin_may_change_anything(http: httpx.Client) -> None:
    event = {"events": [{"user_id": "victim", "item_id": "i1", "kind": "buy"}]}
    for origin, status in (("https://evil.example", 403), ("null", 403), ("http://localhost:3000", 200)):
        assert http.post("/api/v1/events", json=event, headers={"Origin": origin}).status_code == status
    assert http.delete("/api/user/victim", headers={"Origin": "http://localhost.evil.example"}).status_code == 403


def test_the_openapi_names_every_path(http: httpx.Client) -> None:
    spec = http.get("/openapi.json").json()
    assert {
        "/api/feedback",
        "/api/recommend/{user_id}",
        "/api/v1/recommend",
        "/api/why/{recommendation_id}/{item_id}",
    } <= set(spec["paths"])


def test_status(http: httpx.Client, server: Server) -> None:
    told = http.get("/api/v1/status").json()
    assert told["ready"] and told["pid"] == server.process.pid and told["sequence"] > 0


def test_it_ends_when_told_to_and_has_written_what_waits(tmp_path: Path) -> None:
    with serving(tmp_path) as running:
        answer = httpx.post(f"{running.url}/api/v1/recommend", json={"user_id": "u"}).json()
        assert running.stop() == 0
    with serving(tmp_path) as again:
        assert httpx.get(f"{again.url}/api/v1/recommendations/{answer['recommendation_id']}").status_code == 200

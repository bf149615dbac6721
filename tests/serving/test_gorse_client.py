"""Every call of the real Gorse client, against a real server over HTTP."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from gorse import AsyncGorse, Gorse, GorseException, Score

from rectory.serving.keys import ApiKeys
from rectory.serving.store import Store
from rectory.workspace import Workspace
from tests.serving.running import Server, serving

DAY = "2026-05-01T12:30:00Z"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    project = tmp_path_factory.mktemp("gorse")
    store = Store.of(Workspace(project, project))
    store.open()
    made = ApiKeys(store).create("gorse client", "admin")
    store.close()
    return made, project


@pytest.fixture(scope="module")
def server(key: tuple[str, Path]) -> Iterator[Server]:
    with serving(key[1], keys="required") as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server, key: tuple[str, Path]) -> Gorse:
    return Gorse(server.url, key[0], timeout=60)


def item(name: str, category: str, day: int = 1) -> dict[str, object]:
    return {
        "ItemId": name,
        "IsHidden": False,
        "Labels": {"colour": "red", "sizes": ["s", "m"]},
        "Categories": [category],
        "Timestamp": f"2026-04-{day:02d}T00:00:00Z",
        "Comment": f"thing {name}",
    }


def test_users(client: Gorse) -> None:
    user = {"UserId": "u0", "Labels": {"gender": "x", "tags": ["a"]}, "Comment": "zhenghaoz"}
    assert client.insert_user(user)["RowAffected"] == 1
    assert client.get_user("u0") == user
    assert (
        client.insert_users([{"UserId": f"u{at}", "Labels": None, "Comment": ""} for at in range(1, 5)])["RowAffected"]
        == 4
    )
    first, cursor = client.get_users(3)
    rest, end = client.get_users(3, cursor)
    assert [one["UserId"] for one in first + rest] == ["u0", "u1", "u2", "u3", "u4"]
    assert end == ""
    assert client.delete_user("u4")["RowAffected"] == 1
    with pytest.raises(GorseException) as refused:
        client.get_user("u4")
    assert refused.value.status_code == 404


def test_items(client: Gorse) -> None:
    for at in range(1, 7):
        assert client.insert_item(item(f"i{at}", "fruit" if at % 2 else "tools", at))["RowAffected"] == 1
    assert client.get_item("i1") == item("i1", "fruit", 1)
    assert client.update_item("i2", comment="better", categories=["tools", "sale"])["RowAffected"] == 1
    changed = client.get_item("i2")
    assert (changed["Comment"], changed["Categories"], changed["Labels"]) == (
        "better",
        ["tools", "sale"],
        item("i2", "")["Labels"],
    )
    found, cursor = client.get_items(4)
    more, end = client.get_items(4, cursor)
    assert [one["ItemId"] for one in found + more] == [f"i{at}" for at in range(1, 7)]
    assert end == ""
    assert [one["ItemId"] for one in client.search_items("better")] == ["i2"]
    client.insert_item(item("gone", "fruit"))
    assert client.delete_item("gone")["RowAffected"] == 1
    with pytest.raises(GorseException):
        client.get_item("gone")


def test_feedback(client: Gorse) -> None:
    assert client.insert_feedback("read", "u1", "i1", DAY)["RowAffected"] == 1
    assert client.insert_feedback("read", "u1", "i1", DAY)["RowAffected"] == 0, "the same again is the same"
    many = [
        {"FeedbackType": "like", "UserId": "u2", "ItemId": f"i{at}", "Timestamp": DAY, "Value": 2.5, "Comment": "c"}
        for at in (1, 2, 3)
    ]
    assert client.insert_feedbacks(many)["RowAffected"] == 3
    listed = client.list_feedbacks("like", "u2")
    assert [(one["ItemId"], one["Timestamp"], one["Value"], one["Comment"]) for one in listed] == [
        (f"i{at}", DAY, 2.5, "c") for at in (1, 2, 3)
    ]
    first, cursor = client.get_feedbacks(2)
    rest, end = client.get_feedbacks(10, cursor)
    assert [one["ItemId"] for one in first + rest] == ["i1", "i1", "i2", "i3"]
    assert end == ""
    assert client.delete_feedback("u2", "i3")["RowAffected"] == 1
    assert [one["ItemId"] for one in client.list_feedbacks("like", "u2")] == ["i1", "i2"]


def test_recommend(client: Gorse, server: Server, key: tuple[str, Path]) -> None:
    scores = client.get_recommend("u1", n=3)
    assert all(isinstance(one, Score) for one in scores)
    assert scores[0].id == "i2" and "i1" not in [one.id for one in scores], "what u1 took is not shown again"
    assert [one.id for one in client.get_recommend("u1", "fruit")] == ["i3", "i5"]
    assert [one.id for one in client.get_recommend("u1", n=2, offset=1)] == [one.id for one in scores[1:3]]
    headers = {"X-API-Key": key[0]}
    plain = httpx.get(f"{server.url}/api/recommend/u1", params={"n": 2, "category": "fruit"}, headers=headers)
    assert plain.json() == ["i3", "i5"]
    assert len(plain.headers["X-Recommendation-Id"]) >= 16


def test_write_back(client: Gorse) -> None:
    shown = client.get_recommend("u3", n=2, write_back_type="read", write_back_delay="0h0m0s")
    assert {one["ItemId"] for one in client.list_feedbacks("read", "u3")} == {one.id for one in shown}
    assert not {one.id for one in client.get_recommend("u3", n=10)} & {one.id for one in shown}
    later = client.get_recommend("u3", n=1, write_back_type="read", write_back_delay="1h")
    assert client.get_recommend("u3", n=1)[0].id == later[0].id, "it is not read before the delay is over"


def test_session(client: Gorse) -> None:
    session = [{"FeedbackType": "like", "UserId": "", "ItemId": "i1", "Timestamp": DAY, "Comment": ""}]
    shown = client.session_recommend(session, n=3)
    assert shown[0]["Id"] == "i2" and "i1" not in [one["Id"] for one in shown]
    assert set(shown[0]) == {"Id", "Score"}


def test_neighbours(client: Gorse) -> None:
    assert "i1" not in [one["Id"] for one in client.get_neighbors("i1", n=3)]
    assert len(client.get_neighbors("i1", n=2, offset=1)) == 2
    assert client.get_neighbors("nobody knows it") == []


def test_other_paths_of_gorse(server: Server, key: tuple[str, Path]) -> None:
    with httpx.Client(base_url=server.url, headers={"X-API-Key": key[0]}) as http:
        for path in ("/api/popular", "/api/non-personalized/popular", "/api/non-personalized/trending"):
            assert http.get(path).json()[0]["Id"] == "i1", path
        for path in ("/api/latest", "/api/non-personalized/new", "/api/non-personalized/latest"):
            assert http.get(path).json()[0]["Id"] == "i6", path
        assert [one["Id"] for one in http.get("/api/latest/fruit", params={"n": 1}).json()] == ["i5"]
        assert "i1" not in [one["Id"] for one in http.get("/api/popular", params={"user-id": "u1"}).json()]
        assert http.get("/api/non-personalized/nonsense").status_code == 404
        assert len(http.get("/api/item-to-item/neighbors/i1", params={"n": 2}).json()) == 2
        assert {one["Id"] for one in http.get("/api/item/i1/neighbors/tools").json()} == {"i2", "i4", "i6"}
        assert http.put("/api/item/i1/category/sale").json() == {"RowAffected": 1}
        assert http.get("/api/item/i1").json()["Categories"] == ["fruit", "sale"]
        assert http.delete("/api/item/i1/category/sale").json() == {"RowAffected": 1}
        assert http.patch("/api/user/u1", json={"Comment": "new"}).json() == {"RowAffected": 1}
        assert http.get("/api/user/u1").json()["Comment"] == "new"
        assert http.patch("/api/item/nobody", json={"Comment": "new"}).status_code == 404
        assert [one["FeedbackType"] for one in http.get("/api/feedback/u1/i1").json()] == ["read"]
        assert http.get("/api/feedback/read/u1/i1").json()["ItemId"] == "i1"
        assert [one["UserId"] for one in http.get("/api/feedback/like").json()["Feedback"]] == ["u2", "u2"]
        assert {one["UserId"] for one in http.get("/api/item/i1/feedback").json()} >= {"u1", "u2"}
        assert [one["UserId"] for one in http.get("/api/item/i1/feedback/like").json()] == ["u2"]
        new = [{"FeedbackType": "read", "UserId": "u1", "ItemId": "i1", "Timestamp": "2026-05-02", "Value": 4}]
        assert http.put("/api/feedback", json=new).json() == {"RowAffected": 1}
        kept = http.get("/api/user/u1/feedback").json()
        assert [(one["Timestamp"], one["Value"]) for one in kept] == [("2026-05-02T00:00:00Z", 4.0)], "PUT replaces"
        assert http.delete("/api/feedback/read/u1/i1").json() == {"RowAffected": 1}
        assert http.get("/api/health/live").json()["Ready"] is True


def test_the_asynchronous_client(server: Server, key: tuple[str, Path]) -> None:
    async def all_calls() -> None:
        client = AsyncGorse(server.url, key[0], timeout=60)
        await client.insert_user({"UserId": "a1", "Labels": [], "Comment": ""})
        await client.insert_users([{"UserId": "a2"}])
        await client.insert_item(item("a", "async"))
        await client.update_item("a", is_hidden=False, timestamp=DAY)
        assert (await client.get_item("a"))["Timestamp"] == DAY
        assert (await client.get_items(1))[1] != ""
        assert (await client.search_items("thing a"))[0]["ItemId"] == "a"
        assert (await client.insert_feedback("read", "a1", "a", DAY))["RowAffected"] == 1
        await client.insert_feedbacks([{"FeedbackType": "like", "UserId": "a1", "ItemId": "a", "Timestamp": DAY}])
        assert len(await client.list_feedbacks("read", "a1")) == 1
        assert len((await client.get_feedbacks(3))[0]) == 3
        assert "a" not in [one.id for one in await client.get_recommend("a1", n=100)]
        assert [one.id for one in await client.get_recommend("a2", "async")] == ["a"]
        assert len(await client.session_recommend([], n=2)) == 2
        assert len(await client.get_neighbors("a", n=2)) == 2
        assert (await client.delete_feedback("a1", "a"))["RowAffected"] == 2
        assert (await client.get_user("a1"))["UserId"] == "a1"
        assert len((await client.get_users(100))[0]) >= 5
        await client.delete_item("a")
        await client.delete_user("a1")

    asyncio.run(all_calls())


def test_no_call_of_the_client_is_left_out() -> None:
    here = Path(__file__).read_text(encoding="utf-8")
    calls = [name for name, _ in inspect.getmembers(Gorse, inspect.isfunction) if not name.startswith("_")]
    assert len(calls) >= 19
    assert [name for name in calls if f"client.{name}(" not in here] == []


def test_a_wrong_key_is_refused(server: Server) -> None:
    with pytest.raises(GorseException) as refused:
        Gorse(server.url, "rk_000000000000_" + 43 * "x").get_recommend("u1")
    assert refused.value.status_code == 401


def test_an_acknowledged_event_shows_in_the_next_answer(client: Gorse) -> None:
    """Reads know of an event as soon as it is acknowledged."""
    for at in range(20):
        user = f"fresh{at}"
        shown = client.get_recommend(user, n=1)[0].id
        client.insert_feedback("read", user, shown, str(time.time()))
        assert client.get_recommend(user, n=1)[0].id != shown

"""Whatever is sent, the service answers in its own words and goes on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error

from tests.serving.running import Server, serving
from tests.waiting import until

SECONDS_OF_A_REQUEST = 3.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(
        tmp_path_factory.mktemp("hostile"), max_connections=100, request_seconds=SECONDS_OF_A_REQUEST, max_body_kb=64
    ) as running:
        shop = [{"ItemId": f"i{at}", "Categories": ["a"], "Timestamp": "2026-01-01"} for at in range(9)]
        httpx.post(f"{running.url}/api/items", json=shop)
        yield running


def serves(server: Server) -> None:
    """It still does what it is there for."""
    event = {"user_id": "u", "item_id": "i1", "kind": "buy"}
    assert httpx.post(f"{server.url}/api/v1/events", json={"events": [event]}, timeout=60).json()["accepted"] == 1
    assert httpx.get(f"{server.url}/api/recommend/u", timeout=60).status_code == 200


def explore(server: Server, examples: int) -> None:
    """Each operation with input that its schema allows, and with input that it does not."""
    chosen = settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    operations = [one.ok() for one in schema.get_all_operations()]
    assert len(operations) >= 45

    statuses: set[int] = set()
    for operation in operations:
        bad = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)

        @chosen
        @given(case=operation.as_strategy() | bad)
        def never_a_5xx(case: schemathesis.Case) -> None:
            answer = case.call(timeout=60)
            statuses.add(answer.status_code)
            case.validate_response(answer, checks=[not_a_server_error])

        # An operation that takes no input cannot be given bad input.
        with contextlib.suppress(Unsatisfiable):
            never_a_5xx()
    assert {200, 400, 404, 422} <= statuses
    serves(server)


def test_what_the_openapi_allows_and_what_it_does_not_gives_no_5xx(server: Server) -> None:
    explore(server, 4)


@pytest.mark.slow
def test_more_of_what_the_openapi_allows_and_what_it_does_not_gives_no_5xx(server: Server) -> None:
    explore(server, 60)


def attack(rng: random.Random) -> bytes:
    """One request as somebody might send it who wants no good, or who has a bug."""
    method = rng.choice(
        [
            "GET",
            "POST",
            "PUT",
            "PATCH",
            "DELETE",
            "HEAD",
            "OPTIONS",
            "TRACE",
            "get",
            "\x00",
            "G E T",
            *["GET", "POST"] * 8,
        ]
    )
    path = rng.choice(
        [
            "/api/recommend/",
            "/api/feedback",
            "/api/item/",
            "/api/items",
            "/api/users",
            "/api/v1/events",
            "/api/v1/recommend",
            "/api/why/",
            "/",
            "*",
            "http://x/",
            "/../../etc/passwd",
            "//",
        ]
    )
    path += rng.choice(
        [
            "",
            "u",
            quote(chr(rng.randrange(0x110000)), errors="replace"),
            "%00",
            "%ff%fe",
            "%2e%2e%2f",
            "é",
            "a" * rng.choice([300, 9000]),
            "?n=" + rng.choice(["-1", "1e9", "NaN", "9" * 400, "%00", "1&n=2"]),
        ]
    )
    body = rng.choice(
        [
            b"",
            b"{",
            b"null",
            b"[" * rng.randrange(1, 3000),
            json.dumps(
                [
                    {
                        "FeedbackType": "a",
                        "UserId": chr(rng.randrange(0x110000)),
                        "ItemId": "i",
                        "Timestamp": rng.choice(["", "x", 1e300, -1, None, [], {}]),
                    }
                ]
            ).encode(),
            json.dumps({"events": rng.choice([[], {}, None, [1], [{}], "x", 10**300])}).encode(),
            json.dumps(
                {
                    "user_id": rng.choice([None, 1, "", "\x00", "u"]),
                    "n": rng.choice([0, -1, 10**20, 1.5, "x"]),
                    "where": rng.choice([{}, [], {"a": {"b": []}}, {"category": None}]),
                }
            ).encode(),
            rng.randbytes(rng.randrange(0, 300)),
        ]
    )
    headers = [f"Host: {rng.choice([*['127.0.0.1', 'localhost'] * 5, 'evil', '', '[::1', 'a' * 300])}"]
    headers += rng.sample(
        [
            "Content-Type: application/json",
            "Content-Type: text/html; charset=\xff",
            f"Content-Length: {rng.choice([len(body), 0, -1, 10**12, 'x', len(body) + 5])}",
            "Transfer-Encoding: chunked",
            "X-API-Key: " + "k" * rng.choice([1, 50, 5000]),
            "X-API-Version: " + rng.choice(["2", "\xff", "9" * 50]),
            "Expect: 100-continue",
            "Connection: upgrade",
            "Upgrade: websocket",
            "Cookie: " + "c=d;" * 500,
            "no colon",
            ": no name",
        ],
        rng.randrange(0, 6),
    )
    if not any(header.startswith(("Content-Length", "Transfer")) for header in headers):
        headers.append(f"Content-Length: {len(body)}")
    head = (
        f"{method} {path} HTTP/{rng.choice(['1.1', '1.1', '1.1', '1.0', '9.9', 'x'])}\r\n"
        + "\r\n".join(headers)
        + "\r\n\r\n"
    )
    raw = head.encode("latin-1", errors="replace") + body
    if rng.random() < 0.1:
        raw = raw[: rng.randrange(len(raw))]
    return rng.randbytes(rng.randrange(1, 200)) if rng.random() < 0.03 else raw


async def send(host: str, port: int, raw: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(raw)
        await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
        return await asyncio.wait_for(reader.read(100_000), timeout=60)
    except (ConnectionError, TimeoutError):
        return b""
    finally:
        writer.close()


def fuzz(server: Server, count: int) -> None:
    rng = random.Random(5)  # noqa: S311 - the same attacks each time
    address = urlsplit(server.url)
    attacks = [attack(rng) for _ in range(count)]

    async def all_of_them() -> list[bytes]:
        answers: list[bytes] = []
        for at in range(0, count, 40):
            told = await asyncio.gather(
                *(send(str(address.hostname), int(address.port or 0), raw) for raw in attacks[at : at + 40])
            )
            answers += told
        return answers

    answers = asyncio.run(all_of_them())
    faults = [
        (raw[:300], answer[:300])
        for raw, answer in zip(attacks, answers, strict=True)
        if answer.startswith(b"HTTP/1.1 5")
    ]
    assert faults == []
    assert not any(b"Traceback" in answer for answer in answers)
    statuses = {answer[9:12] for answer in answers if answer.startswith(b"HTTP/1.1 ")}
    assert {b"200", b"400", b"404", b"405", b"422"} <= statuses, "the attacks reach all parts"
    assert "Traceback" not in server.log.read_text(), "nothing surprised it"
    serves(server)


def test_a_thousand_malformed_requests_leave_it_serving(server: Server) -> None:
    fuzz(server, 1000)


@pytest.mark.slow
def test_ten_thousand_malformed_requests_leave_it_serving(server: Server) -> None:
    fuzz(server, 10_000)


def flood(server: Server, count: int) -> list[socket.socket]:
    """Open connections that say nothing."""
    address = urlsplit(server.url)
    opened = []
    for _ in range(count):
        one = socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=60)
        opened.append(one)
    return opened


def test_connections_beyond_the_limit_are_refused_politely_and_silent_ones_closed(server: Server) -> None:
    opened = flood(server, 100)
    with pytest.raises((httpx.HTTPStatusError, httpx.TransportError)):
        httpx.get(f"{server.url}/api/health/live", timeout=60).raise_for_status()
    refused = flood(server, 50)
    told = [one.recv(4096) for one in refused]
    assert all(one.startswith(b"HTTP/1.1 503") and b"retry-after" in one.lower() for one in told)
    assert json.loads(told[0].split(b"\r\n\r\n")[1])["detail"].startswith("too many connections")
    # Those that say nothing lose their places, so that others come in again.
    until(lambda: _answers(server), seconds=60)
    assert all(one.recv(10) == b"" for one in opened), "closed by the server"
    for one in (*opened, *refused):
        one.close()
    serves(server)


def _answers(server: Server) -> bool:
    try:
        return httpx.get(f"{server.url}/api/health/live", timeout=60).status_code == 200
    except httpx.TransportError:
        return False


def test_endless_headers_and_half_a_request_end(server: Server) -> None:
    address = urlsplit(server.url)
    with socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=60) as slow:
        slow.sendall(b"POST /api/feedback HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n[{")
        assert slow.recv(4096) == b"", "half a request is given up, not waited for"
    with socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=60) as endless:
        endless.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        try:
            for _ in range(200):
                endless.sendall(b"X-Filler: " + b"x" * 1000 + b"\r\n")
            told = endless.recv(4096)
        except ConnectionError:
            told = b"HTTP/1.1 431"
        assert told.startswith(b"HTTP/1.1 431")
    serves(server)


@pytest.mark.slow
def test_ten_thousand_connections_are_refused_politely(server: Server) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 11_000:
        pytest.skip(f"this machine lets a process open {hard} files only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (11_000, hard))
    try:
        opened = flood(server, 10_000)
        for one in opened[200:]:
            assert one.recv(4096)[:12] in {b"HTTP/1.1 503", b""}
        for one in opened:
            one.close()
        until(lambda: _answers(server), seconds=120)
        serves(server)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

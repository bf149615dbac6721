"""SQL sources: queries as written, secrets from the environment and never in a text."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from rectory.data.sql import database_url
from rectory.errors import CapacityError, CardError, DataError, FetchError

from .conftest import Shop


@pytest.fixture
def database(shop: Shop) -> Path:
    path = shop.root / "shop.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE sales (user INTEGER, item TEXT, time TEXT, note)")
        connection.executemany(
            "INSERT INTO sales VALUES (?, ?, ?, ?)",
            [
                (7, "007", "2026-01-01 10:00:00", 1),
                (None, "NA", "2026-01-02 10:00", "50% off"),
                (2**60 + 1, "", None, 1.5),
            ],
        )
        connection.execute("CREATE TABLE items (sku INTEGER, title TEXT)")
        connection.execute("INSERT INTO items VALUES (7, 'Tea')")
    connection.close()
    return path


def sql(url: str = "sqlite:///shop.db", query: str = "SELECT * FROM sales", **others: str) -> dict[str, str]:
    return {"kind": "sql", "url": url, "interactions": query} | others


def test_rows_come_with_ids_as_text_and_large_integers_whole(shop: Shop, database: Path) -> None:
    card = shop.card(sql(items="SELECT * FROM items;"), items={"id": "sku", "title": "title"})
    facts = shop.fetch(card)
    raw = shop.raw()
    assert raw["user"].tolist() == ["7", None, "1152921504606846977"]
    assert raw["item"].tolist() == ["007", "NA", None]
    assert raw["note"].tolist() == ["1", "50% off", "1.5"]
    assert shop.raw("items")["sku"].tolist() == ["7"]
    assert facts.rows == {"interactions": 3, "items": 1}
    assert facts.fetched == ["sqlite:///shop.db interactions", "sqlite:///shop.db items"]


def test_colons_and_percent_signs_in_a_query_are_text(shop: Shop, database: Path) -> None:
    query = "SELECT user, item, time, ':x' AS mark FROM sales WHERE note LIKE '50%' -- the end"
    shop.fetch(shop.card(sql(query=query)))
    assert shop.raw()["mark"].tolist() == [":x"]


def test_equal_rows_have_an_equal_fingerprint_and_others_another(shop: Shop, database: Path) -> None:
    first, again = shop.fetch(shop.card(sql())), shop.fetch(shop.card(sql()))
    assert (first.reused, again.reused) == (False, True)
    with sqlite3.connect(database) as connection:
        connection.execute("INSERT INTO sales VALUES (1, 'b', '2026-01-03', 1)")
    connection.close()
    changed = shop.fetch(shop.card(sql()))
    assert changed.fingerprint != first.fingerprint
    assert changed.rows == {"interactions": 4}


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("SELECT * FROM nowhere", r"could not run `source\.interactions`.*no such table"),
        ("SELECT user, item FROM sales", r"\['time'\] not found in the query `source\.interactions`"),
        ("SELECT * FROM sales WHERE 1 = 0", "has columns but no rows"),
        ("SELECT user, user, item, time FROM sales", r"column\(s\) \['user'\] twice"),
    ],
)
def test_faults_of_a_query_are_named(shop: Shop, database: Path, query: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        shop.fetch(shop.card(sql(query=query)))


def test_a_missing_sqlite_file_is_refused_and_not_made(shop: Shop) -> None:
    with pytest.raises(FetchError, match=r"no SQLite file .*other\.db"):
        shop.fetch(shop.card(sql("sqlite:///other.db")))
    assert not (shop.root / "other.db").exists()


def test_a_result_too_big_for_memory_is_refused(shop: Shop, database: Path) -> None:
    with pytest.raises(CapacityError, match="about 3 rows"):
        shop.fetch(shop.card(sql()), free_bytes=100)


def test_unset_variables_are_all_named(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHOP_USER", raising=False)
    monkeypatch.setenv("SHOP_PASSWORD", "")
    with pytest.raises(CardError, match="SHOP_PASSWORD, SHOP_USER"):
        shop.fetch(shop.card(sql("postgresql://${SHOP_USER}:${SHOP_PASSWORD}@db/shop")))


def test_a_password_may_have_any_characters_and_a_whole_url_may_be_one_variable() -> None:
    environment = {"PW": "p@ss:w/rd%", "HOST": "db.local", "URL": "sqlite:///x.db"}
    url = database_url("postgresql://me:${PW}@${HOST}:5432/shop", "shop", environment)
    assert (url.password, url.host, url.database) == ("p@ss:w/rd%", "db.local", "shop")
    assert database_url("${URL}", "shop", environment).database == "x.db"


def test_the_password_is_in_no_text(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PW", "hunter2")
    for url in ("nodriver://me:${PW}@127.0.0.1:1/shop", "no url ${PW}", "://${PW}@"):
        with pytest.raises((FetchError, CardError)) as caught:
            shop.fetch(shop.card(sql(url)))
        error: BaseException | None = caught.value
        while error is not None:
            assert "hunter2" not in str(error)
            error = None if error.__suppress_context__ else error.__cause__ or error.__context__

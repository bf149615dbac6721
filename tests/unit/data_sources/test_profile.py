"""`rectory init`: over exports of many shapes, the card that is written loads, fetches and validates."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rectory.data.card import Card, Feature, FilesSource, load_card
from rectory.data.profile import profile_files
from rectory.data.profile_columns import feature_guess, name_score, time_guess
from rectory.data.readers import fetch
from rectory.data.validation import validate
from rectory.errors import CardError, DataError, UsageError
from rectory.params.sections import ValidateParams
from rectory.workspace import Workspace

N = 1_500
RNG = np.random.default_rng(7)
TIMES = pd.Series(
    pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(np.sort(RNG.integers(0, 200 * 86_400, N)), "s")
)
USERS = [f"{code:05d}" for code in RNG.integers(0, 90, N)]
ITEMS = [f"A {code:03d}" for code in RNG.integers(0, 400, N)]
SECONDS = TIMES.astype("int64") // 10**9

Build = Callable[[Path], dict[str, Path]]


def german_shop(folder: Path) -> dict[str, Path]:
    """Semicolons, decimal comma, cp1252, day first, returns as negative quantities, dirt."""
    sales = pd.DataFrame(
        {
            "Bestellnr": np.arange(N) + 500_000,
            "Kundennr": USERS,
            "Artikelnr": ITEMS,
            "Bestelldatum": TIMES.dt.strftime("%d.%m.%Y %H:%M"),
            "Menge": RNG.choice([-1, 1, 2, 3], N, p=[0.02, 0.6, 0.3, 0.08]),
            "Einzelpreis": [f"{price:.2f}".replace(".", ",") for price in RNG.random(N) * 99],
            "Bemerkung": RNG.choice(["", "schön", "NULL"], N),
        }
    )
    products = pd.DataFrame(
        {
            "Artikelnr": sorted(set(ITEMS)),
            "Bezeichnung": [f"Schönes Stück {number}" for number in range(len(set(ITEMS)))],
            "Warengruppe": RNG.choice(["Hosen", "Röcke", "Hüte"], len(set(ITEMS))),
            "Farben": RNG.choice(["rot|blau", "grün", "rot|grün", "blau|gelb|rot"], len(set(ITEMS))),
            "Gewicht": [f"{weight:.3f}".replace(".", ",") for weight in RNG.random(len(set(ITEMS)))],
        }
    )
    text = sales.to_csv(sep=";", index=False) + "eine;zeile;mit;viel;zu;vielen;zellen;!\n"
    (folder / "Verkäufe 2026.csv").write_bytes(text.encode("cp1252"))
    products.to_csv(folder / "artikel.csv", sep=";", index=False, encoding="cp1252")
    return {"interactions": folder / "Verkäufe 2026.csv", "items": folder / "artikel.csv"}


def clickstream(folder: Path) -> dict[str, Path]:
    """Gzipped JSON lines, epoch milliseconds, several events, user table."""
    kinds = RNG.choice(["view", "add_to_cart", "purchase"], N, p=[0.7, 0.2, 0.1])
    lines = [
        json.dumps({"event_type": kind, "visitorId": user, "productId": item, "ts": int(second) * 1000})
        for kind, user, item, second in zip(kinds, USERS, ITEMS, SECONDS, strict=True)
    ]
    (folder / "events.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    people = pd.DataFrame({"id": sorted(set(USERS))})
    people["country"] = RNG.choice(["DE", "FR", "NO"], len(people))
    people["email"] = people["id"] + "@example.org"
    people.to_csv(folder / "people.csv", index=False)
    return {"interactions": folder / "events.jsonl.gz", "users": folder / "people.csv"}


def headerless_ratings(folder: Path) -> dict[str, Path]:
    """Tabs, no header, epoch seconds, like the classic u.data."""
    stars = RNG.integers(1, 6, N)
    frame = pd.DataFrame({"u": [int(user) for user in USERS], "i": RNG.integers(1, 200, N), "s": stars, "t": SECONDS})
    frame.to_csv(folder / "u.data", sep="\t", header=False, index=False)
    return {"interactions": folder / "u.data"}


def warehouse_parquet(folder: Path) -> dict[str, Path]:
    """Typed columns, timestamps, list features."""
    frame = pd.DataFrame({"customer_id": [int(user) for user in USERS], "sku": ITEMS, "created_at": TIMES})
    frame["amount"] = RNG.random(N) * 10
    frame.to_parquet(folder / "orders.parquet")
    items = pd.DataFrame({"sku": sorted(set(ITEMS))})
    items["name"] = [f"Thing {number}" for number in range(len(items))]
    items["description"] = [f"a very fine thing of sort {number} for you" for number in range(len(items))]
    items["tags"] = [["a", "b"] if number % 2 else ["b", "c"] for number in range(len(items))]
    items.to_parquet(folder / "items.parquet")
    return {"interactions": folder / "orders.parquet", "items": folder / "items.parquet"}


def french_bom(folder: Path) -> dict[str, Path]:
    """A spreadsheet's UTF-8 with a mark in front, day first with slashes, quoted cells."""
    frame = pd.DataFrame({"Date": TIMES.dt.strftime("%d/%m/%Y"), "Client": USERS, "Produit": ITEMS})
    frame["Quantité"] = RNG.integers(1, 4, N)
    frame.to_csv(folder / "ventes.csv", sep=";", index=False, encoding="utf-8-sig", quoting=1)
    return {"interactions": folder / "ventes.csv"}


def american(folder: Path) -> dict[str, Path]:
    """Month first with AM and PM, commas, camel case, an index column without a name."""
    frame = pd.DataFrame({"InvoiceDate": TIMES.dt.strftime("%m/%d/%Y %I:%M %p"), "StockCode": ITEMS})
    frame["CustomerID"], frame["Quantity"] = USERS, RNG.integers(1, 9, N)
    frame["UnitPrice"] = np.round(RNG.random(N) * 9, 2)
    frame.to_csv(folder / "Online Retail.csv")
    return {"interactions": folder / "Online Retail.csv"}


def utf16_spanish(folder: Path) -> dict[str, Path]:
    frame = pd.DataFrame({"fecha": TIMES.dt.strftime("%Y-%m-%d %H:%M:%S"), "usuario": USERS, "artículo": ITEMS})
    frame.to_csv(folder / "ventas.tsv", sep="\t", index=False, encoding="utf-16")
    return {"interactions": folder / "ventas.tsv"}


def init(folder: Path, build: Build) -> Card:
    files = build(folder)
    text = profile_files(files["interactions"], files.get("items"), files.get("users"), "mine", project=folder)
    (folder / "datasets").mkdir()
    (folder / "datasets" / "mine.yaml").write_text(text, encoding="utf-8")
    return load_card(folder / "datasets" / "mine.yaml")


SHAPES: dict[Build, tuple[str, str, str, str]] = {
    german_shop: ("Kundennr", "Artikelnr", "Bestelldatum", "%d.%m.%Y %H:%M"),
    clickstream: ("visitorId", "productId", "ts", "epoch_ms"),
    headerless_ratings: ("column_1", "column_2", "column_4", "epoch_s"),
    warehouse_parquet: ("customer_id", "sku", "created_at", "auto"),
    french_bom: ("Client", "Produit", "Date", "%d/%m/%Y"),
    american: ("CustomerID", "StockCode", "InvoiceDate", "%m/%d/%Y %I:%M %p"),
    utf16_spanish: ("usuario", "artículo", "fecha", "iso"),
}


@pytest.mark.parametrize("build", SHAPES, ids=lambda build: build.__name__)
def test_the_card_loads_fetches_and_validates(tmp_path: Path, build: Build) -> None:
    card = init(tmp_path, build)
    log = card.interactions
    assert (log.user_id, log.item_id, log.timestamp.column, log.timestamp.format) == SHAPES[build]
    workspace = Workspace(tmp_path / "run", tmp_path)
    facts = fetch(card, workspace, 0.8, say=lambda _: None)
    dirty = build is german_shop
    assert facts.rows["interactions"] == N + dirty
    done = validate(card, workspace.raw, ValidateParams(), None, None)
    counts = done.report["tables"]["interactions"]
    assert done.refusal is None
    assert counts["rows_in"] == counts["rows_kept"] + counts["rows_quarantined"] + counts["rows_filtered"] == N + dirty
    assert counts["rows_quarantined"] <= 2 + int(build in {french_bom, headerless_ratings}) * N * 0.02
    assert (counts["rows_filtered"] > 0) == dirty


def test_a_german_shop_in_detail(tmp_path: Path) -> None:
    card = init(tmp_path, german_shop)
    assert isinstance(card.source, FilesSource)
    spec = card.source.interactions
    assert (spec.path, spec.encoding, spec.separator, spec.decimal) == ("Verkäufe 2026.csv", "cp1252", ";", ",")
    assert spec.nulls == ("NULL",)
    assert (card.interactions.value, card.interactions.context) == ("Menge", {"price": "Einzelpreis"})
    assert [one.keep for one in card.interactions.filters] == ["Menge > 0"]
    assert card.items is not None
    assert (card.items.id, card.items.title) == ("Artikelnr", "Bezeichnung")
    assert {name: one.kind for name, one in card.items.features.items()} == {
        "warengruppe": "categorical",
        "farben": "multi",
        "gewicht": "numeric",
    }


def test_a_clickstream_in_detail(tmp_path: Path) -> None:
    card = init(tmp_path, clickstream)
    assert card.interactions.event == "event_type"
    assert card.interactions.weights == {"view": 1, "add_to_cart": 2, "purchase": 4}
    assert card.interactions.targets == ("purchase",)
    assert card.users is not None
    assert set(card.users.features) == {"country"}  # the address is personal, and no feature


def test_a_warehouse_in_detail(tmp_path: Path) -> None:
    card = init(tmp_path, warehouse_parquet)
    assert card.interactions.context == {"price": "amount"}
    assert card.items is not None
    assert card.items.title == "name"
    assert {name: one.kind for name, one in card.items.features.items()} == {"description": "text", "tags": "multi"}


@pytest.mark.parametrize(("items", "expected"), [(5, "allow"), (100_000, "exclude")])
def test_repeats_follow_the_share_of_pairs_that_come_again(tmp_path: Path, items: int, expected: str) -> None:
    frame = pd.DataFrame({"user": USERS, "item": RNG.integers(0, items, N), "time": TIMES})
    frame.to_csv(tmp_path / "log.csv", index=False)
    text = profile_files(tmp_path / "log.csv", None, None, None, project=tmp_path)
    assert f"repeats: {expected}" in text


def test_a_log_that_ended_long_ago_is_historic(tmp_path: Path) -> None:
    for years, expected in ((0, "false"), (-9, "true")):
        now = pd.Timestamp.now("UTC") + pd.DateOffset(years=years)
        frame = pd.DataFrame({"user": USERS, "item": ITEMS, "time": now - (TIMES.max() - TIMES)})
        frame.to_csv(tmp_path / "log.csv", index=False)
        assert f"historic: {expected}" in profile_files(tmp_path / "log.csv", None, None, None)


def test_a_log_without_times_is_refused_with_the_reason(tmp_path: Path) -> None:
    pd.DataFrame({"user_id": USERS, "item_id": ITEMS, "phone": RNG.integers(10**9, 2 * 10**9, N)}).to_csv(
        tmp_path / "log.csv", index=False
    )
    with pytest.raises(CardError, match=r"holds times\. Rectory evaluates under time: .*Export the log with"):
        profile_files(tmp_path / "log.csv", None, None, None)


def test_a_log_without_items_is_refused(tmp_path: Path) -> None:
    pd.DataFrame({"user_id": USERS, "time": TIMES}).to_csv(tmp_path / "log.csv", index=False)
    with pytest.raises(CardError, match=r"recognised as the item's id\. Rename it to item_id"):
        profile_files(tmp_path / "log.csv", None, None, None)


def test_an_item_table_of_another_shop_is_refused(tmp_path: Path) -> None:
    pd.DataFrame({"user": USERS, "item": ITEMS, "time": TIMES}).to_csv(tmp_path / "log.csv", index=False)
    pd.DataFrame({"item": ["x1", "x2"], "colour": ["red", "blue"]}).to_csv(tmp_path / "items.csv", index=False)
    with pytest.raises(CardError, match=r"items\.csv: none of its columns .* holds an id of log\.csv"):
        profile_files(tmp_path / "log.csv", tmp_path / "items.csv", None, None)


def test_missing_and_empty_files_and_unsafe_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file"):
        profile_files(tmp_path / "no.csv", None, None, None)
    (tmp_path / "empty.csv").touch()
    with pytest.raises(DataError, match="is empty"):
        profile_files(tmp_path / "empty.csv", None, None, None)
    with pytest.raises(UsageError, match="cannot be used as a file name"):
        profile_files(tmp_path / "empty.csv", None, None, "../../x")


def test_the_default_name_is_made_of_the_file_name(tmp_path: Path) -> None:
    pd.DataFrame({"user": USERS, "item": ITEMS, "time": TIMES}).to_csv(tmp_path / "Été & Co.csv.gz", index=False)
    assert "name: t_co\n" in profile_files(tmp_path / "Été & Co.csv.gz", None, None, None)


def test_a_large_file_is_sampled_from_both_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rectory.data.profile_dialect._HEAD_BYTES", 1 << 14)
    monkeypatch.setattr("rectory.data.profile_dialect._TAIL_BYTES", 1 << 14)
    monkeypatch.setattr("rectory.data.profile_dialect._PIECE_BYTES", 1 << 12)
    pd.DataFrame({"user": USERS, "item": ITEMS, "time": TIMES}).to_csv(tmp_path / "log.csv", index=False)
    text = profile_files(tmp_path / "log.csv", None, None, None)
    assert f"newest row is of {TIMES.max():%Y-%m-%d}" in text
    assert "in a sample of the file" in text


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["2026-01-05T10:00:00+02:00", "2026-01-06T10:00:00.5Z"], "iso"),
        (["1767261600", "1767261601"], "epoch_s"),
        (["1767261600000"], "epoch_ms"),
        (["1767261600000000"], "epoch_us"),
        (["20260105", "20261231"], "%Y%m%d"),
        (["31.12.2025 23:59", "01.01.2026 00:00"], "%d.%m.%Y %H:%M"),
        (["12/31/2025"], "%m/%d/%Y"),
        (["01/02/2026", "02/02/2026", "01/03/2026"], "%d/%m/%Y"),
        (["01/02/2026", "01/03/2026", "02/01/2026"], "%m/%d/%Y"),
        (["12", "13"], None),
        (["soon", "later"], None),
    ],
)
def test_formats_of_time_are_recognised(cells: list[str], expected: str | None) -> None:
    guess = time_guess(pd.Series(cells))
    assert (guess.format if guess else None) == expected


def test_a_date_that_reads_both_ways_is_marked() -> None:
    guess = time_guess(pd.Series(["01/02/2026", "02/02/2026"]))
    assert guess is not None
    assert guess.ambiguous


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("Kundennummer", "user"),
        ("household_id", "user"),
        ("user_id:token", "user"),
        ("codeArticle", "item"),
        ("ArtikelNr.", "item"),
        ("Verkaufsdatum", "time"),
        ("added_at", "time"),
        ("Größenbewertung", "value"),
    ],
)
def test_names_of_several_languages_speak_for_their_role(name: str, role: str) -> None:
    scores = {each: name_score(name, each) for each in ("user", "item", "time", "event", "value")}
    assert max(scores, key=lambda each: scores[each]) == role


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["red", "blue", "red", "blue"] * 5, Feature(column="c")),
        ([f"{number}.5" for number in range(20)], Feature(column="c", kind="numeric")),
        (["a|b", "b|c", "a", "c"] * 5, Feature(column="c", kind="multi")),
        ([f"a long text about {number}" for number in range(20)], Feature(column="c", kind="text")),
        ([f"https://example.org/{number}" for number in range(20)], "web addresses"),
        ([f"code{number}" for number in range(20)], "another value for nearly each row"),
        (["x"] * 20, "the same in all rows"),
        ([None] * 20, "empty"),
    ],
)
def test_kinds_of_features_follow_their_cells(cells: list[str | None], expected: Feature | str) -> None:
    assert feature_guess("c", pd.Series(cells, dtype=object), ".") == expected

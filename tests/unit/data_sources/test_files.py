"""Files: every dialect arrives as it was written, every fault is named with its cure."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rectory.data import readers, tabular
from rectory.data.card import UNREADABLE
from rectory.errors import CapacityError, DataError, FetchError

from .conftest import ITEMS, ROWS, USERS, Shop

Write = Callable[[str, str | bytes], Path]
EXPECTED = ROWS.replace({"": None})


def as_csv(separator: str = ",", **options: object) -> str:
    return ROWS.to_csv(sep=separator, index=False, **options)


@pytest.mark.parametrize(
    ("name", "content", "dialect"),
    [
        ("log.csv", as_csv().encode(), {}),
        ("log.csv.gz", gzip.compress(as_csv().encode()), {}),
        ("log.csv", as_csv(";").encode(), {"separator": ";"}),
        ("log.tsv", as_csv("\t").encode(), {"separator": "\t"}),
        ("log.csv", as_csv("|", quoting=1).encode(), {"separator": "|"}),
        ("log.csv", as_csv().encode("utf-8-sig"), {}),
        ("log.csv", as_csv().encode("utf-8-sig"), {"encoding": "utf-8-sig"}),
        ("log.csv", as_csv().encode("utf-16"), {"encoding": "utf-16"}),
        ("log.csv", as_csv().replace("\n", "\r\n").encode(), {}),
        ("log.dump", as_csv().encode(), {"format": "csv"}),
        ("log.csv", as_csv(header=False).encode(), {"columns": list(ROWS)}),
    ],
)
def test_csv_of_every_dialect_keeps_each_cell_as_written(
    shop: Shop, write: Write, name: str, content: bytes, dialect: dict[str, object]
) -> None:
    write(name, content)
    pd.testing.assert_frame_equal(shop.read(name, **dialect), EXPECTED)


def test_cp1252_and_quoted_separators_and_line_breaks(shop: Shop, write: Write) -> None:
    write("log.csv", 'user;item;time\n"Müller; Söhne";"a ""b""\nc";2026-01-01\n'.encode("cp1252"))
    raw = shop.read("log.csv", separator=";", encoding="cp1252")
    assert raw.to_numpy().tolist() == [["Müller; Söhne", 'a "b"\nc', "2026-01-01"]]


def test_quotes_are_text_when_the_card_says_so(shop: Shop, write: Write) -> None:
    write("log.tsv", 'user\titem\ttime\nu\t"Great Expectations\t1\n')
    assert shop.read("log.tsv", separator="\t", quoting=False)["item"].tolist() == ['"Great Expectations']


def test_declared_spellings_of_missing_are_missing_and_no_others(shop: Shop, write: Write) -> None:
    write("log.csv", "user,item,time\nNULL,NA,1\n\\N,b,2\n")
    raw = shop.read("log.csv", nulls=["NULL", "\\N"])
    assert raw["user"].isna().all()
    assert raw["item"].tolist() == ["NA", "b"]


def test_jsonl_keeps_digits_flattens_records_and_joins_lists(shop: Shop, write: Write) -> None:
    lines = [
        {"user": {"id": "007"}, "item": 12345678901234567890, "time": "2026-01-01", "tags": ["a", "b|c"]},
        {"user": {"id": 7}, "item": "x", "time": 1.10, "tags": None, "late": True},
    ]
    text = json.dumps(lines[0]) + "\n\n" + json.dumps(lines[1]).replace("1.1", "1.10") + "\n"
    for name, content in (("log.jsonl", text.encode()), ("log.jsonl.gz", gzip.compress(text.encode()))):
        write(name, content)
        card = shop.card({"kind": "files", "interactions": {"path": name}}, interactions={"user_id": "user.id"})
        shop.fetch(card)
        raw = shop.raw()
        assert raw["user.id"].tolist() == ["007", "7"]
        assert raw["item"].tolist() == ["12345678901234567890", "x"]
        assert raw["time"].tolist() == ["2026-01-01", "1.10"]
        assert raw["tags"].tolist() == ["a|b|c", None]
        assert raw["late"].tolist() == [None, "true"]


def test_jsonl_lists_of_an_item_feature_take_the_separator_of_the_card(shop: Shop, write: Write) -> None:
    write("log.csv", as_csv())
    write("items.jsonl", '{"sku": 1, "tags": ["red", "blue"]}\n')
    card = shop.card(
        {"kind": "files", "interactions": {"path": "log.csv"}, "items": {"path": "items.jsonl"}},
        items={"id": "sku", "features": {"tags": {"column": "tags", "kind": "multi", "separator": ";"}}},
    )
    shop.fetch(card)
    assert shop.raw("items").to_numpy().tolist() == [["1", "red;blue"]]


def test_parquet_keeps_types_and_makes_ids_text(shop: Shop) -> None:
    table = pa.table(
        {
            "user": pa.array([1.0, None, 2.5, 3.0]),
            "item": pa.array([2**60 + 1, 0, -4, None]),
            "time": pa.array(np.array(["2026-01-01"] * 4, dtype="datetime64[us]")),
            "tags": pa.array([["a", "b"], [], None, ["c"]]),
        }
    )
    pq.write_table(table, shop.root / "log.parquet")
    raw = shop.read("log.parquet")
    assert raw["user"].tolist() == ["1", None, "2.5", "3"]
    assert raw["item"].tolist() == ["1152921504606846977", "0", "-4", None]
    assert raw["time"].dtype.kind == "M"
    assert raw["tags"].tolist() == ["a|b", "", None, "c"]


def test_globs_are_read_in_sorted_order_with_columns_in_any_order(shop: Shop, write: Write) -> None:
    write("days/b.csv", "time,item,user\n2,i2,u2\n")
    write("days/a.csv", "user,item,time\nu1,i1,1\n")
    write("days/c.csv.gz", gzip.compress(b"user,item,time\nu3,i3,3\n"))
    raw = shop.read("days/*.csv*")
    assert raw["_source_file"].tolist() == ["days/a.csv", "days/b.csv", "days/c.csv.gz"]
    rows = raw[["user", "item", "time"]].to_numpy().tolist()
    assert rows == [["u1", "i1", "1"], ["u2", "i2", "2"], ["u3", "i3", "3"]]


def test_a_folder_that_looks_partitioned_adds_no_column(shop: Shop) -> None:
    folder = shop.root / "day=2026-01-01"
    folder.mkdir()
    ROWS.to_parquet(folder / "part.parquet")
    assert list(shop.read("day=*/*.parquet").columns) == list(ROWS)


def test_a_file_with_other_columns_is_set_aside_and_both_are_named(shop: Shop, write: Write) -> None:
    write("days/a.csv", "user,item,time\nu1,i1,1\n")
    write("days/b.csv", "user,item,time,more\nu2,i2,2,3\n")
    why = shop.fetch(shop.files_card("days/*.csv")).files_set_aside["days/b.csv"]
    assert re.search(r"b\.csv has other columns than .*a\.csv.*lacks \[\] and adds \['more'\]", why)
    assert shop.raw()["user"].tolist() == ["u1", None]


def test_lines_that_do_not_parse_are_kept_as_rows_to_quarantine(shop: Shop, write: Write) -> None:
    write("log.csv", "user,item,time\nu1,i1,1\nu2,i2,2,extra\nu3,i3,3\n")
    raw = shop.read("log.csv")
    assert raw["user"].tolist() == ["u1", "u3", None]
    assert raw[UNREADABLE].tolist() == [None, None, "u2,i2,2,extra"]
    write("log.jsonl", '{"user": "u1", "item": "i1", "time": 1}\n[1]\n{"user": "u2", "it\n')
    raw = shop.read("log.jsonl")
    assert raw["user"].tolist() == ["u1", None, None]
    assert raw[UNREADABLE].tolist() == [None, "[1]", '{"user": "u2", "it']


@pytest.mark.parametrize(
    ("name", "content", "dialect", "says"),
    [
        ("log.csv", b"", {}, r"log\.csv is empty"),
        ("log.csv", b"user,item,time\n", {}, "has columns but no rows"),
        ("log.csv", b"user,item,when\nu,i,1\n", {}, r"column\(s\) \['time'\] not found in log\.csv; it has .*'when'"),
        ("log.csv", b"user;item;time\nu;i;1\n", {}, "is `separator:` in `source:` right"),
        ("log.csv", b"user,user,time\nu,i,1\n", {}, r"\['user'\] stand twice"),
        ("log.csv", "user,item,time\nZoë,i,1\n".encode("cp1252"), {}, "not in the encoding utf-8.*`encoding:`"),
        ("log.csv", b"user,item,time\nu,i,1\n", {"encoding": "klingon"}, "no encoding named 'klingon'"),
        ("log.csv.gz", gzip.compress(as_csv().encode() * 99)[:-40], {}, "damaged or truncated gzip"),
        ("log.parquet", b"PAR1 and then nothing", {}, "cannot be read as parquet.*truncated"),
        ("log.jsonl", b"\n\n", {}, "not found in"),
    ],
)
def test_faults_of_a_file_are_named_with_a_cure(
    shop: Shop, write: Write, name: str, content: bytes, *, dialect: dict[str, object], says: str
) -> None:
    write(name, content)
    with pytest.raises(DataError, match=says):
        shop.read(name, **dialect)
    assert not shop.workspace.raw.exists()


def test_a_truncated_parquet_is_refused(shop: Shop) -> None:
    path = shop.root / "log.parquet"
    ROWS.to_parquet(path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match="cannot be read as parquet"):
        shop.read("log.parquet")


def test_a_missing_file_and_a_folder_are_refused(shop: Shop) -> None:
    with pytest.raises(FetchError, match=r"no file matches .*nowhere\.csv.*datasets/shop\.yaml"):
        shop.read("nowhere.csv")
    (shop.root / "logs").mkdir()
    with pytest.raises(FetchError, match=r"is a folder.*logs/\*\.csv"):
        shop.read("logs")


def test_a_file_replaced_while_it_is_read_is_refused(shop: Shop, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("log.csv", as_csv())
    real = tabular._READERS["csv"]

    def slowly(file: Path, spec: tabular.TableFile) -> pa.Table:
        table = real(file, spec)
        path.write_text(as_csv() + "u,i,1,1\n")
        return table

    monkeypatch.setitem(tabular._READERS, "csv", slowly)
    with pytest.raises(DataError, match="was changed while it was read"):
        shop.read("log.csv")
    assert not shop.workspace.raw.exists()


def test_an_unchanged_source_is_not_read_again(shop: Shop, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("log.csv", as_csv())
    first = shop.fetch(shop.files_card("log.csv"))
    before = (shop.workspace.raw / "interactions.parquet").stat().st_mtime_ns
    with monkeypatch.context() as patched:
        patched.setattr(readers, "ingest", lambda *_: pytest.fail("read again"))
        again = shop.fetch(shop.files_card("log.csv").model_copy(update={"description": "other words"}))
    assert again.reused
    assert not first.reused
    assert again.fingerprint == first.fingerprint
    assert (shop.workspace.raw / "interactions.parquet").stat().st_mtime_ns == before
    write("log.csv", as_csv() + "u,i,1,1\n")
    changed = shop.fetch(shop.files_card("log.csv"))
    assert not changed.reused
    assert changed.rows == {"interactions": len(ROWS) + 1}
    (shop.workspace.raw / "interactions.parquet").unlink()
    assert not shop.fetch(shop.files_card("log.csv")).reused


def test_a_failed_fetch_leaves_the_last_good_tables(shop: Shop, write: Write) -> None:
    write("log.csv", as_csv())
    shop.read("log.csv")
    write("log.csv", "user,item\nu,i\n")
    with pytest.raises(DataError):
        shop.read("log.csv")
    assert shop.raw()["user"].tolist() == USERS
    assert shop.raw()["item"].tolist() == ITEMS
    assert sorted(path.name for path in shop.workspace.raw.parent.iterdir()) == ["raw"]


def test_two_fetches_of_the_same_file_give_equal_bytes(tmp_path: Path, write: Write) -> None:
    write("log.csv", as_csv())
    shops = [Shop(tmp_path), Shop(tmp_path)]
    shops[1].workspace.root = tmp_path / "other"
    for one in shops:
        one.fetch(one.files_card("log.csv"))
    assert readers.sha256_file(shops[0].workspace.raw / "interactions.parquet") == readers.sha256_file(
        shops[1].workspace.raw / "interactions.parquet"
    )


def test_a_source_too_big_for_memory_is_refused_before_it_is_read(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "ingest", lambda *_: pytest.fail("read"))
    constant = pa.array(np.zeros(1_000_000, dtype=np.int8))
    pq.write_table(pa.table(dict.fromkeys(["user", "item", "time"], constant)), shop.root / "log.parquet")
    with pytest.raises(CapacityError, match=r"about 0\.2 GiB.*about 1,000,000 rows.*fetch\.max_memory_share"):
        shop.fetch(shop.files_card("log.parquet"), free_bytes=10 << 20)


@pytest.mark.parametrize("pack", [lambda data: data, gzip.compress])
def test_rows_of_text_files_are_estimated_from_a_sample(
    shop: Shop, write: Write, pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rectory.data.capacity._SAMPLE_BYTES", 1 << 20)
    rng = np.random.default_rng(0)
    lines = b"".join(b"%d,%d,%d\n" % tuple(row) for row in rng.integers(0, 10**6, (100_000, 3)))
    path = write("log.csv.gz", pack(b"user,item,time\n" + lines))
    size = tabular.estimate_size([path], shop.files_card("log.csv.gz").source.interactions)
    assert size.text_columns == 3
    assert 0.8 * 100_000 < size.rows < 1.2 * 100_000


def test_licence_and_citation_are_shown_once(shop: Shop, write: Write) -> None:
    write("log.csv", as_csv())
    card = shop.files_card("log.csv").model_copy(update={"licence": "ask first", "citation": "A. Author"})
    shop.fetch(card)
    shop.fetch(card)
    assert sum("ask first" in line and "A. Author" in line for line in shop.said) == 1

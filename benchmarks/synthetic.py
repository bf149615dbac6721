"""A synthetic shop log of any size: Zipf users and items, half a year of time, three events, a few bad rows.

Made a piece at a time, so that the size of the log does not matter to memory; equal arguments give equal rows.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from rectory.arrays import Array

ITEMS = 20_000
"""The catalogue does not grow with the log: a shop that is open twice as long sells the same things."""
ROWS_PER_USER = 20
PIECE_ROWS = 1_000_000
BAD_SHARE = 0.001
DAYS = 182
_START = np.datetime64("2025-01-01T00:00:00", "s")
_EVENTS = ("view", "cart", "buy")
_EVENT_SHARES = (0.75, 0.1, 0.15)
_USER_EXPONENT, _ITEM_EXPONENT = 0.7, 1.0

CARD = """\
name: synthetic
description: A synthetic shop log, made by benchmarks/synthetic.py.
licence: none
historic: true
source:
  kind: files
  interactions: {path: "exports/log-*.%(ending)s"}
  items: {path: exports/items.csv}
interactions:
  user_id: customer
  item_id: sku
  timestamp: {column: at, format: iso}
  event: what
  weights: {view: 0.2, cart: 0.5, buy: 1.0}
  context: {price: price}
  repeats: allow
items:
  id: sku
  title: name
  features:
    category: {column: category, kind: categorical}
    price: {column: price, kind: numeric}
"""


def zipf_ranks(rng: np.random.Generator, distinct: int, exponent: float, n: int) -> Array:
    """(n,) int64 ranks from 0, rank r drawn with a probability proportional to (r + 1) ** -exponent."""
    cumulative = np.cumsum(np.arange(1, distinct + 1, dtype=np.float64) ** -exponent)
    found = np.searchsorted(cumulative, rng.random(n) * cumulative[-1], side="right")
    return np.minimum(found, distinct - 1)


def piece(rows: int, number: int, of: int, users: int, seed: int) -> pa.Table:
    """Piece `number` (from 0) of the log, in order of time: `rows` rows of text columns, `BAD_SHARE` of them bad."""
    rng = np.random.default_rng([seed, number])
    # Ranks are shuffled, the same way in each piece: the busiest user is not the first in the alphabet.
    shuffled = np.random.default_rng(seed)
    user = shuffled.permutation(users)[zipf_ranks(rng, users, _USER_EXPONENT, rows)]
    item = shuffled.permutation(ITEMS)[zipf_ranks(rng, ITEMS, _ITEM_EXPONENT, rows)]
    span = DAYS * 86_400 / of
    at = _START + np.sort(rng.random(rows) * span + number * span).astype("timedelta64[s]")
    event = rng.choice(len(_EVENTS), size=rows, p=_EVENT_SHARES)
    price = np.round(rng.gamma(3.0, 8.0, rows), 2)
    bad = rng.random(rows)
    nobody, someday = bad < BAD_SHARE / 2, (bad >= BAD_SHARE / 2) & (bad < BAD_SHARE)
    nothing = pa.scalar(None, pa.string())
    return pa.table(
        {
            "customer": pc.if_else(pa.array(nobody), nothing, _ids("u", user, 8)),
            "sku": _ids("i", item, 6),
            "at": pc.if_else(pa.array(someday), "yesterday", pa.array(at).cast(pa.string())),
            "what": pa.array(_EVENTS).take(pa.array(event)),
            "price": pa.array(price).cast(pa.string()),
        }
    )


def write_log(folder: Path, rows: int, *, ending: str = "csv.gz", seed: int = 7) -> int:
    """Write exports/log-*.<ending>, exports/items.csv and the card below a project folder; gives the bytes of the log.

    Args:
        ending: csv, csv.gz or parquet.
    """
    exports = folder / "exports"
    exports.mkdir(parents=True, exist_ok=True)
    pieces = max(1, round(rows / PIECE_ROWS))
    bounds = np.linspace(0, rows, pieces + 1).astype(int)
    size = 0
    for number in range(pieces):
        table = piece(int(bounds[number + 1] - bounds[number]), number, pieces, max(1, rows // ROWS_PER_USER), seed)
        path = exports / f"log-{number:04d}.{ending}"
        if ending == "parquet":
            pq.write_table(table, path, compression="zstd")
        else:
            # Level 1: the log is read once, and packing it harder would take longer than all that is measured.
            with gzip.open(path, "wb", 1) if ending.endswith(".gz") else path.open("wb") as out:
                pa_csv.write_csv(table, out)
        size += path.stat().st_size
    _write_items(exports / "items.csv", seed)
    (folder / "datasets").mkdir(exist_ok=True)
    (folder / "datasets" / "synthetic.yaml").write_text(CARD % {"ending": ending}, encoding="utf-8")
    return size


def _ids(letter: str, codes: Array, width: int) -> pa.Array:
    return pc.binary_join_element_wise(letter, pc.utf8_lpad(pa.array(codes).cast(pa.string()), width, "0"), "")


def _write_items(path: Path, seed: int) -> None:
    rng = np.random.default_rng([seed, 1 << 30])
    codes = np.arange(ITEMS)
    table = pa.table(
        {
            "sku": _ids("i", codes, 6),
            "name": _ids("Thing ", codes, 1),
            "category": _ids("category ", rng.integers(0, 200, ITEMS), 1),
            "price": pa.array(np.round(rng.gamma(3.0, 8.0, ITEMS), 2)),
        }
    )
    pa_csv.write_csv(table, path)

"""A shop whose log comes in a file a day, and what is true of it: which rows are good, which are not, and why."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from tests.installed import without
from tests.shop import CARD, make_project

FIRST_DAY = pd.Timestamp("2025-01-01", tz="UTC")
HISTORY_DAYS = 30
_HISTORY_FILES = 6
_USERS, _ITEMS, _ROWS = 200, 60, 90
_BAD, _TEST_ORDERS, _DOUBLE, _LATE = 4, 2, 2, 5
_TIME = "%Y-%m-%dT%H:%M:%S.%f%z"

Key = tuple[str, str, int]
"""User, item, microseconds since 1970."""


def as_of(day: int) -> pd.Timestamp:
    """Midnight at the end of a simulated day; day 1 is the first after the history."""
    return FIRST_DAY + pd.Timedelta(days=HISTORY_DAYS + day)


@dataclass
class Truth:
    """What has ever been put into the folder, less what lies in a file that is poisoned now."""

    good: set[Key] = field(default_factory=set)
    lines: int = 0
    bad: int = 0
    test_orders: int = 0
    late: int = 0

    def add(self, other: Truth) -> None:
        self.good |= other.good
        self.lines += other.lines
        self.bad += other.bad
        self.test_orders += other.test_orders
        self.late += other.late


class Shop:
    """Makes the project and drops files into its source folder.

    Args:
        folder: where the project is made.
        seed: equal seeds give equal files.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self._draw = np.random.default_rng([seed, 1])
        self._times: set[int] = set()
        self._poisoned: dict[Path, tuple[bytes, Truth]] = {}
        self.truth = Truth()
        self.project = without(make_project(folder, code=True), "blend", "lightfm_hybrid", "popularity")
        self.exports = self.project / "exports"
        (self.exports / "sales.csv").unlink()
        card = CARD.replace("exports/sales.csv", "exports/sales-*.csv")
        (self.project / "datasets" / "shop.yaml").write_text(card, encoding="utf-8")
        each = HISTORY_DAYS // _HISTORY_FILES
        for number in range(_HISTORY_FILES):
            days = range(number * each - HISTORY_DAYS + 1, (number + 1) * each - HISTORY_DAYS + 1)
            text, truth = self._file(days)
            self._put(self._path(days[-1]), text)
            self.truth.add(truth)

    def day(self, day: int, faults: Iterable[str]) -> list[str]:
        """Drop the file of a day; what was poisoned before is mended. faults: same_file_twice, poisoned_file.

        Returns:
            What was done, in words.
        """
        done = self.mend()
        path = self._path(day)
        text, truth = self._file(range(day, day + 1), again=self._path(day - 1))
        if "poisoned_file" in faults:
            self._poisoned[path] = (text, truth)
            self._put(path, self._poison(text))
            done.append(f"{path.name} is poisoned")
        else:
            self._put(path, text)
            self.truth.add(truth)
        if "same_file_twice" in faults:
            self._put(self._copy_of(path), path.read_bytes())
            done.append(f"{path.name} came twice")
        return done

    def mend(self) -> list[str]:
        """What is poisoned is sent again, whole; says so."""
        done = []
        for path, (text, truth) in self._poisoned.items():
            self._put(path, text)
            self._copy_of(path).unlink(missing_ok=True)
            self.truth.add(truth)
            done.append(f"{path.name} was sent again, whole")
        self._poisoned.clear()
        return done

    def _copy_of(self, path: Path) -> Path:
        return path.with_name(f"{path.stem}-again.csv")

    def _path(self, day: int) -> Path:
        return self.exports / f"sales-{as_of(day - 1):%Y-%m-%d}.csv"

    def _put(self, path: Path, text: bytes) -> None:
        scratch = path.with_suffix(".part")
        scratch.write_bytes(text)
        os.replace(scratch, path)

    def _file(self, days: range, again: Path | None = None) -> tuple[bytes, Truth]:
        """Text of one file and what is true of it. again: a file of which two lines are sent once more."""
        rows = pd.concat([self._rows(day, _ROWS) for day in days], ignore_index=True)
        late = self._rows(days[0], 0)
        if days[0] > 0:
            late = pd.concat([self._rows(days[0] - int(self._draw.integers(2, 9)), 1) for _ in range(_LATE)])
        good = pd.concat([rows, late], ignore_index=True)
        stamps = pd.to_datetime(good["at"], format="ISO8601", utc=True)
        keys = set(zip(good["customer"], good["sku"], stamps.dt.as_unit("us").astype("int64"), strict=True))
        bad = self._rows(days[0], _BAD)
        bad.loc[bad.index[:2], "customer"] = None
        bad.loc[bad.index[2:], "at"] = "yesterday"
        orders = self._rows(days[0], _TEST_ORDERS).assign(price=5000.0)
        double = good.iloc[self._draw.choice(len(rows), _DOUBLE, replace=False)]
        text = pd.concat([good, bad, orders, double]).to_csv(index=False).encode()
        doubled = _DOUBLE
        if again is not None and again not in self._poisoned:
            sent = again.read_bytes().splitlines(keepends=True)[1:3]
            text, doubled = text + b"".join(sent), doubled + len(sent)
        lines = text.count(b"\n") - 1
        return text, Truth(keys, lines, _BAD + doubled, _TEST_ORDERS, len(late))

    def _rows(self, day: int, count: int) -> pd.DataFrame:
        """Rows of one day; user u likes items of category u % 4. No two rows of the shop have the same time."""
        draw = self._draw
        user = draw.integers(0, _USERS, count)
        category = np.where(draw.random(count) < 0.8, user % 4, draw.integers(0, 4, count))
        item = category + 4 * np.minimum(draw.geometric(0.2, count) - 1, _ITEMS // 4 - 1)
        start = int(as_of(day - 1).value // 1000)
        times = [self._time(start) for _ in range(count)]
        at = pd.to_datetime(np.array(sorted(times), dtype="int64"), unit="us", utc=True)
        return pd.DataFrame(
            {
                "customer": pd.Series([f"{code:05d}" for code in user], dtype=object),
                "sku": pd.Series([f"{code:04d}" for code in item], dtype=object),
                "at": pd.Series(list(at.strftime(_TIME)), dtype=object),
                "what": np.where(draw.random(count) < 0.3, "view", "buy"),
                "price": np.round(draw.gamma(3.0, 4.0, count), 2),
            }
        )

    def _time(self, start: int) -> int:
        while True:
            time = start + int(self._draw.integers(0, 86_400_000_000))
            if time not in self._times:
                self._times.add(time)
                return time

    def _poison(self, text: bytes) -> bytes:
        """Bytes that are no text, columns shifted by one, or nothing at all."""
        kind = int(self._draw.integers(3))
        if kind == 0:
            return self._draw.bytes(2000)
        if kind == 1:
            header, *lines = text.splitlines(keepends=True)
            return header + b"".join(b"," + line for line in lines)
        return b""

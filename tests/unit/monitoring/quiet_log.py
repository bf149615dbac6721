"""Synthetic logs of a shop where nothing changes but chance, and some with a change planted in the newest window."""

from __future__ import annotations

import numpy as np
import pandas as pd

from rectory.monitoring.behaviour import Log, read_log
from rectory.monitoring.plan import Plan, make_plan

START = pd.Timestamp("2024-01-01", tz="UTC")
WINDOW_DAYS = 7
EVENTS = ("buy", "cart", "view")
CATEGORIES = ("bread", "drinks", "fruit", "garden", "meat", "toys")
NEW_EVENT_MIX = (0.3, 0.3, 0.4)


def quiet_frame(
    seed: int, *, windows: int = 16, rows: int = 600, restless: float = 0.0, planted: str | None = None
) -> tuple[pd.DataFrame, dict[str, pd.Series]]:
    """A log of `windows` weeks with about `rows` rows each, and its items' categories.

    Args:
        restless: spread (log scale) of each user's and each item's own rate from week to week, which makes windows
            differ by more than independent rows would.
        planted: a change in the newest week: events | price | category | night.
    """
    random = np.random.default_rng(seed)
    users, items = 150, 300
    user_rate, item_rate = random.gamma(0.8, size=users) + 0.05, 1 / (np.arange(items) + 3.0)
    price, category = random.lognormal(1, 0.7, items), random.integers(0, len(CATEGORIES), items)
    hour_rate = np.exp(-(((np.arange(24) - 15) / 4.5) ** 2)) + 0.02
    day_rate = np.array([1, 1, 1, 1, 1.3, 1.6, 0.7])
    parts = []
    for week in range(windows):
        newest = week == windows - 1
        n = int(random.poisson(rows))
        user = _draw(random, user_rate * random.lognormal(0, restless, users), n)
        item = _draw(random, item_rate * random.lognormal(0, restless, items), n)
        hour = _draw(random, hour_rate, n)
        event = _draw(random, np.array([0.1, 0.2, 0.7]), n)
        paid = price[item] * random.lognormal(0, 0.1, n)
        if newest and planted == "events":
            event = _draw(random, np.array(NEW_EVENT_MIX), n)
        if newest and planted == "price":
            paid = paid * 1.3
        if newest and planted == "night":
            hour = np.where(random.random(n) < 0.4, random.integers(0, 6, n), hour)
        if newest and planted == "category":
            swap = random.random(n) < 0.4
            garden = np.flatnonzero(category == CATEGORIES.index("garden"))
            item = np.where(swap, random.choice(garden, n), item)
        seconds = (week * 7 + _draw(random, day_rate, n)) * 86_400 + hour * 3600 + random.integers(0, 3600, n)
        parts.append(pd.DataFrame({"user": user, "item": item, "seconds": seconds, "event": event, "price": paid}))
    raw = pd.concat(parts).sort_values("seconds", kind="stable").reset_index(drop=True)
    frame = pd.DataFrame(
        {
            "user_id": "u" + raw["user"].astype(str),
            "item_id": "i" + raw["item"].astype(str),
            "timestamp": START + pd.to_timedelta(raw["seconds"], unit="s"),
            "event": pd.Categorical.from_codes(raw["event"], EVENTS),
            "value": np.float32(1),
            "price": raw["price"],
        }
    )
    names = pd.Series([CATEGORIES[code] for code in category], index=[f"i{code}" for code in range(items)])
    return frame, {"category": names}


def newest_start(windows: int = 16) -> pd.Timestamp:
    """Where the newest week starts."""
    return START + pd.Timedelta(days=WINDOW_DAYS * (windows - 1))


def quiet_plan(seed: int, *, windows: int = 16, sample_rows: int = 50_000, **changes: object) -> Plan:
    """The newest week against the weeks before it."""
    frame, categories = quiet_frame(seed, windows=windows, **changes)  # type: ignore[arg-type]
    log: Log = read_log(frame, categories)
    return make_plan(log, newest_start(windows), sample_rows=sample_rows, seed=seed)


def _draw(random: np.random.Generator, rates: np.ndarray, size: int) -> np.ndarray:
    """`size` indices with probabilities proportional to `rates`."""
    edges = np.cumsum(rates)
    return np.searchsorted(edges, random.random(size) * edges[-1], side="right")

"""The prequential protocol: rank what a user may take next, note the rank of what was taken, learn it, go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from rectory.arrays import Array, BoolArray, Float64Array, Int32Array
from rectory.serving.engine import LiveEngine
from rectory.serving.loading import Rows
from rectory.serving.mixing import TERMS, Examples
from rectory.serving.types import Request

K = 10


@dataclass(frozen=True)
class Replayed:
    """user: (n,) codes. ranks: name of the engine -> (n,) rank of what was taken, inf where it was not shown.

    seconds: each engine spent on its answers.
    """

    user: Int32Array
    ranks: dict[str, Float64Array]
    seconds: dict[str, float]

    def hits(self, name: str, k: int = K) -> Float64Array:
        return (self.ranks[name] <= k).astype(np.float64)

    def ndcg(self, name: str, k: int = K) -> Float64Array:
        """(n,) nDCG with one relevant item."""
        rank = self.ranks[name]
        return np.where(rank <= k, 1.0 / np.log2(np.minimum(rank, k) + 1.0), 0.0)


def replay(
    engines: dict[str, LiveEngine],
    rows: Rows,
    user_ids: list[str],
    item_ids: list[str],
    *,
    asked: BoolArray,
    tick: Callable[[int], None] = lambda _: None,
) -> Replayed:
    """Walk all engines through the same rows.

    Args:
        rows: in order of time; codes of `user_ids` and `item_ids`.
        asked: (n,) bool: rows whose rank is noted; all are learned.
        tick: hears how many rows are done.
    """
    users: list[int] = []
    seconds = dict.fromkeys(engines, 0.0)
    ranks: dict[str, list[float]] = {name: [] for name in engines}
    for at, (user, item, moment, weight) in enumerate(_walk(rows)):
        if asked[at]:
            request = Request(user_ids[user], n=K, now=moment)
            users.append(user)
            for name, engine in engines.items():
                answer = engine.recommend(request)
                shown, wanted = [one.item_id for one in answer.items], item_ids[item]
                seconds[name] += answer.milliseconds / 1000
                ranks[name].append(shown.index(wanted) + 1.0 if wanted in shown else np.inf)
        for engine in engines.values():
            engine.take(engine.user_code(user_ids[user]), item_ids[item], moment, weight)
        tick(at + 1)
    return Replayed(np.array(users, dtype=np.int32), {name: np.array(rank) for name, rank in ranks.items()}, seconds)


def collect(
    engine: LiveEngine,
    rows: Rows,
    user_ids: list[str],
    item_ids: list[str],
    *,
    asked: BoolArray,
    tick: Callable[[int], None] = lambda _: None,
) -> tuple[Examples, Int32Array]:
    """The candidates and signals that `engine` would have weighed before each of the rows that are asked.

    Also the user of each of them.
    """
    users: list[int] = []
    parts: list[Array] = []
    chosen: list[int] = []
    ends = [0]
    for at, (user, item, moment, weight) in enumerate(_walk(rows)):
        if asked[at]:
            items, x = engine.examine(Request(user_ids[user], n=K, now=moment))
            if len(items):
                place = int(np.searchsorted(items, engine.code(item_ids[item])))
                found = place < len(items) and items[place] == engine.code(item_ids[item])
                users.append(user)
                chosen.append(ends[-1] + place if found else -1)
                ends.append(ends[-1] + len(items))
                parts.append(x)
        engine.take(engine.user_code(user_ids[user]), item_ids[item], moment, weight)
        tick(at + 1)
    x = np.concatenate(parts) if parts else np.zeros((0, len(TERMS)), dtype=np.float32)
    return Examples(x, np.array(ends), np.array(chosen, dtype=np.int64)), np.array(users, dtype=np.int32)


def worth_asking(rows: Rows, known: Rows, repeats: bool) -> BoolArray:
    """(n,) bool: targets; where repeats are excluded, only the first time that a user takes an item."""
    asked = rows.target.copy()
    if not repeats:
        had = set(zip(known.user.tolist(), known.item.tolist(), strict=True))
        for at, pair in enumerate(zip(rows.user.tolist(), rows.item.tolist(), strict=True)):
            asked[at] &= pair not in had
            had.add(pair)
    return asked


def _walk(rows: Rows) -> Iterator[tuple[int, int, float, float]]:
    return zip(rows.user.tolist(), rows.item.tolist(), rows.time.tolist(), rows.weight.tolist(), strict=True)

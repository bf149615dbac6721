"""`python -m benchmarks.million [--items 1000000] [--users 100000] [--json]`: live answers among a million items.

A synthetic champion (tastes in clusters, item biases of very different sizes, d = 64), a log with Zipf users and items,
the engine that serves, in this process: one event to four questions. The index is held against asking all items.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table
from scipy.sparse import csr_array

from benchmarks.machine import this_machine
from benchmarks.synthetic import zipf_ranks
from rectory.features.training_set import SECONDS_PER_DAY
from rectory.models.als import Als
from rectory.models.bundle import Bundle
from rectory.models.factors import Factors
from rectory.models.nearest import NearestItems, build_nearest, restore_nearest
from rectory.models.topk import rank_factors
from rectory.params.candidates import AlsParams
from rectory.serving.champion import Champion
from rectory.serving.codes import Codes
from rectory.serving.engine import LiveEngine, Log, Taste
from rectory.serving.fitting import fit_links
from rectory.serving.links import Links
from rectory.serving.loading import Rows, training_set
from rectory.serving.mixing import Mix, Settings
from rectory.serving.process import settle
from rectory.serving.shelf import Shelf
from rectory.serving.types import Event, Request

D = 64
_CLUSTERS = 1000
_WITHIN = 0.6
"""Spread of tastes in a cluster, where that of the clusters is 1."""
_FALL = 1.0
"""Singular values fall as k to the minus this. Those of LightFM on Complete Journey fall faster (1.1 to 1.4)."""
_ROWS_PER_USER = 10
_DAYS = 90
_NOW = 1_750_000_000.0
_UNSEEN = 500
_WEIGHTS = {
    "champion": 1.0,
    "now": 2.0,
    "like": 0.5,
    "next": 0.5,
    "near": 0.5,
    "people": 0.5,
    "embedded": 0.5,
    "week": 0.2,
    "own": 0.2,
}


@dataclass(frozen=True)
class Found:
    """index_seconds: to build it, once a champion. recall: @10, of queries that it was not built for.

    exact_ms, index_ms: median to find 10 items for one query. load_seconds: an engine from what is in memory.
    resident_gib: of the whole process at the end.
    """

    items: int
    users: int
    rows: int
    index_seconds: float
    index_megabytes: float
    recall: float
    exact_ms: float
    index_ms: float
    load_seconds: float
    answers: int
    p50_ms: float
    p99_ms: float
    most_ms: float
    event_ms: float
    resident_gib: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.million", description=(__doc__ or "").partition("\n")[2]
    )
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--answers", type=int, default=2000)
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    given = parser.parse_args()
    progress = Console(stderr=True)
    found = measure(given.items, given.users, given.answers, lambda text: progress.print(f"[dim]{text}[/dim]"))
    told = {"machine": asdict(this_machine(Path(__file__).parent)), **asdict(found)}
    if given.json:
        print(json.dumps(told, indent=2))
        return
    table = Table(box=None, show_header=False)
    for name, value in asdict(found).items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) else f"{value:,.3f}")
    Console().print(table)


def measure(items: int, users: int, answers: int, say: Callable[[str], None]) -> Found:
    """Everything, in this process."""
    settle()
    draw = np.random.default_rng(7)
    say("champion, log and links")
    model = champion_model(items, users, draw)
    rows = synthetic_rows(items, users, draw)
    train = training_set(rows, users, items, end=_NOW, repeats=True)
    bundle = Bundle.of("synthetic", "als", model, train, titles=None, dataset="synthetic")
    links = fit_links(train, Settings().moment_seconds)
    say("index")
    with tempfile.TemporaryDirectory(prefix="rectory-million-") as folder:
        began = time.perf_counter()
        told = build_nearest(model, Path(folder))
        index_seconds = time.perf_counter() - began
        say("; ".join(told) or "too few items for an index")
        size = sum(path.stat().st_size for path in Path(folder).glob("*.usearch"))
        restore_nearest(model, Path(folder))
        recall, exact_ms, index_ms = against_exact(model, model.nearest, draw)
        began = time.perf_counter()
        engine = engine_of(bundle, rows, links, items)
        load_seconds = time.perf_counter() - began
        engine.warm(2.0)
        say("answers")
        taken, learned = walk(engine, users, items, answers, draw)
    return Found(
        items,
        users,
        len(rows.user),
        round(index_seconds, 1),
        round(size / 1e6, 1),
        recall,
        exact_ms,
        index_ms,
        round(load_seconds, 2),
        len(taken),
        *(float(np.quantile(taken, share)) for share in (0.5, 0.99, 1.0)),
        float(np.median(learned)),
        round(psutil.Process().memory_info().rss / 2**30, 2),
    )


def champion_model(items: int, users: int, draw: np.random.Generator) -> Als:
    """Tastes of unit spread in clusters; a level of each item that is Pareto distributed, as sales are."""
    spread = np.arange(1, D + 1) ** -_FALL
    spread /= np.linalg.norm(spread)
    centres = draw.normal(size=(_CLUSTERS, D)) * spread

    def tastes(n: int) -> np.ndarray:
        within = _WITHIN * draw.normal(size=(n, D)) * spread
        return (centres[draw.integers(0, _CLUSTERS, n)] + within).astype(np.float32)

    level = (0.1 * np.log1p(draw.pareto(1.2, items))).astype(np.float32)
    nothing = np.zeros(items, dtype=np.float32)
    return Als(AlsParams(kind="als"), 0, 0)._take(Factors(tastes(users + 1), tastes(items), level), nothing, 0.0)


def synthetic_rows(items: int, users: int, draw: np.random.Generator) -> Rows:
    """Zipf users and items over some months, in order of time."""
    n = _ROWS_PER_USER * users
    user = draw.permutation(users)[zipf_ranks(draw, users, 0.7, n)].astype(np.int32)
    item = draw.permutation(items)[zipf_ranks(draw, items, 0.9, n)].astype(np.int32)
    time_ = _NOW - np.sort(draw.random(n))[::-1] * _DAYS * SECONDS_PER_DAY
    return Rows(user, item, time_, np.ones(n, dtype=np.float32), np.ones(n, dtype=bool))


def against_exact(model: Als, index: NearestItems | None, draw: np.random.Generator) -> tuple[float, float, float]:
    """Recall@10 of queries between those of users, and milliseconds of either way."""
    first, second = (model.queries[draw.integers(0, len(model.queries), _UNSEEN)] for _ in range(2))
    asked = (0.7 * first + 0.3 * second).astype(np.float32)
    exact_ms = []
    for query in asked[:30]:
        began = time.perf_counter()
        rank_factors(query[None, :], model.factors, 10, None, None)
        exact_ms.append(1000 * (time.perf_counter() - began))
    if index is None:
        return 1.0, float(np.median(exact_ms)), float(np.median(exact_ms))
    recall = index.recall_of(asked, rank_factors(asked, model.factors, 10, None, None).items)
    index_ms = []
    for query in asked:
        began = time.perf_counter()
        index.near(query, 10)
        index_ms.append(1000 * (time.perf_counter() - began))
    return recall, float(np.median(exact_ms)), float(np.median(index_ms))


def engine_of(bundle: Bundle, rows: Rows, links: Links, items: int) -> LiveEngine:
    """The engine that serves, around a bundle that no store holds."""
    codes = Codes(bundle.items.ids)
    shelf = Shelf(
        codes,
        table=None,
        kinds={},
        matrix=csr_array((items, 0), dtype=np.float32),
        names=(),
        available=None,
        titles=None,
    )
    return LiveEngine(
        Champion(bundle),
        "1",
        users=Codes(bundle.users.ids),
        items=codes,
        log=Log(rows.user, rows.item, rows.time, rows.weight),
        links=links,
        shelf=shelf,
        mix=Mix(_WEIGHTS),
        taste=Taste({}),
        historic=True,
    )


def walk(
    engine: LiveEngine, users: int, items: int, answers: int, draw: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Milliseconds of each answer and of each event, one event to four answers, those who act most asked most."""
    busy = draw.permutation(users)
    taken, learned, n = [], [], answers * 5 // 4
    who, what = busy[zipf_ranks(draw, users, 0.7, n)].tolist(), zipf_ranks(draw, items, 0.9, n).tolist()
    for at, (user, item) in enumerate(zip(map(str, who), map(str, what), strict=True)):
        began = time.perf_counter()
        if at % 5 == 0:
            moment = _NOW + at
            engine.learn([Event(str(at), user, item, "purchase", moment, moment, 1.0)])
            learned.append(1000 * (time.perf_counter() - began))
        else:
            engine.recommend(Request(user, n=10))
            taken.append(1000 * (time.perf_counter() - began))
    return np.array(taken), np.array(learned)


if __name__ == "__main__":
    main()

"""A finished run's workspace, made by hand: every file that the report reads, in the formats that the steps write."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rectory.data.ids import IdMap
from rectory.features.training_set import FeatureBlock, TrainingSet
from rectory.files import write_json, write_parquet
from rectory.models.bundle import Bundle
from rectory.models.catalogue import build
from rectory.params import Params, parse_params
from rectory.workspace import Workspace

EVIL = "Bread <script>alert('x')</script> & \"butter\""
CARD = """\
name: corner_shop
historic: true
source: {kind: files, interactions: {path: sales.csv}, items: {path: items.csv}}
interactions:
  user_id: customer
  item_id: sku
  timestamp: {column: at}
  event: what
  weights: {view: 0.0, buy: 1.0}
  repeats: allow
items: {id: sku, title: name, features: {group: {column: group}}}
"""
STRENGTH = {"popularity": 0.163, "popularity_recent": 0.178, "personal_frequency": 0.411, "lightfm_hybrid": 0.436}
_FOODS = ("Bread", "Milk", "Bananas", "Eggs", "Coffee", "Butter", "Yoghurt", "Apples", "Pasta", "Rice", "Cheese", "Tea")
_KINDS = ("organic", "whole", "small", "large", "family pack", "from the farm", "store brand", "imported")


def params(**changes: Any) -> Params:
    tree: dict[str, Any] = {
        "dataset": "corner_shop",
        "train": {
            "candidates": {
                "popularity": {"kind": "popularity", "baseline": True},
                "popularity_recent": {"kind": "popularity", "baseline": True, "windows_days": [3, 7, 14, 28]},
                "personal_frequency": {"kind": "personal_frequency"},
                "lightfm_hybrid": {"kind": "lightfm_hybrid", "half_lives_days": [7, 30, None]},
            }
        },
    }
    return parse_params(tree | changes, "test")


def make_run(root: Path, *, users: int = 120, rows: int = 6000, models: bool = True) -> tuple[Params, Workspace]:
    """Write all of it below `root`; equal arguments give an equal workspace."""
    asked, workspace = params(), Workspace(root / "runs" / "r1", root)
    workspace.card("corner_shop").parent.mkdir(parents=True)
    workspace.card("corner_shop").write_text(CARD)
    workspace.lock_file.write_text("rectory==0.1.0\n")
    table = log(users, rows)
    _data(workspace, table)
    for candidate in asked.train.candidates:
        _candidate(workspace, candidate, users)
    if models:
        bundle(asked, table).save(workspace.model("lightfm_hybrid"))
    _registry(workspace)
    _drift(workspace)
    _timings(workspace)
    return asked, workspace


def titles() -> dict[str, str]:
    named = {f"{number:04d}": f"{_FOODS[number % 12]}, {_KINDS[number // 12 % 8]}" for number in range(150)}
    return named | {"0000": EVIL}


def log(users: int, rows: int) -> pd.DataFrame:
    """Busier at weekends, a long tail of items, users of very different activity, some seen only at the end."""
    draw = np.random.default_rng(7)
    days = draw.choice(180, rows, p=_weekly(180))
    items = np.minimum(draw.geometric(0.03, rows) - 1, 149)
    who = np.minimum(draw.geometric(6 / users, rows) - 1, users - 1)
    late = draw.random(rows) < np.where(days > 170, 0.03, 0.0)
    seconds = np.sort(days * 86_400 + draw.integers(0, 86_400, rows))
    return pd.DataFrame(
        {
            "user_id": np.where(late[np.argsort(days, kind="stable")], "new-1", [f"{user:03d}" for user in who]),
            "item_id": [f"{item:04d}" for item in items],
            "timestamp": pd.to_datetime(seconds, unit="s", utc=True) + pd.Timedelta(days=17_300),
            "event": pd.Categorical(np.where(draw.random(rows) < 0.2, "view", "buy")),
            "value": np.ones(rows, dtype=np.float32),
        }
    )


def _weekly(days: int) -> np.ndarray:
    weight = 1.0 + 0.5 * (np.arange(days) % 7 >= 5) + 0.3 * np.sin(np.arange(days) / 40)
    return weight / weight.sum()


def cuts(table: pd.DataFrame) -> tuple[pd.Timestamp, pd.Timestamp]:
    times = table["timestamp"]
    return times.iloc[int(len(times) * 0.81)], times.iloc[int(len(times) * 0.9)]


def bundle(asked: Params, table: pd.DataFrame) -> Bundle:
    valid, test = cuts(table)
    known = table[table["timestamp"] < test]
    people, things = IdMap(sorted(set(known["user_id"]))), IdMap(sorted(set(known["item_id"])))
    from scipy.sparse import csr_array

    train = TrainingSet(
        users=people,
        items=things,
        user=people.encode(known["user_id"]),
        item=things.encode(known["item_id"]),
        time=known["timestamp"].astype("int64").to_numpy() / 1e9,
        weight=np.ones(len(known), dtype=np.float32),
        target=np.ones(len(known), dtype=bool),
        validation_start=valid.timestamp(),
        end=test.timestamp(),
        repeats=True,
        user_features=FeatureBlock(csr_array((len(people), 0), dtype=np.float32), ()),
        item_features=FeatureBlock(csr_array((len(things), 0), dtype=np.float32), ()),
    )
    model = build(asked.train.candidates["personal_frequency"], 1, 100).fit(train)
    named = {item: title for item, title in titles().items() if item in set(things.ids)}
    return Bundle.of("lightfm_hybrid", "personal_frequency", model, train, titles=named, dataset="corner_shop")


def _data(workspace: Workspace, table: pd.DataFrame) -> None:
    rows = len(table)
    valid, test = cuts(table)
    last = table["timestamp"].iloc[-1]
    write_parquet(table, workspace.tables / "interactions.parquet")
    write_parquet(table[table["timestamp"] < valid], workspace.split / "train.parquet")
    write_parquet(table[(table["timestamp"] >= valid) & (table["timestamp"] < test)], workspace.split / "valid.parquet")
    write_parquet(table[table["timestamp"] >= test], workspace.split / "test.parquet")
    write_parquet(
        pd.DataFrame({"customer": [None], "table": "interactions", "reason": "no user id"}), workspace.quarantine
    )
    write_json(
        workspace.split / "split.json",
        {
            "train_start": table["timestamp"].iloc[0].isoformat(),
            "valid_start": valid.isoformat(),
            "test_start": test.isoformat(),
            "test_end": last.isoformat(),
            "rows": {"train": int(rows * 0.81), "valid": int(rows * 0.09), "test": int(rows * 0.1)},
        },
    )
    write_json(workspace.raw / "source.json", {"dataset": "corner_shop", "kind": "files", "fingerprint": "f" * 64})
    write_json(
        workspace.snapshot, {"dataset": "corner_shop", "hash": "1f3a5c7e9b2d4f6081a3c5e7092b4d6f.dir", "pushed": True}
    )
    empty = {"rows_quarantined": 0, "rows_filtered": 0, "quarantined": {}, "filtered": {}, "examples": {}}
    write_json(
        workspace.validation,
        {
            "dataset": "corner_shop",
            "as_of": last.isoformat(),
            "as_of_asked": None,
            "tables": {
                "interactions": {
                    "rows_in": rows + 61,
                    "rows_kept": rows,
                    "rows_quarantined": 19,
                    "rows_filtered": 42,
                    "quarantined": {"no user id": 12, "timestamp cannot be read": 7},
                    "filtered": {"fuel is not a product": 42},
                    "examples": {
                        "no user id": {"customer": None, "sku": "0007", "at": "2017-03-01 10:22"},
                        "timestamp cannot be read": {"customer": "<b>17</b>", "sku": "0001", "at": "31.02.2017"},
                    },
                },
                "items": {"rows_in": 150, "rows_kept": 150, **empty},
            },
            "checks": [
                {"name": "share_of_bad_rows", "status": "ok", "value": 0.0031, "limit": 0.2, "text": "0.3% are bad"},
                {"name": "freshness", "status": "ok", "value": None, "limit": 7.0, "text": "a historic data set"},
                {
                    "name": "unknown_items",
                    "status": "warn",
                    "value": 0.61,
                    "limit": 0.5,
                    "text": "61% of the rows name an item that the item table does not have: is its export complete?",
                },
            ],
            "summary": {
                "users": int(table["user_id"].nunique()),
                "items": int(table["item_id"].nunique()),
                "interactions": rows,
                "events": {"buy": int(rows * 0.8), "view": rows - int(rows * 0.8)},
                "first": table["timestamp"].iloc[0].isoformat(),
                "last": last.isoformat(),
                "rows_per_day": rows / 180,
            },
        },
    )


def _interval(value: float, users: int, spread: float = 0.03) -> dict[str, float]:
    half = spread / np.sqrt(users / 100)
    return {"value": round(value, 4), "low": round(value - half, 4), "high": round(value + half, 4), "users": users}


def _metrics(strength: float, users: int) -> dict[str, Any]:
    found = {}
    for k in (10, 20):
        found |= {
            f"ndcg@{k}": _interval(strength, users),
            f"recall@{k}": _interval(strength * 0.7 * (k / 10) ** 0.4, users),
            f"precision@{k}": _interval(strength * 0.6, users),
            f"hit_rate@{k}": _interval(min(strength * 2, 0.99), users),
            f"coverage@{k}": {"value": strength**2, "low": None, "high": None, "users": users},
            f"popularity_share@{k}": {"value": 1 - strength, "low": None, "high": None, "users": users},
        }
    return found


def _candidate(workspace: Workspace, name: str, users: int) -> None:
    strength = STRENGTH[name]
    baseline = name.startswith("popularity")
    slices = {
        "users=warm": (1.05, users - 8),
        "users=cold": (0.3, 8),
        "items=head": (1.1, users),
        "items=tail": (0.2, 60),
    }
    write_json(
        workspace.metrics(name),
        {
            "candidate": name,
            "kind": name,
            "baseline": baseline,
            "users": users,
            "metrics": _metrics(strength, users),
            "slices": {label: _metrics(strength * factor, many) for label, (factor, many) in slices.items()},
            "gaps": {
                "city": {"metric": "ndcg@10", "best": "<i>Oslo", "worst": "Rome", "gap": _interval(0.09, users)},
                "age": {
                    "metric": "ndcg@10",
                    "best": "q1",
                    "worst": "q4",
                    "gap": {"value": 0.02, "low": 0.0, "high": 0.08, "users": users},
                },
            },
            "meanings": {"users=warm": "more than 5 interactions before the window"},
        },
    )
    curve: list[dict[str, Any]] = [
        {"window_days": window, "score": strength - 0.01 * abs(7 - window)} for window in (3, 7, 14)
    ]
    if name == "lightfm_hybrid":
        curve = [
            {"half_life_days": half, "epoch": epoch, "score": strength * (1 - 0.4 / epoch) - 0.001 * (half or 60) / 10}
            for half in (7.0, 30.0, None)
            for epoch in range(1, 10)
        ]
    write_json(
        workspace.fit_report(name),
        {
            "metric": "ndcg@10",
            "score": strength,
            "chosen": {"half_life_days": 7.0, "epochs": 9},
            "curve": curve,
            "notes": ["content is off: the card declares no <text>"] if name == "lightfm_hybrid" else [],
        },
    )
    if name != "popularity":
        tests = [
            {"name": "shuffled_ids", "passed": True, "text": "lists are the same", "value": 1.0, "limit": 1.0},
            {"name": "gone_items", "passed": name != "personal_frequency", "text": "2 of 500 lists hold a gone item"},
        ]
        write_json(workspace.behaviour(name), {"candidate": name, "tests": tests})
    workspace.learning_curve(name).parent.mkdir(parents=True, exist_ok=True)
    with workspace.learning_curve(name).open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(curve[0]))
        writer.writeheader()
        writer.writerows(curve)


def _registry(workspace: Workspace) -> None:
    versions = {
        name: {"version": str(3 + place), "run_id": "0" * 32, "lineage_key": f"{place}" * 64, "reused": False}
        for place, name in enumerate(STRENGTH)
    }
    write_json(
        workspace.registered,
        {
            "candidates": versions,
            "lineage_key": "abc123" * 10 + "abcd",
            "experiment": "corner_shop",
            "parent_run_id": "9" * 32,
        },
    )
    write_json(
        workspace.decision,
        {
            "promoted": True,
            "challenger": {"name": "lightfm_hybrid", "version": "6"},
            "champion": {"name": "lightfm_hybrid", "version": "6"},
            "reasons": [
                {
                    "rule": "gain",
                    "passed": True,
                    "text": "ndcg@10 +6.1% [+4.0%, +8.2%] over the champion: at least the asked +0.0%",
                },
                {"rule": "baselines", "passed": True, "text": "beats popularity (+167%) and popularity_recent (+145%)"},
                {
                    "rule": "slices",
                    "passed": True,
                    "text": "no slice loses more than 10%; worst: users=cold -2.0% [-9.0%, +5.0%]",
                },
                {
                    "rule": "coverage",
                    "passed": True,
                    "text": "coverage 0.19 against 0.17 of the champion: ratio 1.12, at least 0.5",
                },
                {
                    "rule": "latency",
                    "passed": True,
                    "text": "batch scoring 0.12 ms a user: within the allowed 50 ms a user",
                },
            ],
        },
    )


def _drift(workspace: Workspace) -> None:
    columns = [
        {
            "column": "event",
            "distance": 0.021,
            "threshold": 0.08,
            "drift_threshold": 0.12,
            "status": "ok",
            "method": "jensenshannon",
            "group": "inputs",
            "text": "event: buy 0.8 -> 0.81",
        },
        {
            "column": "hour",
            "distance": 0.44,
            "threshold": 0.31,
            "drift_threshold": 0.5,
            "status": "warn",
            "method": "wasserstein",
            "group": "inputs",
            "text": "hour: mean 13.1 -> 14.6 (wasserstein 0.440, alarm from 0.310)",
        },
        {"column": "popularity_rank", "distance": 0.12, "threshold": 0.13, "status": "ok", "method": "psi"},
        {"column": "share_of_new_items", "distance": None, "threshold": None, "status": "ok", "method": "difference"},
    ]
    write_json(
        workspace.drift / "drift.json",
        {
            "status": "warn",
            "columns": columns,
            "notes": ["No earlier run: recommendations were not compared."],
            "calibrated": True,
        },
    )
    (workspace.drift / "drift.html").write_text("<html>the full drift report</html>")


def _timings(workspace: Workspace) -> None:
    steps = {
        "fetch": 1.2,
        "validate": 4.1,
        "snapshot": 1.9,
        "split": 0.8,
        "features": 1.7,
        "register": 6.2,
        "promote": 0.7,
        "score": 2.2,
        "drift": 14.1,
        **{f"train-{name}": 3 + 40 * value for name, value in STRENGTH.items()},
        **{f"evaluate-{name}": 2.5 for name in STRENGTH},
    }
    for step, seconds in steps.items():
        write_json(
            workspace.timing(step),
            {"step": step, "seconds": seconds, "cpu_seconds": seconds * 0.9, "peak_memory_mb": 400 + seconds * 20},
        )
    write_json(
        workspace.run_facts,
        {"run_id": "r1", "started_at": "2026-01-01T10:00:00+00:00", "total_seconds": 81.4, "reused": False},
    )

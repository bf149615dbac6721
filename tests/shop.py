"""A small shop for tests: planted tastes, repeats, an item table, a few dirty rows; and a project folder around it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).parents[1]

CARD = """\
name: shop
description: A small shop with planted tastes.
licence: none
historic: true
source:
  kind: files
  interactions: {path: exports/sales.csv}
  items: {path: exports/items.csv}
interactions:
  user_id: customer
  item_id: sku
  timestamp: {column: at, format: iso}
  event: what
  weights: {view: 0.3, buy: 1.0}
  context: {price: price}
  filters:
    - {keep: "price < 1000", reason: a test order}
  repeats: allow
items:
  id: sku
  title: name
  features:
    category: {column: category, kind: categorical}
"""

FAST = {
    "train.validation_users": "200",
    "train.candidates.lightfm_hybrid.components": "8",
    "train.candidates.lightfm_hybrid.max_epochs": "20",
    "train.candidates.lightfm_hybrid.patience": "20",
    "train.candidates.lightfm_hybrid.learning_rate": "0.2",
    "train.candidates.lightfm_hybrid.half_lives_days": "[null]",
    "train.candidates.blend.windows": "2",
    "train.candidates.blend.trees": "40",
    "evaluate.bootstrap_samples": "200",
    "evaluate.min_slice_users": "5",
    "behave.interactions": "2000",
    "drift.sample_rows": "2000",
    "drift.calibration_windows": "4",
}


def sales(rng: np.random.Generator, users: int = 200, items: int = 60, rows: int = 6000) -> pd.DataFrame:
    """Rows of a log in which user u likes items of category u % 4, with ids that look like numbers."""
    user = rng.integers(0, users, rows)
    liked = rng.random(rows) < 0.8
    category = np.where(liked, user % 4, rng.integers(0, 4, rows))
    item = category + 4 * np.minimum(rng.geometric(0.2, rows) - 1, items // 4 - 1)
    at = pd.Timestamp("2025-01-01", tz="UTC") + pd.to_timedelta(np.sort(rng.random(rows)) * 90 * 86400, unit="s")
    return pd.DataFrame(
        {
            "customer": [f"{code:05d}" for code in user],
            "sku": [f"{code:04d}" for code in item],
            "at": at.strftime("%Y-%m-%dT%H:%M:%S.%f%z"),
            "what": np.where(rng.random(rows) < 0.3, "view", "buy"),
            "price": np.round(rng.gamma(3.0, 4.0, rows), 2),
        }
    )


def write_exports(folder: Path, seed: int = 7) -> None:
    """sales.csv with 10 dirty rows, and items.csv."""
    rng = np.random.default_rng(seed)
    log = sales(rng)
    log.loc[log.index[100:105], "customer"] = None
    log.loc[log.index[200:205], "at"] = "yesterday"
    log.loc[log.index[300:303], "price"] = 5000.0
    folder.mkdir(parents=True, exist_ok=True)
    log.to_csv(folder / "sales.csv", index=False)
    skus = [f"{code:04d}" for code in range(64)]
    names = [f"Thing {code}" for code in range(64)]
    categories = [("fruit", "tools", "books", "toys")[code % 4] for code in range(64)]
    pd.DataFrame({"sku": skus, "name": names, "category": categories}).to_csv(folder / "items.csv", index=False)


def make_project(folder: Path, *, code: bool = False, candidates: Sequence[str] = ()) -> Path:
    """A project folder with the shop's card and quick params.

    Args:
        code: with a copy of the code (for dvc and git).
        candidates: names of those to keep; all if empty.
    """
    from ruamel.yaml import YAML

    folder.mkdir(parents=True, exist_ok=True)
    write_exports(folder / "exports")
    (folder / "datasets").mkdir()
    (folder / "datasets" / "shop.yaml").write_text(CARD, encoding="utf-8")
    yaml = YAML()
    params = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["dataset"] = "shop"
    for key, value in FAST.items():
        *path, last = key.split(".")
        section = params
        for part in path:
            section = section[part]
        section[last] = YAML(typ="safe").load(value)
    asked = params["train"]["candidates"]
    for name in [name for name in asked if candidates and name not in candidates]:
        del asked[name]
    with (folder / "params.yaml").open("w", encoding="utf-8") as out:
        yaml.dump(params, out)
    for name in (
        "requirements.lock",
        "pyproject.toml",
        ".gitignore",
        ".dvcignore",
        "dvc.yaml",
        "prefect.toml",
        "README.md",
    ):
        shutil.copy2(ROOT / name, folder / name)
    (folder / ".dvc").mkdir()
    for name in ("config", ".gitignore"):
        shutil.copy2(ROOT / ".dvc" / name, folder / ".dvc" / name)
    if code:
        for room in ("rectory", "tasks", "flows", "cli"):
            # Compiled code too, which stays valid with the same times, but nothing that is being written.
            shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("*.pyc.*"))
    return folder

"""Awkward logs: each a small shop whose chain of steps must end in a champion or in a refusal that says why."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ruamel.yaml import YAML

from rectory.params import Params
from rectory.params.load import parse_params
from rectory.workspace import Workspace

START = pd.Timestamp("2025-03-01", tz="UTC")
CANDIDATES = {
    "popularity": {"kind": "popularity", "baseline": True, "windows_days": [None, 7]},
    "personal_frequency": {"kind": "personal_frequency"},
    "lightfm_hybrid": {"kind": "lightfm_hybrid", "components": 4, "max_epochs": 2, "half_lives_days": [14, None]},
}


@dataclass(frozen=True)
class Log:
    """A log, its card's changes, and what must come of it. refused: words of the refusal; None: a champion."""

    rows: pd.DataFrame
    interactions: dict[str, Any] = field(default_factory=dict)
    items: pd.DataFrame | None = None
    refused: str | None = None
    smallest: bool = True
    """Lower the limits on size, so that later steps have to live with it."""


def rows(users: int = 40, items: int = 30, n: int = 600, days: float = 60.0, seed: int = 1) -> pd.DataFrame:
    """A log of one kind of event, in order of time; ids u<n>, i<n>."""
    rng = np.random.default_rng(seed)
    at = START + pd.to_timedelta(np.sort(rng.random(n)) * days * 86400, unit="s")
    return pd.DataFrame(
        {
            "who": [f"u{code}" for code in rng.integers(0, users, n)],
            "what": [f"i{code}" for code in np.minimum(rng.geometric(0.15, n) - 1, items - 1)],
            "at": at.strftime("%Y-%m-%dT%H:%M:%S.%f%z"),
        }
    )


def project(folder: Path, log: Log) -> tuple[Params, Workspace]:
    """Its export, its card, its params."""
    (folder / "datasets").mkdir(parents=True)
    log.rows.to_csv(folder / "log.csv", index=False)
    card: dict[str, Any] = {
        "name": "awkward",
        "historic": True,
        "source": {"kind": "files", "interactions": {"path": str(folder / "log.csv")}},
        "interactions": {
            "user_id": "who",
            "item_id": "what",
            "timestamp": {"column": "at"},
            "repeats": "allow",
            **log.interactions,
        },
    }
    if log.items is not None:
        log.items.to_csv(folder / "items.csv", index=False)
        card["source"]["items"] = {"path": str(folder / "items.csv")}
        card["items"] = {
            "id": "what",
            "title": "name",
            "features": {name: {"column": name} for name in log.items.columns if name not in {"what", "name"}},
        }
    with (folder / "datasets" / "awkward.yaml").open("w", encoding="utf-8") as out:
        YAML().dump(card, out)
    (folder / "requirements.lock").write_text("", encoding="utf-8")
    limits = {"min_interactions": 1, "min_users": 1, "min_items": 1} if log.smallest else {}
    params = parse_params(
        {
            "dataset": "awkward",
            "validate": limits,
            "train": {"candidates": CANDIDATES, "validation_users": 100},
            "evaluate": {"bootstrap_samples": 100, "min_slice_users": 2},
            "drift": {"sample_rows": 1000, "calibration_windows": 3},
        },
        "test",
    )
    return params, Workspace(folder / "run", folder)


def awkward() -> dict[str, Log]:
    """Every log by its name."""
    plain = rows()
    rng = np.random.default_rng(2)
    rated = plain.assign(stars=rng.integers(1, 6, len(plain)))
    foreign = plain.assign(
        who=plain["who"].map(lambda name: f"Zoë {name} 😀"), what=plain["what"].map(lambda name: f"商品/{name}\\..")
    )
    unsold = pd.DataFrame({"what": [f"i{code}" for code in range(300)]})
    unsold = unsold.assign(name="Thing " + unsold["what"], colour=[("red", "blue", None)[n % 3] for n in range(300)])
    sparse = rows(users=300, items=200, n=600).drop_duplicates(["who", "what"])
    last = plain["at"].iloc[-1]
    return {
        "one user": Log(plain.assign(who="u1"), refused="user", smallest=False),
        "one item": Log(plain.assign(what="i1"), refused="item", smallest=False),
        "one user, limits lowered": Log(plain.assign(who="u1")),
        "one item, limits lowered": Log(plain.assign(what="i1")),
        "one row": Log(plain.head(1), refused="timestamps|rows"),
        "two rows": Log(plain.head(2), refused="window"),
        "three rows": Log(plain.head(3)),
        "five rows": Log(plain.head(5)),
        "no row": Log(plain.head(0), refused="no rows|empty|has no"),
        "all rows bad": Log(plain.assign(at="yesterday"), refused="bad"),
        "three users": Log(rows(users=3)),
        "no item table and no user table": Log(plain),
        "no repeats, two events a user": Log(sparse, {"repeats": "exclude"}),
        "nothing left to recommend": Log(
            rows(users=5, items=4, n=400), {"repeats": "exclude"}, refused="no user has a relevant item"
        ),
        "every user comes once": Log(plain.assign(who=[f"u{n}" for n in range(len(plain))])),
        "every item comes once": Log(plain.assign(what=[f"i{n}" for n in range(len(plain))]), {"repeats": "exclude"}),
        "ratings": Log(rated, {"value": "stars", "value_as_weight": True, "repeats": "exclude"}),
        "constant value": Log(plain.assign(stars=3), {"value": "stars", "value_as_weight": True}),
        "all weights are zero": Log(
            plain.assign(stars=0), {"value": "stars", "value_as_weight": True}, refused="weight above 0"
        ),
        "unicode ids": Log(foreign),
        "all in one day": Log(rows(days=0.9)),
        "only one timestamp": Log(plain.assign(at=last), refused="timestamp"),
        "two timestamps": Log(
            plain.assign(at=[plain["at"].iloc[0]] * 300 + [last] * 300, extra=range(600)), refused="window"
        ),
        "most of the catalogue was never sold": Log(plain, items=unsold),
        "an item table of other items": Log(plain, items=unsold.assign(what="x" + unsold["what"])),
        "the newest users and items are all new": Log(
            plain.assign(
                who=np.where(np.arange(600) < 500, plain["who"], "new " + plain["who"]),
                what=np.where(np.arange(600) < 500, plain["what"], "new " + plain["what"]),
            )
        ),
        "few targets": Log(
            plain.assign(event=["buy" if n % 50 == 0 else "view" for n in range(600)]),
            {"event": "event", "weights": {"view": 0.1, "buy": 1.0}, "targets": ["buy"]},
        ),
        "no target in the test window": Log(
            plain.assign(event=["buy" if n < 300 else "view" for n in range(600)]),
            {"event": "event", "weights": {"view": 0.1, "buy": 1.0}, "targets": ["buy"]},
            refused="test window|target|relevant",
        ),
    }

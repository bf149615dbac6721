"""A small shop behind an engine: two groups of users, each with items of its own, and a popular list as champion."""

from __future__ import annotations

import pandas as pd

from rectory.features.training_set import SECONDS_PER_DAY, TrainingSet
from rectory.models.bundle import Bundle
from rectory.models.catalogue import build
from rectory.params.candidates import PopularityParams
from rectory.serving.champion import Champion
from rectory.serving.codes import Codes
from rectory.serving.engine import LiveEngine, Log, Taste
from rectory.serving.fitting import fit_links
from rectory.serving.mixing import Mix
from rectory.serving.shelf import Shelf
from rectory.serving.types import Event
from tests.conformance.synthetic import END, two_tastes

NOW = END + 0.1 * SECONDS_PER_DAY


def small_bundle(train: TrainingSet, params=None) -> Bundle:
    params = params or PopularityParams(kind="popularity")
    model = build(params, 0, 100).fit(train)
    titles = {one: f"Thing {one}" for one in train.items.ids}
    return Bundle.of(params.kind, params.kind, model, train, titles=titles, dataset="small")


def small_engine(
    mix: Mix | None = None, *, repeats: bool = False, params=None, weights=None, historic: bool = False
) -> LiveEngine:
    train = two_tastes(repeats=repeats)
    items = Codes(train.items.ids)
    names = tuple(f"group={name.partition('=')[2]}" for name in train.item_features.names)
    table = pd.DataFrame(
        {
            "item_id": train.items.ids,
            "group": [str(code % 2) for code in range(train.n_items)],
            "price": [float(code) for code in range(train.n_items)],
        }
    )
    shelf = Shelf(
        items,
        table=table,
        kinds={"group": "categorical", "price": "numeric"},
        matrix=train.item_features.matrix,
        names=names,
        available=None,
        titles={one: f"Thing {one}" for one in train.items.ids},
    )
    return LiveEngine(
        Champion(small_bundle(train, params)),
        "7",
        users=Codes(train.users.ids),
        items=items,
        log=Log(train.user, train.item, train.time, train.weight),
        links=fit_links(train, -1.0),
        shelf=shelf,
        mix=mix or Mix.untuned(),
        taste=Taste(weights or {}),
        historic=historic,
    )


def bought(user: str, item: str, at: float = NOW, kind: str = "buy") -> Event:
    return Event(f"{user}-{item}-{at}", user, item, kind, at, at)


def ids(answer) -> list[str]:
    return [one.item_id for one in answer.items]

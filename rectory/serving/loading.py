"""From the model store and the newest tables to an engine that is ready to answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from rectory.arrays import Array, BoolArray, Float32Array, Float64Array, Int32Array
from rectory.data.card import Card, load_card
from rectory.data.ids import IdMap
from rectory.data.snapshots import checkout, previous_snapshot
from rectory.errors import UsageError
from rectory.features.blocks import feature_block
from rectory.features.build import event_weights, is_target
from rectory.features.training_set import FeatureBlock, TrainingSet
from rectory.files import read_json, read_parquet
from rectory.models.bundle import Bundle, read_titles
from rectory.models.nearest import restore_nearest
from rectory.params import load_params
from rectory.registry.store import ModelStore, Version
from rectory.serving.champion import Champion
from rectory.serving.codes import Codes
from rectory.serving.engine import LiveEngine, Log, Taste
from rectory.serving.fitting import MIX_FILE, fit_links
from rectory.serving.links import Links
from rectory.serving.mixing import Mix
from rectory.serving.moments import by_moment
from rectory.serving.shelf import Shelf
from rectory.workspace import Workspace


@dataclass(frozen=True)
class Rows:
    """A log in order of time, coded; of one moment in no order. target: (n,) bool, counts as a hit in a replay."""

    user: Int32Array
    item: Int32Array
    time: Float64Array
    weight: Float32Array
    target: BoolArray

    @classmethod
    def of(
        cls, user: Int32Array, item: Int32Array, time: Float64Array, weight: Float32Array, target: BoolArray
    ) -> Rows:
        """Rows in any order."""
        return cls(user, item, time, weight, target).part(by_moment(time))

    def part(self, kept: slice | Array) -> Rows:
        return Rows(self.user[kept], self.item[kept], self.time[kept], self.weight[kept], self.target[kept])

    def log(self) -> Log:
        return Log(self.user, self.item, self.time, self.weight)


@dataclass(frozen=True)
class Ingredients:
    """All that an engine is made of, before it is said which rows it knows."""

    version: str
    bundle: Bundle
    card: Card
    users: Codes
    items: Codes
    rows: Rows
    block: FeatureBlock
    table: pd.DataFrame | None
    links: Callable[[Rows, float], Links]
    mix: Mix

    @property
    def trained_until(self) -> float:
        """Seconds."""
        return float(pd.Timestamp(self.bundle.trained_until).value / 1e9)

    def engine(
        self, *, until: float | None = None, mix: Mix | None = None, champion: Champion | None = None
    ) -> LiveEngine:
        """An engine that knows the rows before `until` (None: all of them).

        Args:
            champion: one that another engine of the same bundle uses; its lists are then kept once.
        """
        known = self.rows if until is None else self.rows.part(slice(0, int(np.searchsorted(self.rows.time, until))))
        in_training = known.part(known.time < self.trained_until)
        card, bundle, used = self.card, self.bundle, mix or self.mix
        users, items = Codes(self.users.ids), Codes(self.items.ids)
        shelf = Shelf(
            items,
            table=self.table,
            kinds={} if card.items is None else {name: one.kind for name, one in card.items.features.items()},
            matrix=self.block.matrix,
            names=self.block.names,
            available=_available(bundle, len(items)),
            titles=bundle.titles,
        )
        shelf.grow()
        return LiveEngine(
            champion or Champion(bundle),
            self.version,
            users=users,
            items=items,
            log=known.log(),
            links=self.links(in_training, used.settings.moment_seconds),
            shelf=shelf,
            mix=used,
            taste=Taste(card.interactions.weights, card.interactions.value_as_weight),
            historic=card.historic,
        )


def gather(workspace: Workspace, version: Version | None = None) -> Ingredients:
    """Read a registered version (None: the champion), the newest tables of its data set and what was fitted for live.

    Raises:
        UsageError: there is no champion. StoreError: the model's files are gone. DataError: its data is.
    """
    store = ModelStore(workspace)
    version = version or store.champion()
    if version is None:
        raise UsageError("there is no champion to serve; `rectory run` makes one.")
    bundle = store.bundle(version)
    card = load_card(workspace.card(bundle.dataset))
    tables = newest_tables(workspace, bundle.dataset, version)
    users, items = Codes(bundle.users.ids), Codes(bundle.items.ids)
    table = read_parquet(tables / "items.parquet") if (tables / "items.parquet").exists() else None
    rows = read_rows(tables, card, users, items)
    if table is not None:
        for one in table["item_id"]:
            items.add(str(one))
    titles = {**(read_titles(tables) or {}), **(bundle.titles or {})}
    features = {} if card.items is None else card.items.features
    block = feature_block(table, "item_id", IdMap(items.ids), features, load_params(workspace.params_file).features)
    folder = workspace.live(version.lineage_key)
    fitted = (folder / MIX_FILE).is_file()
    restore_nearest(bundle.model, folder)
    return Ingredients(
        version=version.version,
        bundle=_titled(bundle, titles),
        card=card,
        users=users,
        items=items,
        rows=rows,
        block=block,
        table=table,
        links=_stored(folder) if fitted else _counted(bundle, len(users), len(items)),
        mix=Mix.load(folder / MIX_FILE) if fitted else Mix.untuned(),
    )


def newest_tables(workspace: Workspace, dataset: str, version: Version) -> Path:
    """Folder of the newest validated tables of a data set: a run's own, else brought back from the data versions."""
    newest = previous_snapshot(workspace, dataset)
    wanted = newest.hash if newest is not None else version.tags["snapshot_hash"]
    for facts in sorted((workspace.project / "runs").glob("*/data/snapshot.json"), reverse=True):
        told: dict[str, Any] = read_json(facts)
        if told.get("hash") == wanted and (facts.parent / "tables" / "interactions.parquet").is_file():
            return facts.parent / "tables"
    target = workspace.state / "live" / "tables" / wanted.removesuffix(".dir")
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        checkout(workspace, wanted, target)
    return target


def read_rows(tables: Path, card: Card, users: Codes, items: Codes) -> Rows:
    """The interactions that teach something; ids that have no code get one at the end."""
    frame = read_parquet(tables / "interactions.parquet", ["user_id", "item_id", "timestamp", "event", "value"])
    weight = event_weights(frame, card)
    target = is_target(frame, card)
    kept = weight > 0
    coded = []
    for column, codes in (("user_id", users), ("item_id", items)):
        place, distinct = pd.factorize(frame[column])
        coded.append(codes.encode((str(one) for one in distinct), place)[kept])
    time = frame["timestamp"].astype("datetime64[ns, UTC]").astype("int64").to_numpy() / 1e9
    return Rows.of(coded[0], coded[1], time[kept], weight[kept], target[kept])


def training_set(rows: Rows, n_users: int, n_items: int, *, end: float, repeats: bool) -> TrainingSet:
    """Coded rows as models are fitted on them, without features."""
    nothing = FeatureBlock(csr_array((n_users, 0), dtype=np.float32), ())
    return TrainingSet(
        users=IdMap(map(str, range(n_users))),
        items=IdMap(map(str, range(n_items))),
        user=rows.user,
        item=rows.item,
        time=rows.time,
        weight=rows.weight,
        target=rows.target,
        validation_start=end,
        end=end,
        repeats=repeats,
        user_features=nothing,
        item_features=FeatureBlock(csr_array((n_items, 0), dtype=np.float32), ()),
    )


def _stored(folder: Path) -> Callable[[Rows, float], Links]:
    kept = Links.load(folder)
    return lambda *_: kept.again()


def _counted(bundle: Bundle, n_users: int, n_items: int) -> Callable[[Rows, float], Links]:
    """Links made from the rows at hand, for a version that no run fitted them for."""

    def links(rows: Rows, moment_seconds: float) -> Links:
        end = float(rows.time.max(initial=0.0))
        train = training_set(rows, n_users, n_items, end=end, repeats=bundle.repeats)
        # Cautious weights do not look at vectors.
        return fit_links(train, moment_seconds, vectors=False)

    return links


def _available(bundle: Bundle, n_items: int) -> BoolArray | None:
    if bundle.available is None:
        return None
    # Not in the bundle: first seen after training, so nobody has said that it left.
    available: BoolArray = np.ones(n_items, dtype=np.bool_)
    available[: len(bundle.available)] = bundle.available
    return available


def _titled(bundle: Bundle, titles: dict[str, str]) -> Bundle:
    return replace(bundle, titles=titles or None)

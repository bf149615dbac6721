"""From split tables to the training set. Reads the train and validation windows, never the test window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from rectory.arrays import BoolArray, Float32Array, Float64Array
from rectory.data.card import Card, Entities
from rectory.data.ids import IdMap
from rectory.errors import DataError
from rectory.features.blocks import feature_block
from rectory.features.training_set import FeatureBlock, TrainingSet
from rectory.files import read_json, read_parquet
from rectory.params.sections import FeaturesParams

_COLUMNS = ["user_id", "item_id", "timestamp", "event", "value"]


def build_training_set(split: Path, tables: Path, card: Card, params: FeaturesParams) -> TrainingSet:
    """Code the interactions before the test window and the declared features.

    Args:
        split: folder with train.parquet, valid.parquet and split.json.
        tables: folder with items.parquet and users.parquet, each if there is one.
        card: event weights, targets and features.
    Raises:
        DataError: a file is missing, or no interaction has a weight above 0.
    """
    windows = read_json(split / "split.json")
    rows = pd.concat([read_parquet(split / f"{name}.parquet", _COLUMNS) for name in ("train", "valid")])
    return code_rows(rows, windows["valid_start"], windows["test_start"], tables=tables, card=card, params=params)


def code_rows(
    rows: pd.DataFrame,
    validation_start: pd.Timestamp | str,
    end: pd.Timestamp | str,
    *,
    tables: Path,
    card: Card,
    params: FeaturesParams,
) -> TrainingSet:
    """Code these canonical rows and the declared features; `end` is the moment up to which they count."""
    items, users = (_table(tables, name, of) for name, of in (("items", card.items), ("users", card.users)))
    user_ids, item_ids = _ids(rows["user_id"], users, "user_id"), _ids(rows["item_id"], items, "item_id")
    weight = event_weights(rows, card)
    rows, weight = rows[weight > 0], weight[weight > 0]
    if rows.empty:
        raise DataError(
            f"{card.name}: no interaction before {end} has a weight above 0. Look at `weights:` and "
            f"`value_as_weight:` under `interactions:` in datasets/{card.name}.yaml."
        )
    time = _seconds(rows["timestamp"])
    order = np.argsort(time, kind="stable")
    return TrainingSet(
        users=user_ids,
        items=item_ids,
        user=user_ids.encode(rows["user_id"])[order],
        item=item_ids.encode(rows["item_id"])[order],
        time=time[order],
        weight=weight[order],
        target=is_target(rows, card)[order],
        validation_start=pd.Timestamp(validation_start).value / 1e9,
        end=pd.Timestamp(end).value / 1e9,
        repeats=card.interactions.repeats == "allow",
        user_features=_block(users, "user_id", user_ids, card.users, params),
        item_features=_block(items, "item_id", item_ids, card.items, params),
        available=available_items(items, item_ids),
    )


def event_weights(rows: pd.DataFrame, card: Card) -> Float32Array:
    """(n,) weight of each row in training: the event's, times the value where the card says so; never below 0."""
    weight = rows["event"].astype(str).map(card.interactions.weights).fillna(1.0).to_numpy(dtype=np.float64)
    if card.interactions.value_as_weight:
        weight = weight * np.nan_to_num(rows["value"].to_numpy(dtype=np.float64), nan=0.0)
    return np.maximum(weight, 0.0).astype(np.float32)


def is_target(rows: pd.DataFrame, card: Card) -> BoolArray:
    """(n,) whether each row is a hit in evaluation."""
    if not card.interactions.targets:
        return np.ones(len(rows), dtype=np.bool_)
    return rows["event"].astype(str).isin(card.interactions.targets).to_numpy(dtype=np.bool_)


def available_items(table: pd.DataFrame | None, ids: IdMap) -> BoolArray | None:
    """(len(ids),) bool: the item table has a row that does not say that the item has left the catalogue.

    None: the card names no column `available`, so nothing is known. An empty cell says nothing against an item; a row
    that is gone does, since exports drop what is no longer sold.
    """
    if table is None or "available" not in table.columns:
        return None
    there = table["available"].astype("boolean").fillna(True).to_numpy(dtype=np.bool_)
    return np.asarray(pd.Index(ids.ids).isin(table.loc[there, "item_id"]), dtype=np.bool_)


def _seconds(timestamps: pd.Series) -> Float64Array:
    return timestamps.astype("datetime64[ns, UTC]").astype("int64").to_numpy() / 1e9


def _table(tables: Path, name: str, declared: Entities | None) -> pd.DataFrame | None:
    return None if declared is None else read_parquet(tables / f"{name}.parquet")


def _ids(seen: pd.Series, table: pd.DataFrame | None, column: str) -> IdMap:
    known = [seen] if table is None else [seen, table[column]]
    return IdMap(sorted(pd.unique(pd.concat(known).astype(object))))


def _block(
    table: pd.DataFrame | None, column: str, ids: IdMap, declared: Entities | None, params: FeaturesParams
) -> FeatureBlock:
    return feature_block(table, column, ids, {} if declared is None else declared.features, params)

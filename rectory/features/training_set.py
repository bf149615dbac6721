"""What every model is fitted on, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from rectory.arrays import BoolArray, Float32Array, Float64Array, Int32Array
from rectory.data.ids import IdMap
from rectory.files import read_arrays, read_json, read_sparse, replacing, write_arrays, write_json, write_sparse

SECONDS_PER_DAY = 86_400.0


@dataclass(frozen=True)
class FeatureBlock:
    """Declared features of users or items, without identities.

    matrix: (n_entities, n_values) float32, non-negative; a row without a value is empty.
    names: (n_values,) "feature=value".
    """

    matrix: csr_array
    names: tuple[str, ...]


@dataclass(frozen=True)
class TrainingSet:
    """All interactions before the test window, in order of time, coded.

    users, items: every user and item that was seen before the test window or stands in a table. Codes follow the
        sorted ids, so that the order of rows in a log changes nothing.
    user, item: (n,) int32 codes.
    time: (n,) float64, seconds since 1970 UTC, ascending.
    weight: (n,) float32, > 0: event weight (times value, where the card says so). No recency in it.
    target: (n,) bool: counts as a hit in evaluation.
    validation_start: seconds; rows from here on are the validation window.
    end: seconds; the moment the test window starts. Recency is counted back from here.
    repeats: an already-consumed item may be recommended again.
    available: (n_items,) bool: has not left the catalogue; None: the card does not say. Models do not look at it:
        whoever asks them for lists does.
    """

    users: IdMap
    items: IdMap
    user: Int32Array
    item: Int32Array
    time: Float64Array
    weight: Float32Array
    target: BoolArray
    validation_start: float
    end: float
    repeats: bool
    user_features: FeatureBlock
    item_features: FeatureBlock
    available: BoolArray | None = None

    @property
    def n_users(self) -> int:
        return len(self.users)

    @property
    def n_items(self) -> int:
        return len(self.items)

    def before_validation(self) -> TrainingSet:
        """The same id maps and features, without the rows of the validation window; `end` is its start."""
        return self.until(self.validation_start, self.validation_start)

    def until(self, end: float, validation_start: float) -> TrainingSet:
        """The same id maps and features with the rows before `end` (seconds) only, and another validation window."""
        cut = int(np.searchsorted(self.time, end, side="left"))
        rows = {name: getattr(self, name)[:cut] for name in ("user", "item", "time", "weight", "target")}
        return replace(self, **rows, end=end, validation_start=validation_start)

    def age_days(self) -> Float64Array:
        """(n,) float64: days from each row to `end`, >= 0."""
        return (self.end - self.time) / SECONDS_PER_DAY

    def counts(self) -> csr_array:
        """(n_users, n_items) float32: number of interactions of each pair."""
        ones = np.ones(len(self.user), dtype=np.float32)
        matrix = csr_array((ones, (self.user, self.item)), shape=(self.n_users, self.n_items), dtype=np.float32)
        matrix.sum_duplicates()
        return matrix

    def save(self, folder: Path) -> None:
        """Atomically write all of it; equal sets give equal bytes."""
        with replacing(folder) as scratch:
            scratch.mkdir()
            self.users.save(scratch / "users.parquet")
            self.items.save(scratch / "items.parquet")
            write_arrays(
                scratch / "interactions.npz",
                {name: getattr(self, name) for name in ("user", "item", "time", "weight", "target")},
            )
            write_sparse(scratch / "user_features.npz", self.user_features.matrix)
            write_sparse(scratch / "item_features.npz", self.item_features.matrix)
            if self.available is not None:
                write_arrays(scratch / "available.npz", {"available": self.available})
            write_json(
                scratch / "training_set.json",
                {
                    "validation_start": self.validation_start,
                    "end": self.end,
                    "repeats": self.repeats,
                    "user_feature_names": self.user_features.names,
                    "item_feature_names": self.item_features.names,
                },
            )

    @classmethod
    def load(cls, folder: Path) -> TrainingSet:
        facts = read_json(folder / "training_set.json")
        rows = read_arrays(folder / "interactions.npz")
        available = folder / "available.npz"
        return cls(
            users=IdMap.load(folder / "users.parquet"),
            items=IdMap.load(folder / "items.parquet"),
            user=rows["user"],
            item=rows["item"],
            time=rows["time"],
            weight=rows["weight"],
            target=rows["target"],
            validation_start=facts["validation_start"],
            end=facts["end"],
            repeats=facts["repeats"],
            user_features=FeatureBlock(read_sparse(folder / "user_features.npz"), tuple(facts["user_feature_names"])),
            item_features=FeatureBlock(read_sparse(folder / "item_features.npz"), tuple(facts["item_feature_names"])),
            available=read_arrays(available)["available"] if available.is_file() else None,
        )

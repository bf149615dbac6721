"""What LightFM is fed: weighted pairs, and one row of identity, features and a shared column for each user and item."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from scipy.sparse import coo_matrix, csr_array, csr_matrix, diags_array, hstack

from rectory.arrays import Float32Array, Int32Array
from rectory.features.training_set import FeatureBlock, TrainingSet
from rectory.files import read_sparse, write_sparse
from rectory.models.recency import decay

NOWHERE = -1
"""A column that an earlier model does not have."""
_FADED = 0.01
"""Weight of a pair, in fresh interactions, below which it is left out."""
_NEGATIVES = 4
"""Pairs drawn for each pair that happened, under the logistic loss."""


@dataclass(frozen=True)
class Pairs:
    """Distinct user-item pairs and their weights.

    interactions: (n_users, n_items) ones. weights: the same entries in the same order, mean 1.
    """

    interactions: coo_matrix
    weights: coo_matrix

    def among(self, items: Int32Array) -> Self:
        """The same pairs with items counted within `items`, which holds all of them, ascending."""
        shape = (self.interactions.shape[0], len(items))
        row, column = self.interactions.row, np.searchsorted(items, self.interactions.col).astype(np.int32)
        return type(self)(*(coo_matrix((m.data, (row, column)), shape) for m in (self.interactions, self.weights)))

    def with_negatives(self, seed: int) -> Self:
        """Add drawn pairs that never happened, value -1, weight 1: without them the logistic loss says yes to all."""
        shape = self.interactions.shape
        user = np.repeat(self.interactions.row, _NEGATIVES)
        item = np.random.default_rng(seed).integers(0, shape[1], len(user), dtype=np.int32)
        known = self.interactions.row.astype(np.int64) * shape[1] + self.interactions.col
        fresh = ~np.isin(user.astype(np.int64) * shape[1] + item, known)
        row = np.concatenate([self.interactions.row, user[fresh]])
        column = np.concatenate([self.interactions.col, item[fresh]])
        no = np.full(int(fresh.sum()), -1, dtype=np.float32)
        values, weights = np.concatenate([self.interactions.data, no]), np.concatenate([self.weights.data, -no])
        return type(self)(coo_matrix((values, (row, column)), shape), coo_matrix((weights, (row, column)), shape))


def weighted_pairs(train: TrainingSet, half_life_days: float | None) -> Pairs:
    """Sum the recency-weighted interactions of each pair.

    s = sum of event weight * 0.5 ** (age / half-life), in units of one average fresh interaction. The pair weighs
    log(1 + s), scaled to mean 1: LightFM's steps grow with the weight, and untempered one daily loaf of bread would
    drown a household's other purchases. Pairs that have faded below 1% of a fresh interaction are left out: they would
    train next to nothing, cost as much as fresh ones, and leave embeddings near their random start in use.
    """
    recency = decay(train.age_days(), half_life_days)
    key, pair = np.unique(train.user.astype(np.int64) * train.n_items + train.item, return_inverse=True)
    unit = float(train.weight.mean()) if len(key) else 1.0
    total = np.bincount(pair, weights=train.weight * recency / unit, minlength=len(key))
    # Where all has faded (a log with a long gap before its end), recency says nothing about who is fresh.
    fresh = total >= _FADED if (total >= _FADED).any() else np.ones(len(key), dtype=np.bool_)
    key, weight = key[fresh], np.log1p(total[fresh])
    weight = weight / (weight.mean() if len(key) else 1.0)
    user, item = (key // train.n_items).astype(np.int32), (key % train.n_items).astype(np.int32)
    shape = (train.n_users, train.n_items)
    interactions = coo_matrix((np.ones(len(key), dtype=np.float32), (user, item)), shape=shape)
    weights = coo_matrix((weight.astype(np.float32), (user, item)), shape=shape)
    return Pairs(interactions, weights)


def popularity_biases(pairs: Pairs, rows: Rows) -> Float32Array:
    """(n_trained,) bias of each item's identity with which the item's own bias is the log of its popularity.

    Popularity: the sum of the weights of an item's pairs, as a share of the average item's.

    Args:
        pairs: with items counted within `rows.trained`, each of which has a pair; before negatives are added.
    """
    n = len(rows.trained)
    popularity = np.bincount(pairs.weights.col, weights=pairs.weights.data, minlength=n)
    share = rows.matrix[rows.trained][:, :n].diagonal()
    return np.asarray(np.log(popularity / popularity.mean()) / share, dtype=np.float32) if n else np.zeros(0, "f4")


@dataclass(frozen=True)
class Rows:
    """How users (or items) are made of columns that have an embedding each.

    matrix: (n_entities, n_columns) float32, each row sums to 1.
    trained: (n_trained,) codes of the entities that have an identity column: columns 0..n_trained-1.
    features: names of the next columns. Two more follow: one that all share, and the typical identity, which stands
        in for the identity of those that have none.
    """

    matrix: csr_matrix
    trained: Int32Array
    features: tuple[str, ...]

    @property
    def shared(self) -> int:
        """Column that all share."""
        return len(self.trained) + len(self.features)

    @property
    def typical(self) -> int:
        """Column of the typical identity."""
        return self.shared + 1

    @property
    def unknown(self) -> csr_matrix:
        """(1, n_columns): the row of somebody of whom nothing is known."""
        parts = (np.full(2, 0.5, dtype=np.float32), ([0, 0], [self.shared, self.typical]))
        return csr_matrix(parts, shape=(1, self.matrix.shape[1]))

    def labels(self, row: csr_matrix, one: str, many: str) -> list[str]:
        """Words for the columns of one row: "this item", "items with genre=Drama", "all items", "a typical item"."""
        first = len(self.trained)
        words = {self.shared: f"all {many}", self.typical: f"a typical {one}"}
        return [
            f"this {one}" if column < first else words.get(column) or f"{many} with {self.features[column - first]}"
            for column in row.indices
        ]

    def columns_in(self, earlier: Rows, codes: Int32Array) -> Int32Array:
        """(n_columns,) where each of these columns stands in `earlier`; NOWHERE: it is new.

        Args:
            codes: (n_entities,) what each of these entities is called in `earlier`; -1: it was not there.
        """
        there = codes[self.trained]
        place = np.searchsorted(earlier.trained, there)
        known = (place < len(earlier.trained)) & (there >= 0)
        known[known] = earlier.trained[place[known]] == there[known]
        feature = {name: len(earlier.trained) + at for at, name in enumerate(earlier.features)}
        return np.concatenate(
            [
                np.where(known, place, NOWHERE),
                [feature.get(name, NOWHERE) for name in self.features],
                [earlier.shared, earlier.typical],
            ]
        ).astype(np.int32)

    def save(self, folder: Path, name: str) -> None:
        write_sparse(folder / f"{name}.npz", csr_array(self.matrix))

    @classmethod
    def load(cls, folder: Path, name: str, trained: Int32Array, features: tuple[str, ...]) -> Self:
        return cls(as_lightfm(read_sparse(folder / f"{name}.npz")), trained, features)


def entity_rows(trained: Int32Array, n: int, block: FeatureBlock | None) -> Rows:
    """Identity, features and shared column of each entity, each weighing the same where it is there.

    An entity that was never trained has no identity of its own: its embedding would be the random start. It gets the
    typical one, so that a new item is what its features say, moved to where an average item stands; without that, new
    items would rank above all that are known to be unpopular. Features that no trained entity has are left out.

    Args:
        trained: codes of the entities that have an interaction, ascending.
        n: number of entities.
        block: declared features; None: do without.
    """
    present = np.zeros(n, dtype=np.float32)
    present[trained] = 1.0
    one = np.ones(len(trained), dtype=np.float32)
    parts = [csr_array((one, (trained, np.arange(len(trained)))), shape=(n, len(trained)))]
    names: tuple[str, ...] = ()
    if block is not None and block.names:
        used = np.asarray(block.matrix.T @ present) > 0
        names = tuple(name for name, keep in zip(block.names, used, strict=True) if keep)
        parts.append(_row_normalised(csr_array(block.matrix[:, np.flatnonzero(used)])))
    parts.append(csr_array(np.column_stack([np.ones(n, dtype=np.float32), 1.0 - present])))
    return Rows(as_lightfm(_row_normalised(csr_array(hstack(parts, format="csr")))), trained, names)


def as_lightfm(matrix: csr_array) -> csr_matrix:
    """csr_matrix of float32 with int32 indices: LightFM and scipy's older interface take nothing else."""
    matrix.sort_indices()
    parts = (matrix.data.astype(np.float32), matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32))
    return csr_matrix(parts, shape=matrix.shape)


def _row_normalised(matrix: csr_array) -> csr_array:
    total = np.asarray(matrix.sum(axis=1), dtype=np.float64).ravel()
    return csr_array(diags_array(1.0 / np.where(total > 0, total, 1.0)) @ matrix)

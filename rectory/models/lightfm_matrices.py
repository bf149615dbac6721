"""What LightFM is fed: weighted pairs, and one row of identity, features and a shared column for each user and item."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from scipy.sparse import coo_matrix, csr_array, csr_matrix, diags_array, hstack

from rectory.arrays import BoolArray, Int32Array
from rectory.features.training_set import FeatureBlock, TrainingSet
from rectory.files import read_sparse, write_sparse

_NEGATIVES = 4
"""Pairs drawn for each pair that happened, under the logistic loss."""


@dataclass(frozen=True)
class Pairs:
    """Distinct user-item pairs and their weights.

    interactions: (n_users, n_items) ones. weights: the same entries in the same order, mean 1.
    """

    interactions: coo_matrix
    weights: coo_matrix

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

    Weight of a pair: s = sum of event weight * 0.5 ** (age / half-life), tempered to log(1 + s / mean s), scaled to
    mean 1. Adagrad steps grow with the weight: untempered, one daily loaf of bread would drown a household's other
    purchases. Tempering was chosen on validation windows, see docs/models.md.
    """
    recency = 1.0 if half_life_days is None else np.power(0.5, train.age_days() / half_life_days)
    key, pair = np.unique(train.user.astype(np.int64) * train.n_items + train.item, return_inverse=True)
    total = np.bincount(pair, weights=train.weight * recency, minlength=len(key))
    weight = np.log1p(total / total.mean()) if len(total) else total
    weight = (weight / weight.mean()).astype(np.float32) if len(total) else weight
    user, item = (key // train.n_items).astype(np.int32), (key % train.n_items).astype(np.int32)
    shape = (train.n_users, train.n_items)
    interactions = coo_matrix((np.ones(len(key), dtype=np.float32), (user, item)), shape=shape)
    weights = coo_matrix((weight, (user, item)), shape=shape)
    return Pairs(interactions, weights)


@dataclass(frozen=True)
class Rows:
    """How users (or items) are made of columns that have an embedding each.

    matrix: (n_entities, n_columns) float32, each row sums to 1.
    trained: (n_trained,) codes of the entities that have an identity column: columns 0..n_trained-1.
    features: names of the next columns; the last column is shared by all.
    """

    matrix: csr_matrix
    trained: Int32Array
    features: tuple[str, ...]

    @property
    def shared_column(self) -> int:
        return int(self.matrix.shape[1]) - 1

    def labels(self, row: csr_matrix, one: str, many: str) -> list[str]:
        """Words for the columns of one row: "this item", "items with genre=Drama", "all items"."""
        first = len(self.trained)
        words = {self.shared_column: f"all {many}"}
        return [
            f"this {one}" if column < first else words.get(column) or f"{many} with {self.features[column - first]}"
            for column in row.indices
        ]

    def save(self, folder: Path, name: str) -> None:
        write_sparse(folder / f"{name}.npz", csr_array(self.matrix))

    @classmethod
    def load(cls, folder: Path, name: str, trained: Int32Array, features: tuple[str, ...]) -> Self:
        return cls(as_lightfm(read_sparse(folder / f"{name}.npz")), trained, features)


def entity_rows(present: BoolArray, block: FeatureBlock | None) -> Rows:
    """Identity, features and shared column of each entity, each third weighing the same where it is there.

    An entity that was never trained has no identity: its embedding would be the random start. For the same reason
    features that no trained entity has are left out. What is left makes up the whole row, so that a new item is an
    average of what it is known to be.

    Args:
        present: (n_entities,) whether the entity has an interaction.
        block: declared features; None: do without.
    """
    n = len(present)
    trained = np.flatnonzero(present).astype(np.int32)
    identity = csr_array(
        (np.ones(len(trained), np.float32), (trained, np.arange(len(trained)))), shape=(n, len(trained))
    )
    parts = [identity]
    names: tuple[str, ...] = ()
    if block is not None and block.names:
        used = np.asarray(block.matrix.T @ present.astype(np.float32)) > 0
        names = tuple(name for name, keep in zip(block.names, used, strict=True) if keep)
        parts.append(_row_normalised(csr_array(block.matrix[:, np.flatnonzero(used)])))
    parts.append(csr_array(np.ones((n, 1), dtype=np.float32)))
    return Rows(as_lightfm(_row_normalised(csr_array(hstack(parts, format="csr")))), trained, names)


def as_lightfm(matrix: csr_array) -> csr_matrix:
    """csr_matrix of float32 with int32 indices: LightFM and scipy's older interface take nothing else."""
    matrix.sort_indices()
    parts = (matrix.data.astype(np.float32), matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32))
    return csr_matrix(parts, shape=matrix.shape)


def _row_normalised(matrix: csr_array) -> csr_array:
    total = np.asarray(matrix.sum(axis=1), dtype=np.float64).ravel()
    return csr_array(diags_array(1.0 / np.where(total > 0, total, 1.0)) @ matrix)

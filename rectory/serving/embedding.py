"""Items as vectors: what links say of pairs, smoothed, so that items that never met can be kindred."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array, csr_matrix

from rectory.arrays import Float32Array, Float64Array

_NOISE = 1e-5
"""Share of the largest below which a number is rounding: what has no link has no direction."""
_POWERS = 4
"""Power iterations of the search for factors: enough for what is compared by cosine (scikit-learn would take 7)."""
_LENGTH = 32
"""Numbers that each of the two matrices gives an item. 64 gave no more on MovieLens-100K."""


def embedded(like: csr_array, near: csr_array) -> Float32Array:
    """(n, d) a vector for each item, of length 1 or, of an item that nothing is known of, 0.

    The inner product of two is the mean of two cosines: of the factors of likeness, and of those of the positive
    pointwise mutual information of what is taken near each other. Source of the latter: Levy and Goldberg, "Neural Word
    Embedding as Implicit Matrix Factorization", NeurIPS 2014.

    Args:
        like, near: (n, n) float32, nothing negative.
    """
    both = [_directions(csr_array(like + like.T)), _directions(_informative(csr_array(near + near.T)))]
    vectors = np.concatenate(both, axis=1)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0, length, 1.0), dtype=np.float32)


def _informative(near: csr_array) -> csr_array:
    """log(p(a, b) / p(a) p(b)) where it is above 0."""
    pairs = near.tocoo()
    each = np.asarray(near.sum(axis=1), dtype=np.float64).ravel()
    value = np.log(pairs.data * max(each.sum(), 1e-300) / (each[pairs.row] * each[pairs.col]))
    kept = value > 0
    return csr_array((value[kept], (pairs.row[kept], pairs.col[kept])), shape=near.shape)


def _directions(symmetric: csr_array) -> Float64Array:
    """(n, at most _LENGTH) factors of a matrix, each row of length 1 or 0."""
    from sklearn.utils.extmath import randomized_svd

    if not symmetric.nnz:
        return np.zeros((symmetric.shape[0], 0))
    # Not scipy's svds: where directions are equally strong it gives others every time.
    length = min(_LENGTH, symmetric.shape[0])
    matrix = csr_matrix(symmetric, dtype=np.float32)
    factors, size, _ = randomized_svd(matrix, length, n_iter=_POWERS, random_state=0)
    vectors = factors[:, size > _NOISE * size[0]] * np.sqrt(size[size > _NOISE * size[0]])
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norm > _NOISE * float(norm.max()), norm, np.inf))

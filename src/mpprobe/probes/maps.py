"""Hidden states on a plane: the two directions along which a layer's features vary most."""

from __future__ import annotations

from functools import reduce
from operator import add

import numpy as np

from mpprobe.probes.crossfit import CHUNK
from mpprobe.probes.rows import Rows
from mpprobe.probes.statistics import Statistics


def principal_components(features: Rows, n: int = 2, *, chunk: int = CHUNK) -> np.ndarray:
    """Coordinates of every row along the directions of largest variance.

    Eigenvectors of the covariance of the features, which are centred and not scaled; each points
    to where its largest weight is positive. Rows are read twice, a chunk at a time.

    Args:
        features: (n_atoms, d) scalars.
        n: directions; those that features of a smaller width lack are zero.
        chunk: rows held in memory at a time.

    Returns:
        Shape (n_atoms, n), in the unit of the features.
    """
    parts = [slice(k, k + chunk) for k in range(0, features.shape[0], chunk)]
    seen = reduce(add, (_moments(features[rows]) for rows in parts))
    vectors = np.linalg.eigh(seen.xx)[1][:, ::-1][:, :n]
    signs = np.sign(np.take_along_axis(vectors, abs(vectors).argmax(axis=0)[None], axis=0))
    found = np.zeros((features.shape[0], n))
    for rows in parts:
        found[rows, : vectors.shape[1]] = (features[rows] - seen.mean_x) @ (vectors * signs)
    return found


def _moments(rows: np.ndarray) -> Statistics:
    return Statistics.of(rows, np.empty((len(rows), 0)))

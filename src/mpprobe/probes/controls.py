"""Control tasks: what a probe scores on targets that mean nothing."""

from __future__ import annotations

import numpy as np

from mpprobe.probes.statistics import Statistics


def shuffle_within_kinds(values: np.ndarray, kinds: np.ndarray, seed: int = 0) -> np.ndarray:
    """Permute the target among all atoms of the same kind.

    What the species and the compound tell of the target stays, everything else is lost (the
    control task of Hewitt and Liang, 2019, with the kind in the place of the word type).

    Args:
        values: (n_atoms,) or (n_atoms, ...); rows are moved whole.
        kinds: (n_atoms,), see :func:`mpprobe.probes.scores.kinds`.
        seed: of the permutation.
    """
    noise = np.random.default_rng(seed).random(len(kinds))
    shuffled = np.empty_like(values)
    shuffled[np.argsort(kinds, kind="stable")] = values[np.lexsort((noise, kinds))]
    return shuffled


def random_directions(seen: Statistics, draws: int, seed: int = 0) -> np.ndarray:
    """Directions drawn isotropically in the whitened features: (d, draws).

    Σ^(−1/2) u with normal u and Σ the covariance within kinds of all rows seen; no target has a
    say. Linear probes read the same of features however their channels are mixed, and so does this
    control; a share of 1/rank of what the layer holds is expected of it. (Directions in the
    channels as they stand mostly look along the few ways in which features vary most.)
    """
    scale = seen.inverse_scale
    values, vectors = np.linalg.eigh(scale[:, None] * seen.xx * scale / seen.n)
    used = values > 1e-10 * max(values[-1], 1e-300)
    whitening = (vectors[:, used] / np.sqrt(values[used])) @ vectors[:, used].T
    normal = np.random.default_rng(seed).normal(size=(len(scale), draws))
    return scale[:, None] * (whitening @ normal)

"""Control tasks: what a probe scores on targets that mean nothing."""

from __future__ import annotations

import numpy as np


def shuffle_within_species(values: np.ndarray, species: np.ndarray, seed: int = 0) -> np.ndarray:
    """Permute the target among all atoms of the same species.

    What the species tells of the target stays, everything else is lost (the control task of
    Hewitt and Liang, 2019, with the species in the place of the word type).

    Args:
        values: (n_atoms,) or (n_atoms, ...); rows are moved whole.
        species: (n_atoms,).
        seed: of the permutation.
    """
    noise = np.random.default_rng(seed).random(len(species))
    shuffled = np.empty_like(values)
    shuffled[np.argsort(species, kind="stable")] = values[np.lexsort((noise, species))]
    return shuffled

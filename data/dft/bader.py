"""Bader's division of the electron density among atoms, on its grid.

From every grid point one goes uphill to the neighbour with the steepest ascent until a maximum is
reached; the points that reach the same maximum belong together (Henkelman, Arnaldsson, Jónsson,
Comput. Mater. Sci. 36, 354, 2006).
"""

from __future__ import annotations

import itertools

import numpy as np
from ase import Atoms
from ase.geometry import get_distances


def bader_electrons(density: np.ndarray, counted: np.ndarray, atoms: Atoms) -> np.ndarray:
    """Electrons at each atom, shape (n_atoms,).

    Args:
        density: electrons/Å³ on a periodic grid over the cell; its maxima divide space.
        counted: on the same grid, what is summed in each part.
        atoms: to the nearest of which a maximum belongs.
    """
    maximum = _uphill(density, atoms.cell.array)
    peaks, part = np.unique(maximum, return_inverse=True)
    places = np.stack(np.unravel_index(peaks, density.shape), axis=1) / density.shape
    _, distance = get_distances(places @ atoms.cell.array, atoms.positions, atoms.cell, pbc=True)
    owner = distance.argmin(axis=1)
    volume = atoms.cell.volume / density.size
    by_part = np.bincount(part.ravel(), weights=counted.ravel()) * volume
    return np.bincount(owner, weights=by_part, minlength=len(atoms))


def _uphill(density: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """For each grid point the flat index of the maximum it leads to, shape (n_points,)."""
    index = np.arange(density.size).reshape(density.shape)
    steepest, target = np.zeros(density.shape), index.copy()
    for step in itertools.product((-1, 0, 1), repeat=3):
        if step == (0, 0, 0):
            continue
        length = np.linalg.norm(np.array(step) / density.shape @ cell)
        back = tuple(-s for s in step)
        slope = (np.roll(density, back, axis=(0, 1, 2)) - density) / length
        higher = slope > steepest
        steepest[higher] = slope[higher]
        target[higher] = np.roll(index, back, axis=(0, 1, 2))[higher]
    target = target.ravel()
    while True:  # every point takes over what its target points at, which doubles the way
        further = target[target]
        if np.array_equal(further, target):
            return target
        target = further

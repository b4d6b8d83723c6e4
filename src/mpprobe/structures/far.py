"""Structures that are the same around some atoms, and drawn anew farther away.

Whatever an atom's surroundings within one cutoff decide, its layer-1 features and every descriptor
of one cutoff, can't tell these draws apart: what still follows the change has come from afar.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from mpprobe.errors import StructureError
from mpprobe.structures.check import close_atoms, closest_pair

#: No moved atom comes closer to a watched one than the fixed radius and this, in Å.
MARGIN = 0.01
#: No moved atom comes closer to another than this share of the structure's shortest distance.
CLOSEST = 0.75
# Draws of the atoms that lie badly, before giving up.
_TRIES = 500


def watched_atoms(atoms: Atoms) -> np.ndarray:
    """One atom of each species, close together: their indices, ascending.

    The first is of the rarest species, the one nearest to the middle of the cell (of the atoms,
    where nothing is periodic); the others are its nearest neighbours of each other species.
    """
    numbers, counts = np.unique(atoms.numbers, return_counts=True)
    rarest = np.flatnonzero(atoms.numbers == numbers[counts.argmin()])
    middle = atoms.cell.sum(axis=0) / 2 if atoms.pbc.any() else atoms.positions.mean(axis=0)
    first = rarest[np.linalg.norm(atoms.positions[rarest] - middle, axis=1).argmin()]
    distance = _distances(atoms, np.array([first]))
    found = [first]
    for number in numbers[numbers != atoms.numbers[first]]:
        own = np.flatnonzero(atoms.numbers == number)
        found.append(own[distance[own].argmin()])
    return np.sort(found)


def far_atoms(atoms: Atoms, watched: Sequence[int] | np.ndarray, radius: float) -> np.ndarray:
    """Which atoms lie farther than ``radius`` (Å) from every watched one, images counted: (n,).

    Raises:
        StructureError: none does, or ``watched`` isn't of atoms of the structure.
    """
    if not len(watched) or min(watched) < 0 or max(watched) >= len(atoms):
        raise StructureError(
            f"watched atoms {[int(i) for i in watched]}: give indices from 0 to {len(atoms) - 1}"
        )
    far = _distances(atoms, np.asarray(watched)) > radius
    if not far.any():
        raise StructureError(
            f"no atom lies farther than {radius:g} Å from those watched: give a larger cell, or "
            "fix a smaller radius"
        )
    return far


def far_draws(
    atoms: Atoms,
    watched: Sequence[int] | np.ndarray,
    radius: float,
    *,
    draws: int,
    amplitude: float = 0.3,
    seed: int | Sequence[int] = 0,
) -> list[Atoms]:
    """Draw all atoms beyond a radius anew; those within it stay where they are, to the last bit.

    Args:
        atoms: the structure.
        watched: indices of the atoms whose surroundings are fixed.
        radius: of the surroundings, Å: every atom within it of any watched atom stays.
        draws: how many structures to make.
        amplitude: standard deviation of the displacements along each axis, Å.
        seed: of the draws.

    Returns:
        Copies with the array ``watched``, and in ``info`` ``fixed`` (the radius) and ``within``
        (``group``: probes are to be fitted within groups of draws).

    Raises:
        StructureError: no atom lies beyond the radius, ``watched`` isn't of atoms of the structure,
            or no draw keeps the atoms apart.

    Example:
        >>> atoms = ase.build.bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat(3)
        >>> structures = far_draws(atoms, watched_atoms(atoms), 5.0, draws=8)
    """
    rng = np.random.default_rng(seed)
    far = far_atoms(atoms, watched, radius)
    pair = closest_pair(atoms, 10.0)
    limit = CLOSEST * (pair[2] if pair else 0.0)
    return [
        labelled(_drawn(atoms, watched, radius, far, amplitude, limit, rng), watched, radius)
        for _ in range(draws)
    ]


def labelled(atoms: Atoms, watched: Sequence[int] | np.ndarray, radius: float) -> Atoms:
    """The structure with what a probe is told: which atoms count, and within what."""
    mask = np.zeros(len(atoms), dtype=int)
    mask[np.asarray(watched)] = 1
    atoms.set_array("watched", mask)
    atoms.info |= {"fixed": float(radius), "within": "group"}
    return atoms


def _drawn(
    atoms: Atoms,
    watched: Sequence[int] | np.ndarray,
    radius: float,
    far: np.ndarray,
    amplitude: float,
    limit: float,
    rng: np.random.Generator,
) -> Atoms:
    drawn, bad = atoms.copy(), far
    for _ in range(_TRIES):
        shift = rng.normal(scale=amplitude, size=(int(bad.sum()), 3))
        drawn.positions[bad] = atoms.positions[bad] + shift
        near = _distances(drawn, np.asarray(watched)) <= radius + MARGIN
        bad = far & (near | close_atoms(drawn, limit))
        if not bad.any():
            return drawn
    raise StructureError(
        f"displacements of {amplitude:g} Å bring atoms closer than {limit:.2f} Å or within "
        f"{radius:g} Å of those watched, again and again: give a smaller amplitude"
    )


def _distances(atoms: Atoms, watched: np.ndarray) -> np.ndarray:
    """Of every atom to the nearest watched one, periodic images counted: (n,), in Å."""
    from ase.geometry import get_distances

    _, found = get_distances(
        atoms.positions[watched], atoms.positions, cell=atoms.cell, pbc=atoms.pbc
    )
    return found.min(axis=0)

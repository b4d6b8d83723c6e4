"""Electrostatic potential and field at the atoms' sites, from point charges at the atoms.

The boundary condition follows the structure's periodicity:

- three directions: the Ewald sum in its tin-foil form (no surface term);
- two: the two-dimensional sum, as the Ewald sum of the slab in a cell with enough vacuum plus the
  planar-average term of Yeh and Berkowitz, J. Chem. Phys. 111, 3155 (1999), in the form that holds
  for charged slabs too, Ballenegger, Arnold and Cerdà, J. Chem. Phys. 131, 094107 (2009);
- none: the sum over all other atoms.

A bulk cell with a net charge has a uniform background of the opposite charge; a slab with one has
none, and the planar average of its charges counts as sheets, −2π|z| a unit of charge and area.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase.units import Bohr, Hartree

from mpprobe.structures import Frame
from mpprobe.targets.boxes import Box, box_of, check_apart, pairs

if TYPE_CHECKING:
    import torch

#: e²/(4πε0) in eV Å, that is V Å/e.
COULOMB = Hartree * Bohr

#: In units of the smearing σ: the real-space sum is cut at _REACH σ and the reciprocal one at
#: _REACH / σ. What both leave out is of the order exp(-_REACH² / 2), about 2e-11.
_REACH = 7.0


def site_potential(frame: Frame, charges: np.ndarray) -> np.ndarray:
    """Potential at each atom of all other charges, and of the images of its own.

    φ_i = Σ_j q_j / (4πε0 r_ij), the boundary condition as stated for this module.

    Args:
        frame: the structure.
        charges: e, shape (n_atoms,).

    Returns:
        V, float64, shape (n_atoms,).

    Raises:
        TargetError: a structure that the sum can't take (see :func:`box_of`).
    """
    box = box_of(frame)
    if not box.periodic.any():
        return COULOMB * (_inverse_distances(box) @ charges)
    i, j, vectors = pairs(box, _REACH * _smearing(box), every_axis=True)
    distances = np.linalg.norm(vectors, axis=1)
    half = _ewald(box, box.positions, charges, np.stack([i, j], axis=1), distances)
    # The library returns half the potential, so that charges times it add up to the energy.
    return 2 * COULOMB * half.numpy()


def site_field(frame: Frame, charges: np.ndarray) -> np.ndarray:
    """Electric field at each atom of all other charges, and of the images of its own.

    E_i = −∂φ(r)/∂r at the site r_i, with the charges, that of atom i included, held where they
    are. It is the force on a test charge, so atoms without charge have one too.

    Args:
        frame: the structure.
        charges: e, shape (n_atoms,).

    Returns:
        V/Å, float64, Cartesian x, y, z, shape (n_atoms, 3).

    Raises:
        TargetError: a structure that the sum can't take (see :func:`box_of`).
    """
    box = box_of(frame)
    field = _ewald_field if box.periodic.any() else _direct_field
    return COULOMB * box.to_structure(field(box, charges))


def _inverse_distances(box: Box) -> np.ndarray:
    """1/r_ij in 1/Å, shape (n_atoms, n_atoms), zero on the diagonal; checked for coincidence."""
    from scipy.spatial.distance import pdist, squareform

    distances = pdist(box.positions)
    check_apart(box, *np.triu_indices(len(box.positions), 1), distances)
    return squareform(1 / distances)


def _direct_field(box: Box, charges: np.ndarray) -> np.ndarray:
    """Σ_j q_j (r_i − r_j)/r_ij³ in e/Å², shape (n_atoms, 3)."""
    weights = _inverse_distances(box) ** 3 * charges
    return box.positions * weights.sum(axis=1, keepdims=True) - weights @ box.positions


def _ewald_field(box: Box, charges: np.ndarray) -> np.ndarray:
    """Field of the Ewald sum in e/Å², shape (n_atoms, 3).

    A probe without charge is laid on every atom and only the probes are moved: the gradient with
    respect to the atoms themselves would mix in what each does to the potential at the others.
    The smeared charge of a probe's own atom is in its potential, but flat there.
    """
    import torch

    i, j, vectors = pairs(box, _REACH * _smearing(box), every_axis=True)
    n = len(charges)
    moves = torch.zeros(n, 3, dtype=torch.float64, requires_grad=True)
    distances = torch.linalg.norm(torch.from_numpy(vectors) - moves[i], dim=1)
    atoms = torch.from_numpy(box.positions)
    half = _ewald(
        box,
        torch.cat([atoms, atoms + moves]),
        np.concatenate([charges, np.zeros(n)]),
        np.stack([i + n, j], axis=1),
        distances,
    )
    (gradient,) = torch.autograd.grad(2 * half[n:].sum(), moves)
    return -gradient.numpy()


def _ewald(
    box: Box,
    positions: np.ndarray | torch.Tensor,
    charges: np.ndarray,
    neighbours: np.ndarray,
    distances: np.ndarray | torch.Tensor,
) -> torch.Tensor:
    """½ Σ_j q_j/r_ij in e/Å at each of ``positions``, shape (n,), by torch-pme."""
    import torch
    from torchpme import CoulombPotential, EwaldCalculator

    smearing = _smearing(box)
    calculator = EwaldCalculator(
        CoulombPotential(smearing=smearing),
        lr_wavelength=2 * np.pi * smearing / _REACH,  # not used: the wave vectors are given
        full_neighbor_list=True,
    )
    return calculator(
        charges=torch.as_tensor(charges, dtype=torch.float64)[:, None],
        cell=torch.from_numpy(box.cell),
        positions=torch.as_tensor(positions),
        neighbor_indices=torch.from_numpy(neighbours.astype(np.int64)),
        neighbor_distances=torch.as_tensor(distances),
        periodic=torch.from_numpy(box.periodic),
        kvectors=torch.from_numpy(_wave_vectors(box.cell, _REACH / smearing)),
    )[:, 0]


def point_forces(frame: Frame, charges: np.ndarray) -> np.ndarray:
    """Forces between the charges, q_i E_i in eV/Å, shape (n_atoms, 3); see :func:`site_field`."""
    return charges[:, None] * site_field(frame, charges)


def _smearing(box: Box) -> float:
    """Width σ of the smeared charges in Å that makes the two sums about equally long.

    With both cut as for :data:`_REACH`, the pairs number N² (4π/3) (_REACH σ)³/V and the terms of
    the reciprocal sum N V (_REACH/σ)³/(6π²).
    """
    return (box.volume**2 / (8 * np.pi**3 * len(box.positions))) ** (1 / 6)


def _wave_vectors(cell: np.ndarray, longest: float) -> np.ndarray:
    """Reciprocal lattice vectors up to ``longest`` (1/Å), zero included, shape (n, 3)."""
    reciprocal = 2 * np.pi * np.linalg.inv(cell).T
    limits = np.floor(longest * np.linalg.norm(cell, axis=1) / (2 * np.pi)).astype(int)
    indices = np.mgrid[tuple(slice(-limit, limit + 1) for limit in limits)].reshape(3, -1).T
    vectors = indices @ reciprocal
    return vectors[(vectors**2).sum(axis=1) <= longest**2]

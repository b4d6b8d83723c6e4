"""Sums over charges with all their images, screened or not, differentiable in the positions."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from math import ceil, pi, sqrt

import numpy as np
import torch
from ase import Atoms

# In units of the smearing σ, where the real-space sum is cut, and 1/σ, the reciprocal one: what
# both leave out is of the order exp(-_REACH²/2), about 2e-11.
_REACH = 7.0
# Å of vacuum beside a slab, at least; in units of its longest edge, and of the screening length.
_VACUUM, _EDGES, _LENGTHS = 15.0, 3.0, 25.0


@dataclass(frozen=True)
class Lattice:
    """Where the images are: three vectors, of which a slab's third is normal and long.

    Attributes:
        cell: Å, rows, (3, 3); None without periodicity.
        slab: whether charges along the third vector have no images, so that the field of those
            that the sum has is taken off again.
    """

    cell: torch.Tensor | None
    slab: bool

    @classmethod
    def of(cls, atoms: Atoms, kappa: float = 0.0) -> Lattice:
        """Of a crystal, of a slab whose third lattice vector is free, or of a cluster.

        Raises:
            ValueError: some other periodicity.
        """
        if not atoms.pbc.any():
            return cls(None, False)
        cell = atoms.cell.array.copy()
        slab = not atoms.pbc[2]
        if not atoms.pbc[:2].all():
            raise ValueError("periodic in all directions, in the first two, or in none")
        if slab:
            normal = np.cross(cell[0], cell[1])
            normal /= np.linalg.norm(normal)
            edge = np.linalg.norm(cell[:2], axis=1).max()
            apart = max(_VACUUM, _EDGES * edge, _LENGTHS / kappa if kappa else 0.0)
            cell[2] = normal * (np.ptp(atoms.positions @ normal) + apart)
        return cls(torch.as_tensor(cell), slab)


def pair_sums(positions: torch.Tensor, lattice: Lattice, kappa: float = 0.0) -> torch.Tensor:
    """Σ over images of exp(−κr)/r for every two atoms, their own images on the diagonal.

    The Ewald sum; for κ > 0 in the form of Rosenfeld (Mol. Phys. 88, 1357, 1996); for slabs with
    the term of Yeh and Berkowitz (J. Chem. Phys. 111, 3155, 1999) for neutral ones. Without
    screening in its tin-foil form, with a uniform background for single charges.

    Args:
        positions: Å, (n, 3), float64.
        lattice: from :meth:`Lattice.of`.
        kappa: inverse screening length in 1/Å; zero for none.

    Returns:
        1/Å, (n, n), symmetric.
    """
    n = len(positions)
    apart = positions[:, None] - positions[None]
    if lattice.cell is None:
        own = torch.eye(n, dtype=torch.bool)
        r = torch.where(own, 1.0, (apart**2).sum(-1)).sqrt()
        return torch.where(own, 0.0, torch.exp(-kappa * r) / r)
    cell = lattice.cell
    volume = float(torch.linalg.det(cell).abs())
    edge = float((volume / n) ** (1 / 3))
    sigma = 0.4 * max(edge, 0.25 * volume ** (1 / 3))
    found = _near(apart, cell, sigma, kappa) + _waves(positions, cell, sigma, kappa, volume)
    found = found - torch.eye(n, dtype=found.dtype) * _self(sigma, kappa)
    if not kappa:
        found = found - 2 * pi * sigma**2 / volume
        if lattice.slab:
            normal = cell[2] / cell[2].norm()
            found = found - 2 * pi / volume * (apart @ normal) ** 2
    return found


def short_range(positions: torch.Tensor, lattice: Lattice, width: torch.Tensor) -> torch.Tensor:
    """Σ over images of erfc(r/w_ij)/r, what point charges have over Gaussian ones.

    Args:
        positions: Å, (n, 3).
        lattice: from :meth:`Lattice.of`.
        width: w_ij = √2 √(σ_i² + σ_j²) of Gaussian charges of widths σ, Å, (n, n).

    Returns:
        1/Å, (n, n); on the diagonal of the images alone.
    """
    apart = positions[:, None] - positions[None]
    r, kept = _distances(apart, lattice.cell, 5.2 * float(width.max()))
    return torch.where(kept, torch.erfc(r / width[..., None]) / r, 0.0).sum(-1)


def _near(apart: torch.Tensor, cell: torch.Tensor, sigma: float, kappa: float) -> torch.Tensor:
    r, kept = _distances(apart, cell, _REACH * sigma)
    x, y = r / (sqrt(2) * sigma), kappa * sigma / sqrt(2)
    if kappa:
        # exp(κr) erfc(x + y), where κr = 2xy, in a form that doesn't overflow.
        grown = torch.exp(-(x**2) - y**2) * torch.special.erfcx(x + y)
        term = (grown + torch.exp(-kappa * r) * torch.erfc(x - y)) / (2 * r)
    else:
        term = torch.erfc(x) / r
    return torch.where(kept, term, 0.0).sum(-1)


def _distances(
    apart: torch.Tensor, cell: torch.Tensor | None, cutoff: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """To all images that can be nearer than the cutoff, (n, n, images), and which are."""
    shifts = torch.zeros(1, 3, dtype=apart.dtype)
    if cell is not None:
        # Positions may lie outside the cell: measure how far apart they are in lattice vectors.
        turns = (apart.detach() @ torch.linalg.inv(cell)).abs().amax(dim=(0, 1))
        heights = 1 / torch.linalg.inv(cell).norm(dim=0)
        most = [ceil(float(cutoff / h + t)) for h, t in zip(heights, turns, strict=True)]
        images = list(itertools.product(*(range(-m, m + 1) for m in most)))
        shifts = torch.tensor(images, dtype=apart.dtype) @ cell
    squares = ((apart[:, :, None] + shifts) ** 2).sum(-1)
    kept = (squares > 1e-12) & (squares < cutoff**2)
    return torch.where(kept, squares, 1.0).sqrt(), kept


def _waves(
    positions: torch.Tensor, cell: torch.Tensor, sigma: float, kappa: float, volume: float
) -> torch.Tensor:
    reciprocal = 2 * pi * torch.linalg.inv(cell).T
    longest = _REACH / sigma
    most = [int(longest * float(edge) / (2 * pi)) + 1 for edge in cell.norm(dim=1)]
    counts = torch.cartesian_prod(*(torch.arange(-m, m + 1) for m in most)).to(cell.dtype)
    waves = counts @ reciprocal
    squares = (waves**2).sum(-1)
    # Of k and −k one, and k = 0 only where screening keeps it finite.
    half = (counts @ torch.tensor([1e6, 1e3, 1.0], dtype=cell.dtype)) > 0
    waves = waves[half & (squares < longest**2)]
    squares = (waves**2).sum(-1) + kappa**2
    weights = 8 * pi / volume * torch.exp(-squares * sigma**2 / 2) / squares
    phases = positions @ waves.T
    cos, sin = phases.cos(), phases.sin()
    found = (cos * weights) @ cos.T + (sin * weights) @ sin.T
    if kappa:
        found = found + 4 * pi / volume * np.exp(-((kappa * sigma) ** 2) / 2) / kappa**2
    return found


def _self(sigma: float, kappa: float) -> float:
    """What the wave sum has of an atom's own charge."""
    from scipy.special import erfc

    y = kappa * sigma / sqrt(2)
    return sqrt(2 / pi) / sigma * np.exp(-(y**2)) - kappa * erfc(y)

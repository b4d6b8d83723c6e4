"""GPAW, in plane waves, for a cluster without images: Poisson's equation with free boundaries."""

from __future__ import annotations

import numpy as np
import scipy.fft
from ase import Atoms
from gpaw.calculator import GPAW
from gpaw.pw.poisson import ReciprocalSpacePoissonSolver


class IsolatedGPAW(GPAW):
    """GPAW whose electrostatics know only one copy of the cell; all else stays periodic."""

    def initialize(self, atoms: Atoms | None = None, reading: bool = False) -> None:
        super().initialize(atoms, reading)
        self.hamiltonian.poisson = Isolated(self.hamiltonian.poisson.pd)


class Isolated(ReciprocalSpacePoissonSolver):
    """v(r) = ∫ρ(r')/|r − r'|dr' over one cell.

    The density is convolved with 1/r cut off at R, in reciprocal space 4π(1 − cos GR)/G², on a
    grid twice as long in each direction (Jarvis, White, Godby and Payne, Phys. Rev. B 56, 14972,
    1997). With R the shortest edge of the cell that is exact if no two parts of the density are
    farther apart.
    """

    def __init__(self, pd) -> None:
        super().__init__(pd)
        self.shape = tuple(pd.gd.N_c)
        self.padded = tuple(2 * n for n in self.shape)
        lengths = pd.gd.cell_cv.diagonal()
        if not np.allclose(pd.gd.cell_cv, np.diag(lengths)):
            raise ValueError("the cell must be rectangular")
        axes = [2 * np.pi * np.fft.fftfreq(2 * n, length / n) for n, length in
                zip(self.shape, lengths)]  # fmt: skip
        axes[2] = axes[2][: self.padded[2] // 2 + 1]
        x, y, z = np.ix_(*axes)
        square = x**2 + y**2 + z**2
        radius = lengths.min()
        square[0, 0, 0] = 1.0
        self.kernel = 4 * np.pi * (1 - np.cos(np.sqrt(square) * radius)) / square
        self.kernel[0, 0, 0] = 2 * np.pi * radius**2

    def __str__(self) -> str:
        return "Poisson solver: one copy of the cell, without images"

    def _solve(self, vHt_q, rhot_q) -> float:
        density = self.pd.ifft(rhot_q)
        found = scipy.fft.rfftn(density, self.padded) * self.kernel
        found = scipy.fft.irfftn(found, self.padded)
        inside = tuple(slice(0, n) for n in self.shape)
        vHt_q[:] = self.pd.fft(np.ascontiguousarray(found[inside]))
        return 0.5 * self.pd.integrate(vHt_q, rhot_q)

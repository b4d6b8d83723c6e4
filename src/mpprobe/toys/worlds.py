"""Worlds in which the charge, potential, energy and force of every atom are known exactly."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import pi, sqrt

import numpy as np
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from mpprobe.errors import ToyError
from mpprobe.targets.electrostatics import COULOMB
from mpprobe.toys.lattice_sums import Lattice, pair_sums, short_range

#: Charges of the ions (e) and their radii (Å), whose sums are distances at which the crystals of
#: the unscreened world are near equilibrium. The names are those of real elements, whose ions are
#: about so large; nothing else of them is meant.
IONS = {"Na": (0.7, 1.00), "Mg": (1.4, 0.75), "Cl": (-0.7, 1.80), "O": (-1.4, 1.35)}
#: Å over which the repulsion falls by e, and where it is cut off.
STIFFNESS, REPULSION_CUTOFF = 0.33, 8.0
# Repulsion at the sum of radii, over that of six neighbours which hold against Madelung's energy
# alone: what farther ones add, and what Gaussian charges attract less, is made up for.
_MADELUNG, _NEIGHBOURS, _POINTS, _GAUSSIANS = 1.7476, 6, 0.7, 0.4
#: Per-atom arrays that worlds leave: charges in e, potentials of all others in V, and the charges
#: of :data:`IONS`, whether they are the world's own or, as among bands, nothing to it.
CHARGE, POTENTIAL, NOMINAL = "toy_charge", "toy_potential", "charge_formal"


@dataclass(frozen=True)
class Truth:
    """What a world says of a structure: an energy to be differentiated, and what is known.

    Attributes:
        energy: eV, a scalar with its graph.
        charges: e, (n_atoms,); None in a world without.
        potential: V, (n_atoms,), at each atom, of all other charges and its own images.
    """

    energy: torch.Tensor
    charges: torch.Tensor | None = None
    potential: torch.Tensor | None = None


class World(ABC):
    """A rule for the energy of ions; forces are its exact derivatives.

    Attributes:
        charged: whether its energy is one of charges.
        flows: whether these answer to the surroundings.
    """

    charged = True
    flows = False

    @property
    @abstractmethod
    def name(self) -> str:
        """For tables."""

    @abstractmethod
    def truth(self, atoms: Atoms, positions: torch.Tensor) -> Truth:
        """Of atoms at these positions (Å, (n_atoms, 3), float64)."""

    def label(self, atoms: Atoms) -> Atoms:
        """A copy with energy (eV), forces (eV/Å) and the arrays of what is known.

        Raises:
            ToyError: species that the world doesn't have, a periodicity that it can't sum over,
                or no atoms.
        """
        unknown = sorted(set(atoms.get_chemical_symbols()) - IONS.keys())
        if unknown or not len(atoms):
            raise ToyError(f"a world has ions of {', '.join(IONS)}; give some, and no others")
        positions = torch.tensor(atoms.positions, requires_grad=True)
        try:
            found = self.truth(atoms, positions)
        except ValueError as error:
            raise ToyError(f"world {self.name}: {error}") from error
        (gradient,) = torch.autograd.grad(found.energy, positions)
        labelled = atoms.copy()
        for name, values in ((CHARGE, found.charges), (POTENTIAL, found.potential)):
            if values is not None:
                labelled.arrays[name] = values.detach().numpy()
        labelled.arrays[NOMINAL] = _of_ions(labelled, 0).numpy()
        labelled.info["world"] = self.name
        energy = float(found.energy.detach())
        labelled.calc = SinglePointCalculator(labelled, energy=energy, forces=-gradient.numpy())
        return labelled


@dataclass(frozen=True)
class FixedCharges(World):
    """Point charges that never change, and a repulsion between neighbours.

    Attributes:
        screening: Å over which the interaction is screened (Yukawa's); None for Coulomb's.
    """

    screening: float | None = None

    @property
    def name(self) -> str:
        return "fixed" if self.screening is None else f"screened:{self.screening:g}"

    def truth(self, atoms: Atoms, positions: torch.Tensor) -> Truth:
        charges = _of_ions(atoms, 0)
        kappa = 1 / self.screening if self.screening else 0.0
        sums = pair_sums(positions, Lattice.of(atoms, kappa), kappa)
        potential = COULOMB * sums @ charges
        energy = charges @ potential / 2 + _repulsion(atoms, positions, _POINTS)
        return Truth(energy, charges, potential)


@dataclass(frozen=True)
class EquilibratedCharges(World):
    """Gaussian charges that flow until the energy is least, and the same repulsion.

    E = Σ χ_i q_i + ½ Σ J_i q_i² + ½ Σ q_i q_j erf(r/w_ij)/r with Σ q = 0: charge equilibration
    (Rappé and Goddard, J. Phys. Chem. 95, 3358, 1991) with Gaussian charges, which keeps it
    positive definite. As in every such model charge flows over any distance.

    Attributes:
        width: σ of the Gaussians, Å.
    """  # fmt: skip

    width: float = 0.8
    name = "equilibrated"
    flows = True

    def truth(self, atoms: Atoms, positions: torch.Tensor) -> Truth:
        sums = self._sums(atoms, positions)
        pull, hardness = (_of_ions(atoms, column, _ELECTRONS) for column in (0, 1))
        own = torch.diag(hardness + COULOMB / (sqrt(pi) * self.width))
        matrix = own + COULOMB * sums
        with torch.no_grad():
            charges = _least(matrix, pull)
        # At the least energy the charges don't move to first order.
        energy = pull @ charges + charges @ matrix @ charges / 2
        potential = COULOMB * sums @ charges
        return Truth(energy + _repulsion(atoms, positions, _GAUSSIANS), charges, potential)

    def _sums(self, atoms: Atoms, positions: torch.Tensor) -> torch.Tensor:
        lattice = Lattice.of(atoms)
        width = torch.full((len(atoms), len(atoms)), 2 * self.width, dtype=positions.dtype)
        return pair_sums(positions, lattice) - short_range(positions, lattice, width)


def _least(matrix: torch.Tensor, pull: torch.Tensor) -> torch.Tensor:
    """Charges of the least pull·q + q·matrix·q/2 that add up to zero."""
    solved = torch.linalg.solve(matrix, torch.stack([pull, torch.ones_like(pull)], dim=1))
    level = solved[:, 0].sum() / solved[:, 1].sum()
    return level * solved[:, 1] - solved[:, 0]


# Electronegativity χ (V) and hardness J (V/e) of each species: rock salt then has charges of about
# 0.6 e, or 1.7 e of the other two.
_ELECTRONS = {"Na": (0.0, 3.0), "Mg": (1.0, 3.0), "Cl": (6.5, 4.0), "O": (14.0, 4.0)}


@dataclass(frozen=True)
class Band(World):
    """Electrons that hop between neighbours, and a repulsion: non-local, without any charge.

    One orbital on each atom, hopping −t exp(−(r − d)/δ) between all atoms near each other, filled
    by half: the grand potential 2 Σ −kT ln(1 + exp((μ − ε)/kT)) + μ N at the μ that holds N.

    Attributes:
        hopping: t at the sum of radii, eV.
        gap: by which the orbitals of cations and anions differ, eV.
        temperature: kT, eV.
    """

    hopping: float = 1.0
    gap: float = 0.5
    temperature: float = 0.1
    name = "band"
    charged = False

    def truth(self, atoms: Atoms, positions: torch.Tensor) -> Truth:
        levels = self._levels(atoms, positions)
        energy = self._filled(levels, len(atoms))
        return Truth(energy + _repulsion(atoms, positions, level=_GLUE))

    def _levels(self, atoms: Atoms, positions: torch.Tensor) -> torch.Tensor:
        """Energies at the k-points, (n_k, n_atoms)."""
        i, j, r, units = _bonds(atoms, positions, _HOP_CUTOFF)
        size = -self.hopping * torch.exp((_of_ions(atoms, 1)[i] + _of_ions(atoms, 1)[j] - r) / _HOP)
        size = size * _switch(r, _HOP_CUTOFF)
        onsite = -self.gap / 2 * torch.sign(_of_ions(atoms, 0))
        points = _k_points(atoms)
        phases = torch.exp(2j * pi * torch.as_tensor(points @ units.T))
        n = len(atoms)
        matrix = torch.zeros(len(points), n * n, dtype=torch.complex128)
        matrix = matrix.index_add(1, i * n + j, phases * size).reshape(-1, n, n)
        return torch.linalg.eigvalsh(matrix + torch.diag(onsite))

    def _filled(self, levels: torch.Tensor, n: int) -> torch.Tensor:
        from scipy.optimize import brentq

        T, known = self.temperature, levels.detach().numpy()

        def excess(mu: float) -> float:
            return 2 * float((1 / (1 + np.exp((known - mu) / T))).mean(axis=0).sum()) - n

        mu = brentq(excess, known.min() - 20 * T, known.max() + 20 * T, xtol=1e-14)
        filled = torch.nn.functional.softplus((mu - levels) / T).mean(dim=0).sum()
        return -2 * T * filled + mu * n


# Hopping falls by e over so many Å, and ends smoothly here; k-points times edge, Å, at least; and
# how strong the repulsion is against the bands, eV at the sum of radii.
_HOP, _HOP_CUTOFF, _K_LENGTH, _GLUE = 0.8, 4.2, 20.0, 0.18


def _k_points(atoms: Atoms) -> np.ndarray:
    """Monkhorst and Pack's, in reciprocal lattice vectors, (n_k, 3)."""
    from ase.dft.kpoints import monkhorst_pack

    lengths = atoms.cell.lengths()
    return monkhorst_pack([
        max(1, int(np.ceil(_K_LENGTH / length))) if periodic else 1
        for length, periodic in zip(lengths, atoms.pbc, strict=True)
    ])  # fmt: skip


def _bonds(
    atoms: Atoms, positions: torch.Tensor, cutoff: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, np.ndarray]:
    """Atoms i and j, distances with their graph, and the lattice translation of j."""
    from mpprobe.models.graph import neighbour_list

    first, second, units = neighbour_list(atoms, cutoff)
    shifts = torch.as_tensor(units @ atoms.cell.array)
    i, j = torch.as_tensor(first).long(), torch.as_tensor(second).long()
    return i, j, (positions[j] + shifts - positions[i]).norm(dim=1), units.astype(float)


def _switch(r: torch.Tensor, cutoff: float, width: float = 1.0) -> torch.Tensor:
    """From one to zero over the last ``width`` Å, twice differentiable."""
    x = ((cutoff - r) / width).clamp(0, 1)
    return x**3 * (10 - 15 * x + 6 * x**2)


def _repulsion(
    atoms: Atoms, positions: torch.Tensor, scale: float = 1.0, level: float | None = None
) -> torch.Tensor:
    """Σ over pairs of A_ij exp((d_ij − r)/ρ), d_ij the sum of radii.

    A_ij is ``level`` (eV), or ``scale`` times what holds ions of their charges, seen as unlike, in
    equilibrium in rock salt at r = d_ij.
    """
    i, j, r, _ = _bonds(atoms, positions, REPULSION_CUTOFF)
    radius, charge = _of_ions(atoms, 1), _of_ions(atoms, 0)
    d = radius[i] + radius[j]
    size: torch.Tensor | float
    if level is None:
        attraction = _MADELUNG * COULOMB * (charge[i] * charge[j]).abs() / d**2
        size = scale * STIFFNESS * attraction / _NEIGHBOURS
    else:
        size = level
    return (size * torch.exp((d - r) / STIFFNESS)).sum() / 2


def _of_ions(atoms: Atoms, column: int, table: dict[str, tuple] = IONS) -> torch.Tensor:
    return torch.tensor([table[s][column] for s in atoms.symbols], dtype=torch.float64)


#: By name; ``screened`` has its length after a colon.
WORLDS: dict[str, Callable[[], World]] = {
    "fixed": FixedCharges,
    "equilibrated": EquilibratedCharges,
    "screened": partial(FixedCharges, screening=4.0),
    "band": Band,
}


def world(name: str) -> World:
    """The world of that name: ``fixed``, ``equilibrated``, ``band``, ``screened`` (4 Å), or
    ``screened:LENGTH`` in Å.

    Raises:
        ToyError: there is none.
    """  # fmt: skip
    head, _, length = name.partition(":")
    try:
        if not length:
            return WORLDS[head]()
        if head == "screened" and float(length) > 0:
            return FixedCharges(float(length))
    except (KeyError, ValueError):
        pass
    raise ToyError(f"world {name!r}: choose {', '.join(WORLDS)}, or screened:LENGTH in Å")

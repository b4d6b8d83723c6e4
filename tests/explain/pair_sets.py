"""Chains of ions with one or two displaced, whose reference is that of point charges."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from mpprobe.structures import Frame
from mpprobe.targets.electrostatics import site_field, site_potential

SPACING, STEP = 2.8, 0.05


def chain(n: int = 14, gap: float = 0.0) -> Atoms:
    """A zigzag of Na and Cl in vacuum, cut in the middle by a gap in Å."""
    x = SPACING * np.arange(n) + np.where(np.arange(n) >= n // 2, gap, 0.0)
    atoms = Atoms("NaCl" * (n // 2), [(a, 0.3 * (i % 3), 0.2 * (i % 2)) for i, a in enumerate(x)])
    atoms.arrays["charge_formal"] = np.where(atoms.numbers == 11, 1.0, -1.0)
    return atoms


def coulomb(atoms: Atoms, strength: float = 1.0) -> tuple[float, np.ndarray]:
    """Energy (eV) and forces (eV/Å) of the formal charges, their products times a strength."""
    charges = np.sqrt(strength) * atoms.arrays["charge_formal"]
    frame = Frame.from_atoms(atoms, "reference")
    energy = 0.5 * float(charges @ site_potential(frame, charges))
    return energy, charges[:, None] * site_field(frame, charges)


def pair_set(
    host: Atoms,
    moves: Sequence[tuple[tuple[int, int], ...]],
    name: str = "chain",
    reference: Callable[[Atoms], tuple[float, np.ndarray]] = coulomb,
    parts: dict[str, float] | None = None,
) -> list[Atoms]:
    """The host and copies with atoms (index, axis) displaced, with energies and forces.

    Args:
        host: undisturbed.
        moves: for each copy the atoms displaced in it.
        name: of the group and the domain.
        reference: gives energy and forces.
        parts: info keys and which share of the energy each holds.
    """
    made = []
    for moved in ((), *moves):
        atoms = host.copy()
        for index, axis in moved:
            atoms.positions[index, axis] += STEP
        energy, forces = reference(atoms)
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        atoms.info = {"compound": "NaCl", "domain": name, "group": name}
        atoms.info |= {key: share * energy for key, share in (parts or {}).items()}
        made.append(atoms)
    return made

"""The structures that everything is timed on: rattled rock salt."""

from __future__ import annotations

from ase import Atoms
from ase.build import bulk

#: Cubic lattice constants in Å; an atom of MgO has over twice as many neighbours as one of NaCl.
LATTICE = {"NaCl": 5.64, "MgO": 4.21}
RATTLE = 0.08


def crystals(formula: str, n: int, repeat: int = 2, seed: int = 0) -> list[Atoms]:
    """``n`` different rattled cells of 8 · repeat³ atoms.

    Args:
        formula: one of :data:`LATTICE`.
        n: how many.
        repeat: unit cells along each edge; 2 makes the 64 atoms of most measurements.
        seed: of the first; the others follow.
    """
    perfect = bulk(formula, "rocksalt", a=LATTICE[formula], cubic=True).repeat(repeat)
    made = []
    for k in range(n):
        atoms = perfect.copy()
        atoms.rattle(RATTLE, seed=seed + k)
        made.append(atoms)
    return made


def atoms_in(structures: list[Atoms]) -> int:
    return sum(len(atoms) for atoms in structures)

"""Published Born charges and dielectric constants of cubic crystals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.data import atomic_numbers

from mpprobe.errors import TargetError
from mpprobe.structures import Frame


@dataclass(frozen=True)
class Dielectric:
    """Response of a cubic binary crystal to a field, ions held where they are.

    Attributes:
        charge: Born charge of the cation in e; the anion's is its opposite.
        cation, anion: their symbols.
        constant: high-frequency dielectric constant.
        source: where the numbers are from.
    """

    cation: str
    anion: str
    charge: float
    constant: float
    source: str


#: By compound.
DIELECTRICS = {
    "NaCl": Dielectric("Na", "Cl", 1.086875, 2.43533967, "PBE, example/NaCl of phonopy"),
}


def screened_charges(frame: Frame) -> np.ndarray:
    """Z*/√ε∞ of each ion in e, shape (n_atoms,).

    Point charges of this size give the force constants of distant ions in the crystal, which are
    those of Born charges in a medium, Z*_i Z*_j/ε∞ (Pick, Cohen and Martin, Phys. Rev. B 1, 910,
    1970).

    Raises:
        TargetError: the compound isn't in :data:`DIELECTRICS`, or an atom isn't of it.
    """
    known = DIELECTRICS.get(frame.compound)
    if known is None:
        raise TargetError(
            f"{frame.source}: no Born charge of {frame.compound} is known, only of "
            f"{', '.join(DIELECTRICS)}; name other charges, such as formal or eeq"
        )
    size = known.charge / np.sqrt(known.constant)
    sign = {atomic_numbers[known.cation]: size, atomic_numbers[known.anion]: -size}
    if not set(frame.numbers.tolist()) <= sign.keys():
        raise TargetError(f"{frame.source}: not all of its atoms are ions of {frame.compound}")
    return np.array([sign[z] for z in frame.numbers.tolist()])

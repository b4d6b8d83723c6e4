"""Perfect crystals whose force constants are looked at: ionic ones, and metals as the control."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.build import bulk

from mpprobe.errors import StructureError
from mpprobe.structures import Frame

#: Å that the cell is long in one direction, and in the two others, at least.
LENGTH, WIDTH = 25.0, 12.0
#: Domain of crystals without charges.
METAL = "metal"


@dataclass(frozen=True)
class Crystal:
    """A cubic crystal.

    Attributes:
        formula: with the cation first, as ASE builds it.
        structure: ASE's name of the structure type.
        a: lattice constant in Å at room temperature, rounded, as collections of crystallographic
            data give it.
        charges: formal charge of each species in e; of a metal none.
    """

    formula: str
    structure: str
    a: float
    charges: dict[str, float]


def _salt(
    cation: str, anion: str, a: float, charge: float = 1.0, structure: str = "rocksalt"
) -> Crystal:
    return Crystal(cation + anion, structure, a, {cation: charge, anion: -charge})


#: By compound.
CRYSTALS = {
    "LiF": _salt("Li", "F", 4.026),
    "LiCl": _salt("Li", "Cl", 5.140),
    "LiBr": _salt("Li", "Br", 5.501),
    "NaF": _salt("Na", "F", 4.634),
    "NaCl": _salt("Na", "Cl", 5.640),
    "NaBr": _salt("Na", "Br", 5.977),
    "KF": _salt("K", "F", 5.348),
    "KCl": _salt("K", "Cl", 6.293),
    "KBr": _salt("K", "Br", 6.600),
    "RbCl": _salt("Rb", "Cl", 6.581),
    "RbBr": _salt("Rb", "Br", 6.889),
    "MgO": _salt("Mg", "O", 4.212, 2),
    "CaO": _salt("Ca", "O", 4.811, 2),
    "SrO": _salt("Sr", "O", 5.161, 2),
    "BaO": _salt("Ba", "O", 5.539, 2),
    "MgS": _salt("Mg", "S", 5.203, 2),
    "CaS": _salt("Ca", "S", 5.690, 2),
    "CsCl": _salt("Cs", "Cl", 4.123, structure="cesiumchloride"),
    "CsBr": _salt("Cs", "Br", 4.290, structure="cesiumchloride"),
    "ZnS": _salt("Zn", "S", 5.409, 2, structure="zincblende"),
    "CaF2": Crystal("CaF2", "fluorite", 5.463, {"Ca": 2.0, "F": -1.0}),
    "Li2O": Crystal("OLi2", "fluorite", 4.614, {"Li": 1.0, "O": -2.0}),
    "Al": Crystal("Al", "fcc", 4.050, {}),
    "Cu": Crystal("Cu", "fcc", 3.615, {}),
}


def crystal(name: str) -> Frame:
    """A supercell of a compound, long in x, with the array ``charge_formal`` (e) unless a metal.

    Raises:
        StructureError: the compound isn't in :data:`CRYSTALS`.
    """
    if name not in CRYSTALS:
        raise StructureError(
            f"compound {name!r}: choose among {', '.join(CRYSTALS)}, or give structures"
        )
    known = CRYSTALS[name]
    cell = bulk(known.formula, known.structure, a=known.a, cubic=True)
    atoms = cell.repeat([int(np.ceil(least / known.a)) for least in (LENGTH, WIDTH, WIDTH)])
    if known.charges:
        atoms.arrays["charge_formal"] = np.array([known.charges[s] for s in atoms.symbols])
    atoms.info |= {"compound": name, "domain": "bulk" if known.charges else METAL, "group": name}
    return Frame.from_atoms(atoms, name)

"""The compounds of the set `ionic`: space groups, lattice parameters, formal charges.

Lattice parameters are room-temperature values as any collection of crystallographic data gives
them, rounded (Å); cubic BaTiO3 is the high-temperature phase, and ringwoodite (Mg2SiO4) the
high-pressure phase at ambient pressure. Space groups are in the settings of the International
Tables that ASE uses (for 227, the origin at the centre of inversion).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.spacegroup import crystal

OXIDATION = {
    "Li": 1, "Na": 1, "K": 1, "Cs": 1,
    "Be": 2, "Mg": 2, "Ca": 2, "Sr": 2, "Ba": 2, "Zn": 2,
    "Al": 3, "Si": 4, "Ti": 4, "Sn": 4,
    "N": -3, "O": -2, "S": -2, "F": -1, "Cl": -1, "Br": -1,
}  # fmt: skip


@dataclass(frozen=True)
class Compound:
    """One crystal.

    Attributes:
        name: its formula.
        structure_type: the structure's usual name.
        spacegroup, setting: number and setting in the International Tables.
        cellpar: a, b, c (Å), alpha, beta, gamma (degrees).
        sites: species and fractional coordinates of the atoms that symmetry does not repeat.
        facets: Miller indices (of the conventional cell) of slabs without a dipole, those of
            neutral planes first.
        melt: temperatures (K) at which the crystal is broken up and the melt then sampled; None for
            no melt.
    """

    name: str
    structure_type: str
    spacegroup: int
    cellpar: tuple[float, ...]
    sites: tuple[tuple[str, tuple[float, float, float]], ...]
    facets: tuple[tuple[int, int, int], ...] = ()
    melt: tuple[float, float] | None = None
    setting: int = 1

    def unit_cell(self, primitive: bool = False) -> Atoms:
        """The conventional or a primitive cell, with the array ``charge_formal`` in e."""
        symbols, basis = zip(*self.sites, strict=True)
        full = crystal(
            symbols, basis, spacegroup=self.spacegroup, setting=self.setting,
            cellpar=self.cellpar, primitive_cell=primitive,
        )  # fmt: skip
        cell = Atoms(full.symbols, full.positions, cell=full.cell, pbc=True)
        cell.set_array("charge_formal", np.array([float(OXIDATION[s]) for s in cell.symbols]))
        return cell


def _cubic(a: float) -> tuple[float, ...]:
    return (a, a, a, 90, 90, 90)


def _tetragonal(a: float, c: float) -> tuple[float, ...]:
    return (a, a, c, 90, 90, 90)


def _hexagonal(a: float, c: float) -> tuple[float, ...]:
    return (a, a, c, 90, 90, 120)


def _rock_salt(name, cation, anion, a, melt=None):
    sites = ((cation, (0, 0, 0)), (anion, (0.5, 0.5, 0.5)))
    return Compound(name, "rock salt", 225, _cubic(a), sites, ((1, 0, 0), (1, 1, 0)), melt)


def _caesium_chloride(name, cation, anion, a, melt=None):
    sites = ((cation, (0, 0, 0)), (anion, (0.5, 0.5, 0.5)))
    return Compound(name, "caesium chloride", 221, _cubic(a), sites, ((1, 1, 0),), melt)


def _zinc_blende(name, cation, anion, a):
    sites = ((cation, (0, 0, 0)), (anion, (0.25, 0.25, 0.25)))
    return Compound(name, "zinc blende", 216, _cubic(a), sites, ((1, 1, 0),))


def _wurtzite(name, cation, anion, a, c, u):
    sites = ((cation, (1 / 3, 2 / 3, 0)), (anion, (1 / 3, 2 / 3, u)))
    return Compound(name, "wurtzite", 186, _hexagonal(a, c), sites, ((1, 0, 0),))


def _fluorite(name, four_a, eight_c, a, melt=None, structure_type="fluorite"):
    sites = ((four_a, (0, 0, 0)), (eight_c, (0.25, 0.25, 0.25)))
    return Compound(name, structure_type, 225, _cubic(a), sites, ((1, 1, 0), (1, 1, 1)), melt)


def _antifluorite(name, cation, anion, a, melt=None):
    return _fluorite(name, anion, cation, a, melt, "antifluorite")


def _rutile(name, cation, anion, a, c, x, melt=None):
    sites = ((cation, (0, 0, 0)), (anion, (x, x, 0)))
    return Compound(name, "rutile", 136, _tetragonal(a, c), sites, ((0, 0, 1), (1, 1, 0)), melt)


def _perovskite(name, a_site, b_site, anion, a):
    sites = ((a_site, (0, 0, 0)), (b_site, (0.5, 0.5, 0.5)), (anion, (0.5, 0.5, 0)))
    return Compound(name, "perovskite", 221, _cubic(a), sites, ((0, 0, 1),))


def _spinel(name, tetrahedral, octahedral, anion, a, u):
    sites = ((tetrahedral, (1 / 8,) * 3), (octahedral, (0.5,) * 3), (anion, (u,) * 3))
    return Compound(name, "spinel", 227, _cubic(a), sites, setting=2)


COMPOUNDS = (
    _rock_salt("NaCl", "Na", "Cl", 5.640, melt=(7700, 2200)),
    _rock_salt("KCl", "K", "Cl", 6.293),
    _rock_salt("KBr", "K", "Br", 6.600, melt=(10500, 3000)),
    _rock_salt("LiF", "Li", "F", 4.026, melt=(8400, 2400)),
    _rock_salt("MgO", "Mg", "O", 4.212, melt=(10000, 4000)),
    _rock_salt("CaO", "Ca", "O", 4.811),
    _rock_salt("SrO", "Sr", "O", 5.161),
    _caesium_chloride("CsCl", "Cs", "Cl", 4.123, melt=(11200, 3200)),
    _caesium_chloride("CsBr", "Cs", "Br", 4.290),
    _zinc_blende("ZnS", "Zn", "S", 5.409),
    _zinc_blende("BeS", "Be", "S", 4.870),
    _wurtzite("ZnO", "Zn", "O", 3.250, 5.207, 0.382),
    _wurtzite("BeO", "Be", "O", 2.698, 4.377, 0.378),
    _wurtzite("AlN", "Al", "N", 3.111, 4.979, 0.382),
    _fluorite("CaF2", "Ca", "F", 5.463, melt=(11200, 3200)),
    _fluorite("SrF2", "Sr", "F", 5.800),
    _antifluorite("Li2O", "Li", "O", 4.614, melt=(7700, 2200)),
    _antifluorite("Na2O", "Na", "O", 5.550),
    _rutile("TiO2", "Ti", "O", 4.594, 2.959, 0.305, melt=(6000, 3000)),
    _rutile("SnO2", "Sn", "O", 4.738, 3.187, 0.306),
    _rutile("MgF2", "Mg", "F", 4.621, 3.052, 0.303),
    _perovskite("SrTiO3", "Sr", "Ti", "O", 3.905),
    _perovskite("BaTiO3", "Ba", "Ti", "O", 4.010),
    _perovskite("BaSnO3", "Ba", "Sn", "O", 4.116),
    _perovskite("KMgF3", "K", "Mg", "F", 3.989),
    Compound(
        "Al2O3", "corundum", 167, _hexagonal(4.759, 12.991),
        (("Al", (0, 0, 0.352)), ("O", (0.306, 0, 0.25))), ((1, 0, 0), (0, 0, 1)),
        melt=(6000, 3200),
    ),
    Compound(
        "SiO2", "quartz", 154, _hexagonal(4.913, 5.405),
        (("Si", (0.470, 0, 2 / 3)), ("O", (0.4135, 0.2669, 0.7858))), ((0, 0, 1),),
        melt=(5000, 3000),
    ),
    Compound(
        "Li3N", "lithium nitride", 191, _hexagonal(3.648, 3.875),
        (("N", (0, 0, 0)), ("Li", (0, 0, 0.5)), ("Li", (1 / 3, 2 / 3, 0))), ((1, 1, 0),),
    ),
    _spinel("MgAl2O4", "Mg", "Al", "O", 8.083, 0.2624),
    _spinel("Mg2SiO4", "Si", "Mg", "O", 8.065, 0.2440),
)  # fmt: skip
"""Thirty compounds over twelve structure types; each element occurs in two or more of them."""

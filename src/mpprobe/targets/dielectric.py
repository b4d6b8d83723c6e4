"""Published Born charges and dielectric constants of crystals."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache

import numpy as np
from ase.formula import Formula

from mpprobe.errors import TargetError
from mpprobe.structures import Frame
from mpprobe.structures.builtin import data_file


@dataclass(frozen=True)
class Dielectric:
    """Response of a crystal of two elements to a field, ions held where they are.

    Attributes:
        compound: its formula.
        cation, anion: their symbols.
        charge: Born charge of the cation in e; where it has a direction, the mean.
        constant: high-frequency dielectric constant, the mean over directions.
        method, source: how the numbers were got, and where they are from.
    """

    compound: str
    cation: str
    anion: str
    charge: float
    constant: float
    method: str
    source: str

    @property
    def charges(self) -> dict[str, float]:
        """Born charges of both species in e, which add up to zero over a formula unit."""
        count = Formula(self.compound).count()
        anion = -self.charge * count[self.cation] / count[self.anion]
        return {self.cation: self.charge, self.anion: anion}


@cache
def dielectrics() -> dict[str, Dielectric]:
    """All that are known, by compound; from data/response/dielectric.csv."""
    with open(data_file("response", "dielectric.csv"), encoding="utf-8", newline="") as file:
        return {
            row["compound"]: Dielectric(
                row["compound"], row["cation"], row["anion"], float(row["born_charge"]),
                float(row["epsilon_inf"]), row["method"], row["source"],
            )
            for row in csv.DictReader(file)
        }  # fmt: skip


def screened_charges(frame: Frame) -> np.ndarray:
    """Z*/√ε∞ of each ion in e, shape (n_atoms,).

    Point charges of this size give the force constants of distant ions in the crystal, which are
    those of Born charges in a medium, Z*_i Z*_j/ε∞ (Pick, Cohen and Martin, Phys. Rev. B 1, 910,
    1970).

    Raises:
        TargetError: no Born charge of the compound is known, or an atom isn't of it.
    """
    known = dielectrics().get(frame.compound)
    if known is None:
        raise TargetError(
            f"{frame.source}: no Born charge of {frame.compound} is known, only of "
            f"{', '.join(dielectrics())}; name other charges, such as formal or eeq"
        )
    charges = known.charges
    symbols = frame.atoms.get_chemical_symbols()
    if not set(symbols) <= charges.keys():
        raise TargetError(f"{frame.source}: not all of its atoms are ions of {frame.compound}")
    return np.array([charges[s] for s in symbols]) / np.sqrt(known.constant)

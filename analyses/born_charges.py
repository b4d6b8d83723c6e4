"""Long-range force constants of SevenNet-0 and of DFT, against Born charges: NaCl, KCl and AlN.

    python analyses/born_charges.py [--quick]

The public file phonon_supercells_bec has rattled supercells with DFT forces, and the Born charges
and dielectric tensor of each crystal from perturbation theory with the same code. DFT's force
constants are those that fit the forces on all supercells best that are rattled by little;
SevenNet-0's are exact derivatives at the mean positions. Both are compared, beyond the cutoff, with
Z*_i Z*_j/ε (means over directions). Writes born_charges.png, born_charges.pdf and born_charges.csv
beside this script; with --quick, of NaCl only, into a folder ``quick``.
"""

from __future__ import annotations

import ase.io
import numpy as np
import pandas as pd
from ase import Atoms

import mpprobe as mp
from common import Analysis, run
from mpprobe.report.force_constants import force_constants_figure
from mpprobe.response import coulomb_fit, force_constants, pair_table, unit_charge_constants
from mpprobe.structures import Frame, as_frames

#: Sets of the file: names, and the formal charge of the cation.
SETS = {"phono3py_NaCl_rd100": 1.0, "phonopy_KCl_rd120": 1.0, "phono3py_AlN_rd": 3.0}
#: Å by which positions may differ under a translation of the crystal.
SAME = 0.1
#: Å, root mean square: cells that are displaced by more are left out.
RATTLED = 0.1


def mean_positions(cells: list[Atoms]) -> Atoms:
    """The crystal: every atom where it is on average."""
    ideal = cells[0].copy()
    away = [cell.positions - ideal.positions for cell in cells]
    turns = np.linalg.solve(ideal.cell.array.T, np.concatenate(away).T).T
    away = (turns - np.round(turns)) @ ideal.cell.array
    ideal.positions += away.reshape(len(cells), -1, 3).mean(axis=0)
    return ideal


def little_rattled(cells: list[Atoms]) -> list[Atoms]:
    """Those near the median positions; one set goes up to temperatures that melt it."""
    middle = np.median([cell.positions for cell in cells], axis=0)
    return [c for c in cells if np.sqrt(((c.positions - middle) ** 2).mean()) < RATTLED]


def translations(ideal: Atoms) -> np.ndarray:
    """Permutations of the atoms by the crystal's translations, (n_translations, n_atoms)."""
    inverse = np.linalg.inv(ideal.cell.array)
    found = []
    for image in np.flatnonzero(ideal.numbers == ideal.numbers[0]):
        moved = ideal.positions + ideal.positions[image] - ideal.positions[0]
        apart = (moved[:, None] - ideal.positions[None]) @ inverse
        apart = np.linalg.norm((apart - np.round(apart)) @ ideal.cell.array, axis=2)
        apart[ideal.numbers[:, None] != ideal.numbers] = np.inf
        if (apart.min(axis=1) < SAME).all():
            found.append(apart.argmin(axis=1))
    return np.array(found)


def dft_force_constants(cells: list[Atoms], ideal: Atoms, atoms: list[int]) -> np.ndarray:
    """K of the least Σ |F_i + Σ_j K_ij u_j|², (len(atoms), 3, n_atoms, 3) in eV/Å².

    Atoms that a translation takes into each other have the same constants.
    """
    inverse = np.linalg.inv(ideal.cell.array)
    turns = np.array([(cell.positions - ideal.positions) @ inverse for cell in cells])
    moved = (turns - np.round(turns)) @ ideal.cell.array
    forces = np.array([cell.get_forces() for cell in cells])
    moves = translations(ideal)
    n = len(ideal)
    rows = []
    for i in atoms:
        u = moved[:, moves].reshape(-1, 3 * n)
        f = forces[:, moves[:, i]].reshape(-1, 3)
        u, f = u - u.mean(axis=0), f - f.mean(axis=0)
        rows.append(-np.linalg.lstsq(u, f, rcond=None)[0].T.reshape(3, n, 3))
    return np.array(rows)


def compare(potential: mp.Potential, cells: list[Atoms], cation: float) -> list[pd.DataFrame]:
    """Pairs beyond the cutoff, of DFT and of the model."""
    cells = little_rattled(cells)
    ideal = mean_positions(cells)
    born = np.trace(cells[0].arrays["bec_equilibrium"].reshape(-1, 3, 3), axis1=1, axis2=2) / 3
    positive = np.unique(ideal.numbers[born > 0])
    charges = np.where(np.isin(ideal.numbers, positive), cation, -cation)
    ideal.info |= {"compound": str(ideal.symbols.formula.reduce()[0].convert("metal"))}
    ideal.calc = None
    frame = Frame.from_atoms(ideal, str(cells[0].info["dataset"]))
    first = [int(np.flatnonzero(ideal.numbers == z)[0]) for z in np.unique(ideal.numbers)]
    unit = unit_charge_constants(frame, first)
    found = {"DFT": dft_force_constants(cells, ideal, first),
             potential.name: force_constants(potential, frame, first)}  # fmt: skip
    published = np.abs(born).mean() ** 2 / (np.trace(cells[0].info["eps_inf"]) / 3)
    return [
        pair_table(frame, first, constants, unit, charges, potential.cutoff).assign(
            compound=frame.compound, forces=name, published=published, n_cells=len(cells)
        )
        for name, constants in found.items()
    ]


def table_of(pairs: pd.DataFrame) -> pd.DataFrame:
    """A row for each compound and source of forces: the fit, and the model against DFT."""
    rows = []
    for compound, own in pairs.groupby("compound", sort=False):
        dft = own[own["forces"] == "DFT"]
        for name, part in own.groupby("forces", sort=False):
            x, y = dft["K_along"].to_numpy(), part["K_along"].to_numpy()
            weight = dft["distance"].to_numpy() ** 6
            rows.append({
                "compound": compound, "forces": name, "n_cells": part["n_cells"].iloc[0],
                "n_pairs": len(part),
                "published": part["published"].iloc[0], **coulomb_fit(part),
                "slope_to_dft": (weight * x * y).sum() / (weight * x * x).sum(),
                "correlation_to_dft": (weight * x * y).sum()
                / np.sqrt((weight * x * x).sum() * (weight * y * y).sum()),
            })  # fmt: skip
    return pd.DataFrame(rows)


def main(analysis: Analysis) -> None:
    cells = ase.io.read(analysis.public_file("phonon_supercells_bec.extxyz.gz"), ":")
    potential = analysis.load("sevenn-0")
    sets = list(SETS.items())[: 1 if analysis.quick else None]
    by_set = {name: [c for c in cells if c.info["dataset"] == name] for name, _ in sets}
    analysis.use("phonon_supercells_bec", as_frames(c for own in by_set.values() for c in own))
    pairs = pd.concat(
        [part for name, cation in sets for part in compare(potential, by_set[name], cation)],
        ignore_index=True,
    )  # fmt: skip
    table = table_of(pairs)
    analysis.figure(force_constants_figure(pairs, table))
    analysis.table(table)
    print(table[["compound", "forces", "published", "strength", "exponent", "residual",
                 "slope_to_dft", "correlation_to_dft"]].round(3).to_string())  # fmt: skip


if __name__ == "__main__":
    run(main)

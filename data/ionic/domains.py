"""One function a domain: from a compound's unit cell to a structure, all randomness from ``rng``.

Positions and cells are in Å. Every function returns structures with the array ``charge_formal``
(e) and, in ``info``, whatever it decided.
"""

from __future__ import annotations

import itertools
from functools import reduce
from math import gcd

import numpy as np
from ase import Atoms
from ase.build import make_supercell
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import pdist, squareform

from mpprobe.structures.check import closest_pair

COULOMB = 14.399645
"""e²/(4πε0) in eV Å."""
VACUUM = 14.0
"""Empty space (Å) between a slab and its image along the direction that is not periodic."""
CLOSEST = 0.7
"""No pair of atoms comes closer than this share of the crystal's shortest distance."""


def shortest_distance(crystal: Atoms) -> float:
    """The crystal's shortest interatomic distance in Å."""
    return closest_pair(crystal, 4.0)[2]


def formula_units(atoms: Atoms) -> tuple[int, dict[str, int]]:
    """How many formula units there are, and the count of each species in one."""
    counts = atoms.symbols.formula.count()
    units = reduce(gcd, counts.values())
    return units, {symbol: n // units for symbol, n in counts.items()}


def supercell(unit: Atoms, low: int, high: int) -> Atoms:
    """The roundest supercell of ``low`` to ``high`` atoms; the unit cell where there is none."""
    repeats = [
        n for n in itertools.product(range(1, 6), repeat=3) if low <= len(unit) * np.prod(n) <= high
    ]
    heights = unit.cell.volume / unit.cell.areas()
    return unit.repeat(_roundest(heights, repeats) or (1, 1, 1))


def rattle(
    ideal: Atoms,
    amplitude: float,
    shortest: float,
    rng: np.random.Generator,
    closest: float = CLOSEST,
) -> Atoms:
    """Normal displacements of standard deviation ``amplitude`` (Å) along each axis, mean removed.

    Drawn again until no pair is closer than ``closest`` times ``shortest`` (Å).
    """
    for _ in range(1000):
        shift = rng.normal(scale=amplitude, size=(len(ideal), 3))
        atoms = ideal.copy()
        atoms.positions += shift - shift.mean(axis=0)
        if closest_pair(atoms, closest * shortest) is None:
            atoms.info["rattle"] = amplitude
            return atoms
    raise RuntimeError(f"{ideal}: no rattle of {amplitude} Å keeps the atoms apart")


def strain(ideal: Atoms, largest: float, rng: np.random.Generator) -> Atoms:
    """A random symmetric strain whose principal strains are at most ``largest`` in size."""
    draw = rng.uniform(-1.0, 1.0, size=(3, 3))
    tensor = (draw + draw.T) / 2
    tensor *= largest * rng.uniform(0.5, 1.0) / np.abs(np.linalg.eigvalsh(tensor)).max()
    atoms = ideal.copy()
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + tensor), scale_atoms=True)
    atoms.info["largest_strain"] = round(float(np.abs(np.linalg.eigvalsh(tensor)).max()), 4)
    return atoms


def vacancy(ideal: Atoms, near: bool, rng: np.random.Generator) -> Atoms:
    """A Schottky defect: one formula unit removed, as close together or as far apart as can be."""
    _, unit = formula_units(ideal)
    centre = int(rng.integers(len(ideal)))
    distance = np.round(ideal.get_distances(centre, range(len(ideal)), mic=True), 6)
    order = np.argsort(distance if near else -distance, kind="stable")
    removed = [centre]
    for symbol, count in unit.items():
        needed = count - (symbol == ideal.symbols[centre])
        choice = [i for i in order if ideal.symbols[i] == symbol and i != centre]
        removed += choice[:needed]
    atoms = ideal.copy()
    del atoms[removed]
    atoms.info["vacancies"] = "near" if near else "far"
    return atoms


def slab(unit: Atoms, facet: tuple[int, int, int], thickness: float, high: int) -> Atoms:
    """A stoichiometric slab without a dipole of formal charges across it, at most ``high`` atoms.

    Of all planes at which the oriented crystal can be cut, those that leave no dipole are kept,
    and of these the one in the widest gap between layers of atoms.
    """
    cut = _cut(_oriented(unit, facet))
    height = cut.cell.volume / cut.cell.areas()[2]
    layers = int(np.ceil(thickness / height))
    widths = cut.cell.areas()[2] / cut.cell.lengths()[[1, 0]]
    across = [
        n
        for n in itertools.product(range(1, 6), repeat=2)
        if len(cut) * layers * np.prod(n) <= high
    ]
    atoms = cut.repeat((*(_roundest(widths, across) or (1, 1)), layers))
    atoms.info = {"facet": "({}{}{})".format(*facet), "step": round(_step(cut), 2) + 0.0}
    return _open(atoms)


def cluster(
    unit: Atoms, low: int, high: int, shortest: float, rng: np.random.Generator, trials: int = 200
) -> Atoms:
    """A neutral cut-out of ``low`` to ``high`` atoms: whole formula units, connected, compact.

    Of ``trials`` random centres, that whose nearest atoms of each species have the lowest Coulomb
    energy of formal charges, which rewards compact pieces with a small dipole.
    """
    _, formula = formula_units(unit)
    size = sum(formula.values())
    units = int(rng.integers(-(-low // size), high // size + 1))
    block = unit.repeat(tuple(int(n) for n in 2 * np.ceil(8.0 / unit.cell.lengths()) + 1))
    corner = (block.cell.array - unit.cell.array).sum(axis=0) / 2
    pieces = []
    for centre in rng.random((trials, 3)) @ unit.cell.array + corner:
        piece = _nearest(block, centre, formula, units)
        if _connected(piece, 1.5 * shortest):
            pieces.append(piece)
    best = min(pieces, key=lambda piece: round(_coulomb(piece), 6))
    best.positions -= best.positions.mean(axis=0)
    return best


def _roundest(lengths: np.ndarray, repeats: list[tuple[int, ...]]) -> tuple[int, ...] | None:
    """The repeats whose two shortest lengths are longest, and of those the fewest cells."""

    def roundness(n: tuple[int, ...]) -> tuple:
        return (*np.round(np.sort(lengths * n)[:2], 4), -np.prod(n))

    return max(repeats, key=roundness, default=None)


def _oriented(unit: Atoms, facet: tuple[int, int, int]) -> Atoms:
    """A cell of the crystal whose first two vectors lie in the plane ``facet``, along x and y.

    Of the integer combinations of the unit cell's vectors, the two shortest in the plane, and the
    shortest that leads to the next plane.
    """
    combinations = np.array(list(itertools.product(range(-2, 3), repeat=3)))
    length = np.round(np.linalg.norm(combinations @ unit.cell.array, axis=1), 6)
    combinations = combinations[np.argsort(length, kind="stable")]
    plane = combinations @ np.array(facet)
    inside = combinations[plane == 0][1:]
    first = inside[0]
    second = next(v for v in inside if np.any(np.cross(first, v)))
    third = combinations[plane == 1][0]
    basis = np.array([first, second, third])
    if np.linalg.det(basis) < 0:
        basis = basis[[1, 0, 2]]
    oriented = make_supercell(unit, basis)
    oriented.rotate(oriented.cell[0], "x", rotate_cell=True)
    _, y, z = oriented.cell[1]
    oriented.rotate(np.degrees(-np.arctan2(z, y)), "x", rotate_cell=True)
    return oriented


def _cut(oriented: Atoms) -> Atoms:
    """The oriented cell folded so that its c faces lie in the best plane to cut at."""
    height = oriented.cell.volume / oriented.cell.areas()[2]
    z = np.round(oriented.get_scaled_positions()[:, 2] * height, 6) % height
    charges = oriented.arrays["charge_formal"]
    planes = np.unique(z)
    upper = np.append(planes[1:], planes[0] + height)
    choices = []
    for gap, middle in zip(upper - planes, (upper + planes) / 2, strict=True):
        dipole = float(charges @ ((z - middle) % height))
        if gap > 0.3 and abs(dipole) < 1e-3:
            choices.append((round(gap, 4), -round(middle, 4)))
    if not choices:
        raise RuntimeError(f"{oriented}: every cut leaves a dipole")
    start = -max(choices)[1] / height
    scaled = oriented.get_scaled_positions()
    scaled[:, 2] = (scaled[:, 2] - start) % 1.0
    folded = oriented.copy()
    folded.set_scaled_positions(scaled)
    return folded


def _step(cut: Atoms) -> float:
    """Mean potential inside a dipole-free slab against the vacuum, −2πk Σ q z²/V, in V.

    The sum runs over the repeated cell, z from its middle. It vanishes where every plane is
    neutral (Tasker's type 1), and is volts where a slab ends in charged planes (type 2): the
    Ewald potential of the bulk, whose mean is zero by convention, knows nothing of it.
    """
    height = cut.cell.volume / cut.cell.areas()[2]
    z = (cut.get_scaled_positions(wrap=False)[:, 2] - 0.5) * height
    return float(-2 * np.pi * COULOMB * (cut.arrays["charge_formal"] @ z**2) / cut.cell.volume)


def _open(atoms: Atoms) -> Atoms:
    """Replace the last cell vector by one along the normal, with vacuum, and no periodicity."""
    normal = np.cross(atoms.cell[0], atoms.cell[1])
    normal /= np.linalg.norm(normal)
    heights = atoms.positions @ normal
    atoms.cell[2] = normal * (np.ptp(heights) + VACUUM)
    atoms.positions += normal * (VACUUM / 2 - heights.min())
    atoms.pbc = (True, True, False)
    return atoms


def _nearest(block: Atoms, centre: np.ndarray, formula: dict[str, int], units: int) -> Atoms:
    order = np.argsort(np.round(np.linalg.norm(block.positions - centre, axis=1), 6), kind="stable")
    symbols = np.array(block.get_chemical_symbols())[order]
    chosen = [order[symbols == s][: units * n] for s, n in formula.items()]
    piece = block[np.concatenate(chosen)]
    piece.pbc = False
    piece.cell = None
    return piece


def _connected(piece: Atoms, radius: float) -> bool:
    """Whether contacts of opposite charges within ``radius`` (Å) link all atoms."""
    charges = piece.arrays["charge_formal"]
    near = (squareform(pdist(piece.positions)) < radius) & (np.outer(charges, charges) < 0)
    return connected_components(near)[0] == 1


def _coulomb(piece: Atoms) -> float:
    """Coulomb energy of the formal charges in e²/Å."""
    charges = piece.arrays["charge_formal"]
    i, j = np.triu_indices(len(piece), k=1)
    return float(np.sum(charges[i] * charges[j] / pdist(piece.positions)))

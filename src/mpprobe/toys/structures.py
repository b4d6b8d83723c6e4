"""Structures of the worlds: crystals to train on, and what lies outside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from ase import Atoms
from ase.build import bulk

from mpprobe.errors import ToyError
from mpprobe.toys.worlds import IONS, World

#: The domain that models are trained on; the others are outside.
TRAINING = "crystal"
# Compounds of rock salt in which models are trained.
_COMPOUNDS = ("NaCl", "MgO")
# Lattice constants over those at the sum of radii, and root mean square rattle in Å.
_STRAIN, _RATTLE = (0.95, 1.06), (0.03, 0.15)
_STRETCH = (1.10, 1.20)
_VACUUM = 12.0


def make_structures(world: World, domain: str, n: int, seed: int = 0) -> list[Atoms]:
    """Labelled structures of one domain, a function of the seed.

    Args:
        world: which labels them.
        domain: one of :data:`DOMAINS`.
        n: how many.
        seed: of the structures; the same ones whatever the world.

    Returns:
        With energy, forces and arrays (:meth:`mpprobe.toys.World.label`), and ``domain``,
        ``compound`` and ``group`` in info.

    Raises:
        ToyError: no such domain, or a number below one.
    """
    if domain not in DOMAINS:
        raise ToyError(f"domain {domain!r}: choose among {', '.join(DOMAINS)}")
    if n < 1:
        raise ToyError(f"{n} structures: make at least one")
    rng = np.random.default_rng([seed, list(DOMAINS).index(domain)])
    made = DOMAINS[domain](rng)
    labelled = []
    for k in range(n):
        atoms = next(made)
        formula = str(atoms.symbols.formula.reduce()[0].convert("metal"))
        atoms.info |= {"domain": domain, "compound": formula, "group": f"{domain}-{seed}-{k}"}
        labelled.append(world.label(atoms))
    return labelled


def _crystal(compound: str, scale: float, structure: str = "rocksalt") -> Atoms:
    cation, anion = (s for s in IONS if s in compound)
    spacing = IONS[cation][1] + IONS[anion][1]
    edge = {"rocksalt": 2.0, "fluorite": 4 / np.sqrt(3)}[structure] * spacing * scale
    return bulk(compound, structure, a=edge, cubic=True)


def _rattled(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    size = rng.uniform(*_RATTLE)
    atoms.positions += rng.normal(scale=size, size=atoms.positions.shape)
    return atoms


def _crystals(
    rng: np.random.Generator,
    scales: tuple[float, float] = _STRAIN,
    repeats: Sequence[tuple[int, int, int]] = ((2, 1, 1), (2, 2, 1)),
) -> Iterator[Atoms]:
    while True:
        cell = _crystal(rng.choice(_COMPOUNDS), rng.uniform(*scales))
        yield _rattled(cell.repeat(rng.choice(repeats)), rng)


def _stretched(rng: np.random.Generator) -> Iterator[Atoms]:
    return _crystals(rng, _STRETCH)


def _larger(rng: np.random.Generator) -> Iterator[Atoms]:
    return _crystals(rng, repeats=((4, 2, 1), (6, 1, 1)))


def _surfaces(rng: np.random.Generator) -> Iterator[Atoms]:
    """(001) slabs of three to six layers."""
    while True:
        cell = _crystal(rng.choice(_COMPOUNDS), rng.uniform(*_STRAIN))
        layers = int(rng.integers(3, 7))
        slab = cell.repeat((2, 1, 3))
        spacing = cell.cell.lengths()[2] / 2
        slab = slab[slab.positions[:, 2] < (layers - 0.5) * spacing]
        slab.pbc = (True, True, False)
        slab.center(vacuum=_VACUUM, axis=2)
        yield _rattled(slab, rng)


def _clusters(rng: np.random.Generator) -> Iterator[Atoms]:
    """Bricks of 8 to 36 ions."""
    bricks = ((2, 2, 2), (2, 2, 3), (2, 2, 4), (2, 3, 4), (2, 4, 4), (3, 3, 4), (2, 3, 3))
    while True:
        cell = _crystal(rng.choice(_COMPOUNDS), rng.uniform(*_STRAIN))
        edges = np.array(bricks[rng.integers(len(bricks))])
        ions = cell.repeat((2, 2, 2))
        spacing = cell.cell.lengths() / 2
        ions = ions[(ions.positions < (edges - 0.5) * spacing).all(axis=1)]
        ions.pbc = False
        ions.center(vacuum=_VACUUM)
        yield _rattled(ions, rng)


def _packings(rng: np.random.Generator) -> Iterator[Atoms]:
    """Ions put at random into a box, then pushed apart where they are closer than their sizes."""
    while True:
        cell = _crystal(rng.choice(_COMPOUNDS), rng.uniform(1.05, 1.15)).repeat((2, 1, 1))
        cell.positions = rng.uniform(size=(len(cell), 3)) @ cell.cell.array
        yield _pushed_apart(cell)


def _pushed_apart(atoms: Atoms, closest: float = 0.9, rounds: int = 300) -> Atoms:
    radii = np.array([IONS[s][1] for s in atoms.symbols])
    charges = np.array([IONS[s][0] for s in atoms.symbols])
    least = closest * (radii[:, None] + radii)
    least *= np.where(charges[:, None] * charges > 0, 1.25, 1.0)
    for _ in range(rounds):
        apart = atoms.get_all_distances(mic=True, vector=True)  # from i to j
        r = np.linalg.norm(apart, axis=2) + np.eye(len(atoms))
        overlap = np.clip(least - r, 0, None) * (1 - np.eye(len(atoms)))
        if overlap.max() < 1e-3:
            break
        atoms.positions -= 0.3 * (overlap[..., None] * apart / r[..., None]).sum(axis=1)
    return atoms


def _fluorites(rng: np.random.Generator) -> Iterator[Atoms]:
    """MgCl2 in the structure of fluorite, and Na2O in its opposite."""
    while True:
        compound = rng.choice(["MgCl2", "ONa2"])
        cell = _crystal(compound, rng.uniform(*_STRAIN), "fluorite")
        yield _rattled(cell.repeat(rng.choice([(1, 1, 1), (2, 1, 1)])), rng)


def _doped(rng: np.random.Generator) -> Iterator[Atoms]:
    """Crystals in which one cation and one anion are of the other compound."""
    other = {"Na": "Mg", "Mg": "Na", "Cl": "O", "O": "Cl"}
    for atoms in _crystals(rng, repeats=((2, 2, 1),)):
        symbols = np.array(atoms.get_chemical_symbols())
        for species in np.unique(symbols):
            k = rng.choice(np.flatnonzero(symbols == species))
            symbols[k] = other[species]
        atoms.symbols = symbols
        yield atoms


#: Generators by domain, that of training first.
DOMAINS: dict[str, Callable[[np.random.Generator], Iterator[Atoms]]] = {
    TRAINING: _crystals,
    "stretched": _stretched,
    "surface": _surfaces,
    "cluster": _clusters,
    "packing": _packings,
    "larger": _larger,
    "stoichiometry": _fluorites,
    "doped": _doped,
}

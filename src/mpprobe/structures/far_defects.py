"""Defects far from some atoms, whose surroundings stay: vacancies, dopants and surfaces.

Each leaves the structure neutral in formal charges and stays beyond the fixed radius, as the draws
of :mod:`mpprobe.structures.far` do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import lcm

import numpy as np
from ase import Atoms

from mpprobe.errors import StructureError
from mpprobe.structures.far import far_atoms, far_draws

#: What a cation is replaced by, and the formal charge of that (e).
DOPANTS = {
    "Li": ("Mg", 2), "Na": ("Ca", 2), "K": ("Sr", 2), "Cs": ("Ba", 2),
    "Be": ("Li", 1), "Mg": ("Li", 1), "Ca": ("Na", 1), "Sr": ("K", 1), "Ba": ("K", 1),
    "Zn": ("Li", 1), "Al": ("Mg", 2), "Ti": ("Al", 3), "Sn": ("Al", 3),
}  # fmt: skip
VACUUM = 14.0
"""Empty space (Å) in the stored cell of a slab, along the direction that isn't periodic."""
# Between layers of a rattled crystal; atoms of one layer are closer along the normal (Å).
_GAP = 0.5


def far_defects(
    atoms: Atoms,
    watched: Sequence[int] | np.ndarray,
    radius: float,
    kind: str,
    *,
    draws: int,
    amplitude: float = 0.1,
    seed: int | Sequence[int] = 0,
) -> list[Atoms]:
    """One structure without a defect, then others with one beyond a radius.

    Args:
        atoms: the structure, with formal charges (e) in the array ``charge_formal``.
        watched: indices of the atoms whose surroundings are fixed.
        radius: of the surroundings, Å: every atom within it of any watched atom stays.
        kind: ``vacancies``: cations and anions of no charge together are missing, as few as can be,
            at random places. ``dopants``: a cation is replaced (:data:`DOPANTS`) and another
            missing, or as many replaced as pay for a missing anion. ``surfaces``: vacuum across the
            third cell vector, at a random gap between layers, or in place of some of them; periodic
            in the other two directions then.
        draws: how many structures to make, the first among them.
        amplitude: standard deviation of the displacements beyond the radius, along each axis, Å.
        seed: of the draws.

    Returns:
        Copies labelled as :func:`~mpprobe.structures.far.far_draws` does; ``info["defect"]`` says
        what was done.

    Raises:
        StructureError: there is no such kind; formal charges are missing; no such defect has a
            place beyond the radius.

    Example:
        >>> structures = far_defects(atoms, watched_atoms(atoms), 5.0, "vacancies", draws=6)
    """
    if kind not in _DEFECTS:
        raise StructureError(f"defect {kind!r}: choose one of {', '.join(_DEFECTS)}")
    if "charge_formal" not in atoms.arrays:
        raise StructureError("defects need formal charges (e): give the array charge_formal")
    rng = np.random.default_rng(seed)
    whole = atoms if kind != "surfaces" else _unbroken(atoms, watched)
    streams = [*np.atleast_1d(seed).tolist(), 1]
    drawn = far_draws(whole, watched, radius, draws=draws, amplitude=amplitude, seed=streams)
    for i, one in enumerate(drawn):
        one.info["defect"] = "none"
        if i:
            drawn[i] = _DEFECTS[kind](one, far_atoms(one, watched, radius), rng)
    return drawn


def _vacancies(atoms: Atoms, far: np.ndarray, rng: np.random.Generator) -> Atoms:
    charge = atoms.arrays["charge_formal"]
    cation, anion = charge[charge > 0].min(), charge[charge < 0].max()
    total = lcm(round(cation), round(-anion))
    gone = _choose(far & (charge == cation), round(total / cation), rng)
    gone += _choose(far & (charge == anion), round(total / -anion), rng)
    return _without(atoms, gone)


def _dopants(atoms: Atoms, far: np.ndarray, rng: np.random.Generator) -> Atoms:
    charge, symbols = atoms.arrays["charge_formal"], np.array(atoms.get_chemical_symbols())
    hosts = [s for s in DOPANTS if (symbols == s).any()]
    if not hosts:
        raise StructureError(f"{atoms.symbols.formula:reduce}: no dopant is known for its cations")
    host = min(hosts, key=lambda s: charge[symbols == s][0])
    dopant, own = DOPANTS[host]
    excess = own - charge[symbols == host][0]
    anion = charge[charge < 0].max()
    n = 1 if excess > 0 else round(anion / excess)
    replaced = _choose(far & (symbols == host), n, rng)
    missing = far & ((symbols == host) if excess > 0 else (charge == anion))
    missing[replaced] = False
    doped = atoms.copy()
    doped.symbols[replaced] = dopant
    doped.arrays["charge_formal"][replaced] = own
    doped = _without(doped, _choose(missing, 1, rng))
    doped.info["defect"] = f"{n} {dopant} for {host}, {doped.info['defect']}"
    return doped


def _surface(atoms: Atoms, far: np.ndarray, rng: np.random.Generator) -> Atoms:
    """Vacuum at a gap between layers beyond the radius, or between two, in place of the layers."""
    watched, radius = np.flatnonzero(atoms.arrays["watched"]), atoms.info["fixed"]
    height, z, top = _along_normal(atoms, watched)
    sorted_z = np.sort(z)
    gap, middle = np.diff(sorted_z), (sorted_z[1:] + sorted_z[:-1]) / 2
    cuts = middle[(gap > _GAP) & (middle > top + radius) & (middle < height - radius)]
    charge = atoms.arrays["charge_formal"]
    pairs = [
        (low, high)
        for k, low in enumerate(cuts)
        for high in cuts[k:]
        if abs(charge[(z > low) & (z < high)].sum()) < 1e-9
    ]
    if not pairs:
        raise StructureError(
            f"no gap between layers lies farther than {radius:g} Å from the watched atoms along "
            "the third cell vector: give a larger cell"
        )
    low, high = pairs[rng.integers(len(pairs))]
    slab = _moved(atoms, z, watched, high)[~((z > low) & (z < high))]
    slab.cell[2, 2] = np.ptp(slab.positions[:, 2]) + VACUUM
    slab.pbc = (True, True, False)
    slab.info["defect"] = f"surface, {len(atoms) - len(slab)} atoms missing"
    return slab


_DEFECTS: dict[str, Callable[[Atoms, np.ndarray, np.random.Generator], Atoms]] = {
    "vacancies": _vacancies,
    "dopants": _dopants,
    "surfaces": _surface,
}


def _choose(among: np.ndarray, n: int, rng: np.random.Generator) -> list[int]:
    if among.sum() < n:
        raise StructureError(
            "too few atoms lie beyond the radius for this defect: give a larger cell"
        )
    chosen: list[int] = []
    for _ in range(n):
        chosen.append(int(rng.choice(np.setdiff1d(np.flatnonzero(among), chosen))))
    return chosen


def _without(atoms: Atoms, gone: list[int]) -> Atoms:
    left = atoms.copy()
    left.info["defect"] = f"{' and '.join(atoms.symbols[gone])} missing"
    del left[gone]
    return left


def _unbroken(atoms: Atoms, watched: Sequence[int] | np.ndarray) -> Atoms:
    """Whole images moved along the third cell vector so that the watched atoms are in the middle.

    Raises:
        StructureError: that vector isn't along z, or the others have a part along it.
    """
    cell = atoms.cell.array
    if not atoms.pbc.all() or np.abs([*cell[2, :2], *cell[:2, 2]]).max() > 1e-6:
        raise StructureError(
            "surfaces are cut across the third cell vector: it has to be along z, the others "
            "perpendicular to it, and all periodic"
        )
    height, z, top = _along_normal(atoms, np.asarray(watched))
    return _moved(atoms, z, np.asarray(watched), (top + height) / 2)


def _along_normal(atoms: Atoms, watched: np.ndarray) -> tuple[float, np.ndarray, float]:
    """The cell's height, how far each atom is above the lowest watched one, and the highest (Å).

    The lowest of the watched atoms is the one below which the others have no image for longest.
    """
    height = float(atoms.cell[2, 2])
    lowest = min(
        watched,
        key=lambda i: np.max((atoms.positions[watched, 2] - atoms.positions[i, 2]) % height),
    )
    z = (atoms.positions[:, 2] - atoms.positions[lowest, 2]) % height
    return height, z, float(z[watched].max())


def _moved(atoms: Atoms, z: np.ndarray, watched: np.ndarray, end: float) -> Atoms:
    """Atoms above ``end`` (Å above the lowest watched one) are put below, by whole cells."""
    moved = atoms.copy()
    lowest = watched[z[watched].argmin()]
    rise = atoms.positions[:, 2] - atoms.positions[lowest, 2]
    cells = np.round((rise - z) / atoms.cell[2, 2]) + (z > end)
    moved.positions[:, 2] -= cells * atoms.cell[2, 2]
    return moved

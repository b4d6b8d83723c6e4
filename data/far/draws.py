"""Make the set `far`: python data/far/draws.py [--check]

Writes far.extxyz.gz, SHA256SUMS and the table of README.md beside itself, all from one seed. With
--check, writes nothing and fails if what is there is not what it would write.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "ionic"))
import compounds as ionic
from domains import rattle, shortest_distance
from make import checksums, only_checking, packed, update, with_tables

from mpprobe.structures.check import check, close_atoms
from mpprobe.structures.far import CLOSEST, far_atoms, far_draws, labelled, watched_atoms
from mpprobe.structures.far_defects import far_defects
from mpprobe.structures.frame import Frame

DATA = HERE / "far.extxyz.gz"
SEED = 20261201
NEAR, FAR = 0.15, 0.30  # Å: rattle of the whole crystal, and of what is drawn anew on top
DECIMALS = 3
EDGE = 0.9  # Å beyond the fixed radius, which the watched atoms' own rattle can't bridge
#: Besides those of `ionic`; lattice parameters (Å) as any collection of crystal data gives them.
MORE = (
    ionic._rock_salt("LiCl", "Li", "Cl", 5.130), ionic._rock_salt("NaF", "Na", "F", 4.634),
    ionic._rock_salt("NaBr", "Na", "Br", 5.973), ionic._rock_salt("KF", "K", "F", 5.347),
    ionic._rock_salt("CaS", "Ca", "S", 5.690), ionic._fluorite("BaF2", "Ba", "F", 6.200),
    ionic._antifluorite("K2O", "K", "O", 6.436),
)  # fmt: skip
COMPOUNDS = {c.name: c for c in (*ionic.COMPOUNDS, *MORE)}
ROCK_SALTS = ("LiF", "LiCl", "NaF", "NaCl", "NaBr", "KF", "KCl", "KBr", "MgO", "CaO", "SrO", "CaS")
OTHERS = ("CsCl", "CsBr", "ZnS", "ZnO", "CaF2", "SrF2", "BaF2", "Na2O", "K2O", "SnO2", "MgF2",
          "SrTiO3", "BaTiO3", "BaSnO3", "KMgF3")  # fmt: skip
#: Of each series the radius that is fixed (Å), the least width of the cell (Å), the surroundings of
#: a compound, the draws of each, and the compounds.
SERIES = {
    "rattled": (5.0, 15.1, 2, 8, ROCK_SALTS + OTHERS),
    "rattled-6": (6.0, 18.1, 2, 6, ("NaF", "KCl", "KBr", "CaO", "CsCl", "CsBr", "BaF2", "K2O")),
    "rattled-10": (
        10.0, 21.0, 2, 6, ("NaCl", "NaBr", "KF", "KCl", "KBr", "CaS", "CsCl", "CsBr"),
    ),
    "near": (5.0, 15.1, 2, 6, ("LiCl", "NaCl", "KF", "KCl", "SrO", "CaS", "CsCl", "CaF2")),
    "vacancies": (
        5.0, 15.1, 2, 6,
        ("LiCl", "NaCl", "NaBr", "KF", "KCl", "KBr", "SrO", "CaS", "CsCl", "CsBr", "ZnS"),
    ),
    "dopants": (
        5.0, 15.1, 2, 6,
        ("LiCl", "NaCl", "NaBr", "KF", "KCl", "KBr", "SrO", "CaS", "CsCl", "CaF2", "ZnS", "SrTiO3"),
    ),
    "surfaces": (5.0, 15.1, 2, 6, ROCK_SALTS),
}  # fmt: skip
DEFECTS = ("vacancies", "dopants", "surfaces")


def build(series: str, name: str) -> list[Atoms]:
    """All structures of one compound in one series, labelled and checked."""
    radius, width, n_surroundings, draws, _ = SERIES[series]
    unit = COMPOUNDS[name].unit_cell()
    heights = unit.cell.volume / unit.cell.areas()
    # Another cell between the surfaces of a slab, so that there are several places for them.
    across = np.array([0, 0, int(series == "surfaces")])
    ideal = unit.repeat(np.ceil(width / heights).astype(int) + across)
    structures = []
    for k, (base, drawn) in enumerate(
        _surroundings(series, name, ideal, radius, n_surroundings, draws)
    ):
        for atoms in drawn:
            atoms.info |= {
                "compound": name, "structure_type": COMPOUNDS[name].structure_type,
                "domain": series, "group": f"{name}-{series}-{k}",
                "split_part": "default" if series == "rattled" else "rest",
            }  # fmt: skip
            atoms.info.pop("rattle", None)
            _promise(base, atoms, radius)
        structures += drawn
    return structures


def _surroundings(
    series: str, name: str, ideal: Atoms, radius: float, n: int, draws: int
) -> Iterator[tuple[Atoms, list[Atoms]]]:
    """For each surroundings the rattled crystal, and its draws."""

    def seed(what: str) -> list[int]:
        # By name, so that a compound added later leaves the others as they are.
        return [SEED, zlib.crc32(f"{name} {series} {what}".encode())]

    shortest, watched = shortest_distance(ideal), watched_atoms(ideal)
    for k in range(n):
        base = _rounded(rattle(ideal, NEAR, shortest, np.random.default_rng(seed(f"base {k}"))))
        if series == "near":
            # The far atoms of all surroundings are those of one draw, from the ideal crystal.
            edge = radius + EDGE
            drawn = far_draws(ideal, watched, edge, draws=draws, amplitude=FAR, seed=seed("draws"))
            near = ~far_atoms(ideal, watched, edge)
            for atoms in drawn:
                atoms.positions[near] = base.positions[near]
                labelled(atoms, watched, radius)
            base = drawn[0]
        elif series in DEFECTS:
            drawn = far_defects(base, watched, radius, series, draws=draws, seed=seed(f"draws {k}"))
            base = _rounded(drawn[0])
        else:
            drawn = far_draws(
                base, watched, radius, draws=draws, amplitude=FAR, seed=seed(f"draws {k}")
            )
        yield base, [_rounded(atoms) for atoms in drawn]


def _rounded(atoms: Atoms) -> Atoms:
    """As the file holds it."""
    atoms.set_cell(np.round(atoms.cell.array, 5), scale_atoms=False)
    atoms.positions = np.round(atoms.positions, DECIMALS)
    return atoms


def _promise(base: Atoms, atoms: Atoms, radius: float) -> None:
    """Raise unless a structure is what the datasheet says."""
    watched = np.flatnonzero(atoms.arrays["watched"])
    far = far_atoms(atoms, watched, radius)
    where = f"{atoms.info['group']}: "
    if len(watched) != len(np.unique(base.numbers)):
        raise RuntimeError(f"{where}{len(watched)} atoms are watched")
    known = {(z, *p) for z, p in zip(base.numbers.tolist(), base.positions.tolist(), strict=True)}
    near = zip(atoms.numbers[~far].tolist(), atoms.positions[~far].tolist(), strict=True)
    if not all((z, *p) in known for z, p in near):
        raise RuntimeError(f"{where}an atom within {radius} Å has moved")
    own = far_atoms(base, [int(i) for i in _places(base, atoms, watched)], radius)
    if (~own).sum() != (~far).sum():
        raise RuntimeError(f"{where}{(~far).sum()} atoms are near, {(~own).sum()} were")
    if abs(atoms.arrays["charge_formal"].sum()) > 1e-9:
        raise RuntimeError(f"{where}not neutral")
    if close_atoms(atoms, 0.95 * CLOSEST * 0.75 * shortest_distance(base)).any():
        raise RuntimeError(f"{where}atoms too close")


def _places(base: Atoms, atoms: Atoms, watched: np.ndarray) -> np.ndarray:
    """Where the watched atoms are in ``base``, whose positions they have."""
    return np.array([
        np.abs(base.positions - atoms.positions[i]).max(axis=1).argmin() for i in watched
    ])  # fmt: skip


def tables(structures: list[Atoms]) -> str:
    """Counts by series."""
    lines = ["| series | fixed (Å) | compounds | surroundings | structures | atoms |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    for series, (radius, *_, compounds) in SERIES.items():
        own = [a for a in structures if a.info["domain"] == series]
        groups = {a.info["group"] for a in own}
        lines.append(
            f"| `{series}` | {radius:g} | {len(compounds)} | {len(groups)} | {len(own)} | "
            f"{sum(map(len, own)):,} |"
        )
    return "\n".join(lines)


def main() -> int:
    only_check = only_checking(__doc__.splitlines()[0])
    structures = [
        atoms for series, (*_, compounds) in SERIES.items() for name in compounds
        for atoms in build(series, name)
    ]  # fmt: skip
    check([Frame.from_atoms(a, f"far@{i}") for i, a in enumerate(structures)], needs_ewald=True)
    data, readme = packed(structures), HERE / "README.md"
    different = update(
        {
            DATA: data,
            HERE / "SHA256SUMS": checksums({DATA.name: data}),
            readme: with_tables(
                readme.read_text(), "draws.py", {"counts": tables(structures)}
            ).encode(),
        },
        only_check,
    )
    print(f"{len(structures)} structures, {sum(map(len, structures)):,} atoms")
    return 1 if only_check and different else 0


if __name__ == "__main__":
    sys.exit(main())

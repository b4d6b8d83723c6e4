"""Draw the structures of the set `dft`: python data/dft/inputs.py [--check]

Writes inputs.extxyz.gz beside itself, from one seed; with --check, writes nothing and fails if what
is there is not what it would write. Melts come from melts.extxyz.gz (melts.py). How each structure
is drawn is shared with the set `ionic`, in data/ionic.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.build import bulk

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "ionic"))

from compounds import COMPOUNDS, Compound
from domains import cluster, rattle, shortest_distance, slab, strain, vacancy
from make import only_checking, packed, update

from mpprobe.structures.check import check
from mpprobe.structures.frame import Frame

INPUTS, MELTS = HERE / "inputs.extxyz.gz", HERE / "melts.extxyz.gz"
SEED = 20240719
NAMES = ("NaCl", "MgO", "LiF", "CaO", "KCl", "Al2O3", "TiO2", "SiO2", "Li2O")
#: Å: the two rattles of crystals, and that of all else.
SMALL, LARGE, OTHER = 0.03, 0.08, 0.06
#: Å of vacuum between a cluster and its image.
VACUUM = 10.0
#: Repeats of the conventional cell for crystals and for vacancies; others are as they are.
CELLS = {"TiO2": (1, 1, 2)}
DEFECTIVE = {"NaCl": (2, 2, 1), "MgO": (2, 2, 1), "LiF": (2, 2, 1), "CaO": (2, 2, 1),
             "Li2O": (2, 1, 1), "TiO2": (2, 1, 2)}  # fmt: skip
SLABS, STEPPED = ("NaCl", "MgO"), ("NaCl",)
CLUSTERS = {"NaCl": 5, "MgO": 5, "LiF": 4, "KCl": 3, "CaO": 3, "Li2O": 3, "SiO2": 2, "TiO2": 2,
            "Al2O3": 1}  # fmt: skip
METALS = {"Al": 4.05, "Cu": 3.615}


def draw() -> list[Atoms]:
    """Every structure, in the order in which they are calculated.

    Wherever the calculations stop, every kind has had its share.
    """
    queues = [list(kind()) for kind in (_bulk, _strained, _cluster, _metal, _slab, _vacancy, _melt)]
    shares = [(k / len(queue), n) for n, queue in enumerate(queues) for k in range(len(queue))]
    return [queues[n][round(share * len(queues[n]))] for share, n in sorted(shares)]


def _bulk() -> Iterator[Atoms]:
    for k in range(8):
        for compound in _compounds(NAMES):
            unit, name = _crystal(compound), f"bulk-{compound.name}-{k}"
            yield _rattled(unit, (SMALL, LARGE)[k % 2], compound, name)


def _strained() -> Iterator[Atoms]:
    """All lattice vectors by -6 and +6 %, then random strains whose largest is at most 6 %."""
    for k in range(5):
        for compound in _compounds(NAMES):
            unit, name = _crystal(compound), f"strained-{compound.name}-{k}"
            if k < 2:
                strained = unit.copy()
                strained.info["largest_strain"] = (-0.06, 0.06)[k]
                factor = 1 + strained.info["largest_strain"]
                strained.set_cell(unit.cell.array * factor, scale_atoms=True)
            else:
                strained = strain(unit, 0.06, _random(f"{name} strain"))
            yield _rattled(strained, SMALL, compound, name)


def _vacancy() -> Iterator[Atoms]:
    for k in range(4):
        for compound in _compounds(DEFECTIVE):
            name = f"vacancy-{compound.name}-{k}"
            whole = compound.unit_cell().repeat(DEFECTIVE[compound.name])
            defective = vacancy(whole, k % 2 == 0, _random(f"{name} vacancy"))
            yield _rattled(defective, OTHER, compound, name)


def _slab() -> Iterator[Atoms]:
    """(001) slabs of six layers, and of four with half of the top layer removed: steps."""
    for k in range(6):
        for compound in _compounds(SLABS):
            flat = slab(compound.unit_cell(), (0, 0, 1), 2.6 * compound.cellpar[0], 24)
            yield _rattled(flat, OTHER, compound, f"surface-{compound.name}-{k}")
        for compound in _compounds(STEPPED):
            name = f"surface-{compound.name}-stepped-{k}"
            yield _rattled(_stepped(compound), OTHER, compound, name)


def _stepped(compound: Compound) -> Atoms:
    whole = slab(compound.unit_cell(), (0, 0, 1), 1.6 * compound.cellpar[0], 16).repeat((2, 1, 1))
    z = whole.positions[:, 2]
    top = (z > z.max() - 0.5) & (whole.get_scaled_positions()[:, 0] >= 0.5 - 1e-6)
    del whole[top]
    whole.info = {"facet": "(001)", "step": 0.0, "stepped": True}
    return whole


def _cluster() -> Iterator[Atoms]:
    """Pieces of crystals in a box; other random centres and sizes give other isomers."""
    for k in range(max(CLUSTERS.values())):
        for compound in _compounds(c for c, n in CLUSTERS.items() if k < n):
            name = f"cluster-{compound.name}-{k}"
            unit = compound.unit_cell()
            shortest = shortest_distance(unit)
            piece = cluster(unit, 8, 18, shortest, _random(f"{name} piece"), trials=6)
            piece.center(vacuum=VACUUM / 2)
            yield _rattled(piece, OTHER, compound, name)


def _metal() -> Iterator[Atoms]:
    for k in range(6):
        for metal, a in METALS.items():
            unit = bulk(metal, "fcc", a=a, cubic=True)
            shortest = a / 2**0.5
            name = f"metal-{metal}-{k}"
            rattled = rattle(unit, (SMALL, LARGE)[k % 2], shortest, _random(name))
            yield _labelled(rattled, name, metal)


def _melt() -> Iterator[Atoms]:
    for k, atoms in enumerate(ase.io.read(MELTS, ":")):
        compound = atoms.info["compound"]
        yield _labelled(atoms, f"melt-{compound}-{k}", compound, f"{compound}-melt")


def _random(name: str) -> np.random.Generator:
    # Seeded by name, so that a structure added later leaves the others as they are.
    return np.random.default_rng([SEED, zlib.crc32(name.encode())])


def _compounds(names: Iterable[str]) -> list[Compound]:
    known = {compound.name: compound for compound in COMPOUNDS}
    return [known[name] for name in names]


def _crystal(compound: Compound) -> Atoms:
    """A small cell that is worth rattling."""
    if compound.name == "Al2O3":  # its conventional cell holds three primitive ones
        return compound.unit_cell(primitive=True)
    return compound.unit_cell().repeat(CELLS.get(compound.name, (1, 1, 1)))


def _rattled(ideal: Atoms, amplitude: float, compound: Compound, name: str) -> Atoms:
    shortest = shortest_distance(compound.unit_cell())
    return _labelled(rattle(ideal, amplitude, shortest, _random(name)), name, compound.name)


def _labelled(atoms: Atoms, name: str, compound: str, group: str | None = None) -> Atoms:
    details = {
        k: v for k, v in atoms.info.items() if k not in ("compound", "spacegroup", "unit_cell")
    }
    atoms.info = {
        "name": name,
        "compound": compound,
        "domain": name.partition("-")[0],
        "group": group or name,
        **details,
    }
    atoms.set_cell(np.round(atoms.cell.array, 5), scale_atoms=False)
    atoms.positions = np.round(atoms.positions, 5)
    return atoms


def main() -> int:
    only_check = only_checking(__doc__.splitlines()[0])
    structures = draw()
    check([Frame.from_atoms(a, a.info["name"]) for a in structures], needs_ewald=True, cutoff=5.0)
    different = update({INPUTS: packed(structures)}, only_check)
    print(f"{len(structures)} structures, {sum(map(len, structures)):,} atoms")
    return 1 if only_check and different else 0


if __name__ == "__main__":
    sys.exit(main())

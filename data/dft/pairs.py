"""Calculate forces between distant atoms with GPAW: python3 pairs.py [HOST ...]

Each host is a structure in which one atom, or two far apart, are displaced: the force on the second
when the first moves, and the mixed second difference of every part of the energy. Runs like
calculate.py, one core a host; what .cache or pairs.extxyz.gz holds is not calculated again.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import ase.io
import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.geometry import find_mic
from calculate import CACHE, HERE, calculator, claimed, energies, versions

PAIRS = HERE / "pairs.extxyz.gz"
#: Å by which an atom is displaced.
STEP = 0.2
#: Å: the lattice constant of NaCl, and the bond of a free molecule.
LATTICE, BOND = 5.64, 2.36
#: Without the 2s and 2p electrons of Na, which move little: less than half the bands.
SETUPS = {"Na": "1"}
#: As calculate.py, but converged for parts of the energy, whose errors are of first order.
TIGHT = {"cutoff": 350.0, "width": 0.02, "density": 1e-8, "eigenstates": 1e-10}

TIMING = ("scf_steps", "seconds")

#: One displaced atom: its index and the axis.
Move = tuple[int, str]


@dataclass(frozen=True)
class Host:
    """A structure in which atoms are displaced.

    Attributes:
        atoms: undisturbed.
        options: k-points, grid and what else :func:`calculate.calculator` takes.
        moves: each displaced alone.
        pairs: each displaced together.
        shifts: for a displacement that a translation of the host turns into one of ``moves``,
            that move: its energy is the same and isn't calculated.
    """

    atoms: Atoms
    options: dict
    moves: list[Move]
    pairs: list[tuple[Move, Move]]
    shifts: dict[Move, Move] = field(default_factory=dict)


def slab() -> Host:
    """Two layers of NaCl(001), long in y; ions of the top layer move along the normal."""
    atoms = _slab()
    first = [_at(atoms, (0, 0)), _at(atoms, (0, 0.5))]
    ends = []
    for n in (2, 3):  # repeats away: two of a kind, two of the other, one of each
        ends += [(first[0], _at(atoms, (0, n))), (first[1], _at(atoms, (0, n + 0.5)))]
        ends += [(first[0], _at(atoms, (0.5, n)))]
    kinds = {atoms[i].symbol: i for i in first}
    shifts = {(j, "z"): (kinds[atoms[j].symbol], "z") for _, j in ends}
    pairs = [((i, "z"), (j, "z")) for i, j in ends]
    return Host(atoms, _SLAB, [(i, "z") for i in first], pairs, shifts)


def adsorbate() -> Host:
    """The same slab with a molecule NaCl flat on top; its ions and ions of the slab move."""
    atoms = _slab()
    top = atoms.positions[:, 2].max()
    height = top + LATTICE / 2
    atoms += Atoms("NaCl", [(0, 0, height), (0, LATTICE / 2, height)])
    molecule = [len(atoms) - 2, len(atoms) - 1]
    slab_ions = [_at(atoms, (0, y), top) for y in (2, 2.5, 3, 3.5)]
    moves = [(i, "z") for i in (*molecule, *slab_ions)]
    pairs = [((i, "z"), (j, "z")) for i in molecule for j in slab_ions]
    return Host(atoms, _SLAB, moves, pairs)


def crystal() -> Host:
    """NaCl, 4 × 4 × 4 primitive cells; ions move along x."""
    atoms = bulk("NaCl", "rocksalt", a=LATTICE).repeat((4, 4, 4))
    options = {"kpts": [1, 1, 1], "grid": [72, 72, 72]}
    ends, shifts = [], {}
    for first in (0, 1):
        vectors = [(3, 1, 0), (2, 2, 2)] + ([(3, 1, 1)] if first == 0 else [])
        for vector in np.array(vectors) * LATTICE / 2:
            second = _nearest(atoms, atoms.positions[first] + vector)
            ends.append((first, second))
            shifts[second, "x"] = (0 if atoms[second].symbol == "Na" else 1, "x")
    return Host(atoms, options, [(0, "x"), (1, "x")], [((i, "x"), (j, "x")) for i, j in ends],
                shifts)  # fmt: skip


def gap(distance: float) -> Host:
    """Two molecules NaCl in one line, nothing between them; each Na moves towards the other."""
    z = [0, BOND, distance, distance + BOND]
    atoms = Atoms("NaClNaCl", [(0, 0, x) for x in z], cell=(14, 14, distance + 17), pbc=True)
    atoms.center()
    moves = [(0, "z"), (2, "z")]
    return Host(atoms, {"kpts": [1, 1, 1]}, moves, [(moves[0], moves[1])])


_SLAB = {"kpts": [2, 1, 1], "grid": [26, 156, 90], "dipole": "xy"}
#: In the order in which they are calculated.
HOSTS = {
    "slab": slab,
    "gap-7": lambda: gap(7.0),
    "gap-10": lambda: gap(10.0),
    "gap-15": lambda: gap(15.0),
    "adsorbate": adsorbate,
    "crystal": crystal,
}


def _slab() -> Atoms:
    atoms = bulk("NaCl", "rocksalt", a=LATTICE, cubic=True).repeat((1, 6, 1))
    atoms = atoms[atoms.positions[:, 2] < 0.9 * LATTICE]
    atoms.cell[2] = (0, 0, 20)
    atoms.pbc = (True, True, False)
    atoms.positions[:, 2] += 7
    return atoms


def _at(atoms: Atoms, place: tuple[float, float], height: float | None = None) -> int:
    """The atom of the top layer, or of a height, at (x, y) in lattice constants."""
    height = atoms.positions[:, 2].max() if height is None else height
    return _nearest(atoms, np.array([*np.array(place) * LATTICE, height]))


def _nearest(atoms: Atoms, place: np.ndarray) -> int:
    """The atom at a place."""
    _, distance = find_mic(atoms.positions - place, atoms.cell, atoms.pbc)
    assert distance.min() < 1e-4
    return int(distance.argmin())


def configurations(name: str) -> Iterator[tuple[Atoms, tuple[Move, ...]]]:
    """What is calculated of a host, the undisturbed structure first."""
    host = HOSTS[name]()
    for moves in ((), *((m,) for m in host.moves), *host.pairs):
        yield displaced(host.atoms, name, moves), moves


def displaced(atoms: Atoms, host: str, moves: tuple[Move, ...]) -> Atoms:
    """A copy with some atoms moved, and its labels."""
    copy = atoms.copy()
    for index, axis in moves:
        copy.positions[index, "xyz".index(axis)] += STEP
    copy.set_cell(np.round(copy.cell.array, 5))
    copy.positions = np.round(copy.positions, 5)
    group = f"pair-{host}"
    copy.info = {
        "name": "_".join([group, *(f"{index}{axis}" for index, axis in moves)]),
        "compound": "NaCl",
        "domain": host.partition("-")[0],
        "group": group,
    }
    return copy


def translated(host: str, calculated: Atoms, old: Move, new: Move) -> Atoms:
    """A calculated configuration, moved so that another atom is the displaced one."""
    ideal = HOSTS[host]().atoms
    atoms = displaced(ideal, host, (new,))
    vectors = ideal.positions + ideal.positions[new[0]] - ideal.positions[old[0]]
    place = np.array([_nearest(ideal, vector) for vector in vectors])
    assert np.array_equal(ideal.numbers[place], ideal.numbers)
    forces = np.empty_like(calculated.get_forces())
    forces[place] = calculated.get_forces()
    results = {"energy": calculated.get_potential_energy(), "forces": forces,
               "free_energy": calculated.calc.results["free_energy"]}  # fmt: skip
    atoms.calc = SinglePointCalculator(atoms, **results)
    own = {k: v for k, v in calculated.info.items() if k not in ("name", "input", *TIMING)}
    atoms.info |= {**own, "same_as": calculated.info["name"]}
    return atoms


def settings(host: str) -> dict:
    """All that decides how a host is calculated."""
    return {**TIGHT, **HOSTS[host]().options, "setups": SETUPS}


def digest(atoms: Atoms, options: dict) -> str:
    """Of a configuration and its settings."""
    lengths = [np.round(x, 5).tolist() for x in (atoms.positions, atoms.cell.array)]
    kept = [atoms.get_chemical_symbols(), *lengths, atoms.pbc.tolist(), options]
    return f"sha256:{hashlib.sha256(json.dumps(kept).encode()).hexdigest()[:12]}"


def finished() -> dict[str, str]:
    """Names of configurations that needn't be calculated, and the digests of their inputs."""
    stored = ase.io.read(PAIRS, ":") if PAIRS.exists() else []
    done = {a.info["name"]: a.info["input"] for a in stored if "input" in a.info}
    for path in CACHE.glob("pair-*.json"):
        done[path.stem] = json.loads(path.read_text())["input"]
    return done


def run(host: str) -> None:
    """What is missing of a host; one density serves as the start of the next."""
    options, done, calc = settings(host), finished(), None
    for atoms, _ in configurations(host):
        name = atoms.info["name"]
        record = {"input": digest(atoms, options), "settings": options, **versions()}
        if done.get(name) == record["input"]:
            continue
        calc = calc or calculator(options, str(CACHE / f"{name}.txt"))
        started = time.time()
        atoms.calc = calc
        record |= energies(atoms) | {"scf_steps": calc.scf.niter}
        record["seconds"] = round(time.time() - started, 1)
        part = CACHE / f".{name}.part"
        part.write_text(json.dumps(record))
        os.replace(part, CACHE / f"{name}.json")
        print(f"{name}: {record['seconds']} s, {record['scf_steps']} steps", flush=True)


def main() -> int:
    CACHE.mkdir(exist_ok=True)
    for host in sys.argv[1:] or HOSTS:
        with claimed(f"pair-{host}") as mine:
            if mine:
                run(host)
    return 0


if __name__ == "__main__":
    sys.exit(main())

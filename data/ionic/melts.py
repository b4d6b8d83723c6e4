"""Sample the melts of the set `ionic`: python data/ionic/melts.py (about 20 minutes, one core)

Short Langevin dynamics with SevenNet-0 from a rattled, expanded crystal: first far hotter than the
melt, so that the atoms leave their sites, then at its temperature. Writes melts.extxyz.gz beside
itself; each finished run is kept in .cache, so an interrupted script goes
on where it stopped. The structures are inputs for probing, not reference data: SevenNet-0 only has
to make them liquid-like. Molecular dynamics is chaotic, so another machine gets other melts.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms, units
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from compounds import COMPOUNDS, Compound
from domains import rattle, shortest_distance, supercell
from make import MELTS, SEED, packed, update

CACHE = Path(__file__).parent / ".cache"
SIZES = (40, 64)  # atoms, at least and at most
TIME_STEP = 2.0  # fs
HOT = 150.0  # fs at the first temperature
SNAPSHOTS = (300.0, 500.0)  # fs
EXPANSION = 1.12  # of the volume
START = 0.3  # standard deviation of the first rattle in Å
FRICTION = 0.03  # 1/fs


def start(
    compound: Compound, rng: np.random.Generator, sizes: tuple[int, int]
) -> tuple[Atoms, Atoms]:
    """The expanded crystal, and the same with its atoms strongly rattled."""
    unit = compound.unit_cell()
    crystal = supercell(unit, *sizes)
    crystal.set_cell(crystal.cell.array * EXPANSION ** (1 / 3), scale_atoms=True)
    return crystal, rattle(crystal, START, shortest_distance(unit), rng, closest=0.5)


def sample(compound: Compound, calculator, sizes: tuple[int, int] = SIZES) -> list[Atoms]:
    """One run; the snapshots carry temperature, time and how far the atoms have moved."""
    rng = np.random.default_rng([SEED, zlib.crc32(f"{compound.name} melt".encode())])
    crystal, atoms = start(compound, rng, sizes)
    atoms.calc = calculator
    hot, temperature = compound.melt
    thermalize_momenta(atoms, temperature_K=hot, rng=rng)
    _run(atoms, hot, HOT, rng)
    snapshots, now = [], HOT
    for time in SNAPSHOTS:
        _run(atoms, temperature, time - now, rng)
        snapshots.append(_snapshot(compound, crystal, atoms, time))
        now = time
    return snapshots


def _run(atoms: Atoms, temperature: float, time: float, rng: np.random.Generator) -> None:
    dynamics = Langevin(
        atoms,
        TIME_STEP * units.fs,
        temperature_K=temperature,
        friction=FRICTION / units.fs,
        fixcm=False,
        rng=rng,
    )
    dynamics.run(round(time / TIME_STEP))


def _snapshot(compound: Compound, crystal: Atoms, atoms: Atoms, time: float) -> Atoms:
    moved = atoms.positions - crystal.positions
    moved -= moved.mean(axis=0)
    rms = np.sqrt(np.mean(np.sum(moved**2, axis=1)))
    copy = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=True)
    copy.set_array("charge_formal", atoms.arrays["charge_formal"])
    copy.info = {
        "compound": compound.name,
        "temperature": compound.melt[1],
        "time_fs": time,
        "displacement": round(float(rms / shortest_distance(crystal)), 2),
    }
    copy.wrap()
    copy.set_cell(np.round(copy.cell.array, 5))
    copy.positions = np.round(copy.positions, 5)
    return copy


def sample_all(names, cache: Path, sizes: tuple[int, int] = SIZES) -> list[Atoms]:
    """Runs of these compounds, in the order of the list; each finished one is kept in ``cache``."""
    import torch
    from sevenn.calculator import SevenNetCalculator

    torch.set_num_threads(1)
    calculator = SevenNetCalculator("7net-0", device="cpu")
    cache.mkdir(exist_ok=True)
    melts = []
    for compound in (c for c in COMPOUNDS if c.name in names):
        kept = cache / f"{compound.name}.extxyz"
        if not kept.exists():
            ase.io.write(cache / ".part.extxyz", sample(compound, calculator, sizes))
            os.replace(cache / ".part.extxyz", kept)
        melts += ase.io.read(kept, ":")
        print(compound.name, [float(a.info["displacement"]) for a in melts[-2:]], flush=True)
    return melts


if __name__ == "__main__":
    names = [c.name for c in COMPOUNDS if c.melt]
    update({MELTS: packed(sample_all(names, CACHE))}, only_check=False)

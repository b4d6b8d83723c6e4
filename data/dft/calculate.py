"""Calculate structures with GPAW: python3 calculate.py [NAME ...] [--check]

Runs under the python that has GPAW (Debian: apt-get install gpaw gpaw-data; /usr/bin/python3), on
one core. Each finished structure is a file in .cache; what is there, or in dft.extxyz.gz or
rejected.json for the same input, is not calculated again, and several of these may run side by
side. Without names, goes through inputs.extxyz.gz in its order. With --check, calculates the named
structures anew and compares their forces with those in dft.extxyz.gz.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import sys
import time
from contextlib import contextmanager
from math import ceil
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import ase
import ase.io
import numpy as np
from ase import Atoms
from bader import bader_electrons

HERE = Path(__file__).resolve().parent
INPUTS, DATA, CACHE = HERE / "inputs.extxyz.gz", HERE / "dft.extxyz.gz", HERE / ".cache"
REJECTED = HERE / "rejected.json"
#: Plane-wave cutoff in eV: these elements need little, all others the larger one.
SOFT, SOFT_CUTOFF, CUTOFF = {"Na", "K", "Cl", "Al"}, 400.0, 600.0
#: Å between points of the grid for the density, where the cutoff's own is too coarse: forces of
#: MgO and CaO clusters otherwise sum to 0.03 and 0.02 eV/Å, those of Li2O and TiO2 crystals to
#: 0.017 and 0.012.
SPACING = {"Li": 0.16, "Mg": 0.16, "Ca": 0.16, "Ti": 0.16}
#: k-points times lattice constant, at least so many Å; and the width of the occupations in eV.
REACH, METAL_REACH, WIDTH, METAL_WIDTH = 11.0, 28.0, 0.02, 0.1
#: Bands, of those that are occupied; by default there would be twice as many.
BANDS = "120%"
#: Electrons per valence electron to which the density converges: 1e-5 leaves forces 2 meV/Å off.
DENSITY = 1e-6
#: eV/Å that the stored forces of a structure calculated anew may differ by.
SAME = 0.002
#: Points of the all-electron density's grid: four times as fine as the calculation's if there are
#: no more than this, else twice.
MOST_POINTS = 12_000_000
PARTS = ("e_kinetic", "e_coulomb", "e_zero", "e_xc", "e_entropy")


def settings(atoms: Atoms) -> dict:
    """Cutoff (eV), k-points, width of the occupations (eV), grid, by what the structure is.

    A slab has a dipole layer in its vacuum, which undoes the field of its own images, and a cluster
    has no images: with them forces in a rattled slab are 0.02 eV/Å off, in a cluster 0.02 or more.
    """
    metal = atoms.info["domain"] == "metal"
    reach = METAL_REACH if metal else REACH
    soft = set(atoms.get_chemical_symbols()) <= SOFT
    kpts = [
        max(1, ceil(reach / length - 1e-3)) if periodic else 1
        for length, periodic in zip(atoms.cell.lengths(), atoms.pbc)
    ]
    chosen = {
        "cutoff": SOFT_CUTOFF if soft else CUTOFF,
        "kpts": kpts,
        "width": METAL_WIDTH if metal else WIDTH,
        "density": DENSITY,
    }
    spacing = min((SPACING[s] for s in set(atoms.get_chemical_symbols()) & set(SPACING)), default=0)
    if atoms.pbc.tolist() == [True, True, False]:
        chosen["dipole"] = "xy"
    if not atoms.pbc.any():
        chosen["isolated"] = True
    if spacing:
        chosen["grid"] = [_fft_length(length / spacing) for length in atoms.cell.lengths()]
    return chosen


def _fft_length(least: float) -> int:
    """The next even whole number whose only factors are 2, 3 and 5."""
    n = 2 * ceil(least / 2)
    while True:
        rest = n
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return n
        n += 2


def calculate(atoms: Atoms, options: dict, log: str) -> dict:
    """Energy, its parts, forces, stress, Bader charges and site potentials, in eV, Å, e and V.

    Raises:
        gpaw.KohnShamConvergenceError: the density doesn't converge.
    """
    started = time.time()
    calc = calculator(options, log)
    periodic = atoms.copy()
    if not atoms.pbc.any():
        periodic.pbc = True  # of clusters all but the electrostatics is, with vacuum between them
    periodic.calc = calc
    result = energies(periodic)
    if atoms.pbc.all():
        result["stress"] = periodic.get_stress().tolist()
    # GPAW gives the energy of an electron; the potential is what a positive charge feels.
    result["site_pot"] = (-calc.get_atomic_electrostatic_potentials()).tolist()
    result.update(charges(calc, periodic))
    return result | {"seconds": round(time.time() - started, 1), "scf_steps": calc.scf.niter}


def calculator(options: dict, log: str):
    """GPAW with one structure's settings."""
    from gpaw import GPAW, PW, FermiDirac, Mixer
    from isolated import IsolatedGPAW

    tight = {k: options[k] for k in ("density", "eigenstates") if k in options}
    return (IsolatedGPAW if options.get("isolated") else GPAW)(
        mode=PW(options["cutoff"]),
        xc="PBE",
        setups=options.get("setups", {}),
        gpts=options.get("grid"),
        poissonsolver={"dipolelayer": options["dipole"]} if "dipole" in options else {},
        kpts={"size": options["kpts"]},
        occupations=FermiDirac(options["width"]),
        nbands=BANDS,
        mixer=Mixer(0.25, 5, 1),  # twice as quick as the default, which is for metals
        convergence=tight,
        maxiter=200,
        symmetry={"point_group": False},
        txt=log,
    )


def energies(atoms: Atoms) -> dict:
    """Energies and their parts (eV) and forces (eV/Å) of atoms that have a calculator."""
    forces = atoms.get_forces()
    return {
        "energy": atoms.get_potential_energy(),
        "free_energy": atoms.get_potential_energy(force_consistent=True),
        "forces": forces.tolist(),
        "net_force": float(np.linalg.norm(forces.sum(axis=0))),
        **{part: getattr(atoms.calc.hamiltonian, part) * ase.units.Ha for part in PARTS},
    }


def charges(calc, atoms: Atoms) -> dict:
    """Bader charges in e, their sum set to zero; what it was before, e an atom; the grid in Å."""
    finer = 4 if 4**3 * np.prod(calc.wfs.gd.N_c) <= MOST_POINTS else 2
    density = calc.get_all_electron_density(gridrefinement=finer)
    valence = calc.get_all_electron_density(gridrefinement=finer, skip_core=True)
    electrons = bader_electrons(density, valence, atoms)
    held = np.array([setup.Nv for setup in calc.setups])
    raw = held - electrons
    return {
        "bader_q": (raw - raw.mean()).tolist(),
        "bader_residual": float(raw.mean()),
        "bader_grid": round(float(max(atoms.cell.lengths() / density.shape)), 3),
    }


def digest(atoms: Atoms) -> str:
    """Of the structure and of all that decides how it is calculated."""
    lengths = [np.round(x, 5).tolist() for x in (atoms.positions, atoms.cell.array)]
    kept = [atoms.get_chemical_symbols(), *lengths, atoms.pbc.tolist(), settings(atoms)]
    # The prefix keeps extended XYZ from reading one that looks like a number as a number.
    return f"sha256:{hashlib.sha256(json.dumps(kept).encode()).hexdigest()[:12]}"


def versions() -> dict[str, str]:
    """Of the code and of the set-ups."""
    import gpaw

    return {
        "code": f"GPAW {gpaw.__version__}, ASE {ase.__version__}",
        "setups": Path(gpaw.setup_paths[-1]).name + " (gpaw-data), PBE",
    }


def finished() -> dict[str, str]:
    """Names of what needn't be calculated, and the digests of their inputs."""
    stored = ase.io.read(DATA, ":") if DATA.exists() else []
    rejected = json.loads(REJECTED.read_text()) if REJECTED.exists() else {}
    done = {a.info["name"]: a.info["input"] for a in stored}
    done.update({name: record["input"] for name, record in rejected.items()})
    for path in CACHE.glob("*.json"):
        done[path.stem] = json.loads(path.read_text())["input"]
    return done


@contextmanager
def claimed(name: str):
    """Whether this process is the one that calculates a structure; a dead one's claim is void."""
    with open(CACHE / f"{name}.lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def run(atoms: Atoms) -> None:
    """One structure, its result written beside and renamed; a failure is kept with its reason."""
    name = atoms.info["name"]
    record = {"input": digest(atoms), "settings": settings(atoms), **versions()}
    try:
        record.update(calculate(atoms, record["settings"], str(CACHE / f"{name}.txt")))
    except Exception as error:  # GPAW raises many kinds; the next structure goes on
        record["failure"] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    part = CACHE / f".{name}.part"
    part.write_text(json.dumps(record))
    os.replace(part, CACHE / f"{name}.json")
    said = record.get("failure") or f"net force {record['net_force']:.4f} eV/Å"
    print(f"{name}: {record.get('seconds', 0)} s, {said}", flush=True)


def check(names: list[str]) -> int:
    """Calculate structures anew; 1 if a force differs by more than :data:`SAME`."""
    stored = {a.info["name"]: a for a in ase.io.read(DATA, ":")}
    worst = 0.0
    for name in names:
        log = str(CACHE / f"check-{name}.txt")
        result = calculate(stored[name], settings(stored[name]), log)
        apart = np.abs(np.array(result["forces"]) - stored[name].get_forces()).max()
        worst = max(worst, apart)
        print(f"{name}: forces differ by at most {1000 * apart:.3f} meV/Å", flush=True)
    print("the same" if worst <= SAME else f"NOT the same: more than {1000 * SAME:g} meV/Å")
    return int(worst > SAME)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    CACHE.mkdir(exist_ok=True)
    if options.check:
        return check(options.names)
    inputs = {atoms.info["name"]: atoms for atoms in ase.io.read(INPUTS, ":")}
    unknown = [name for name in options.names if name not in inputs]
    if unknown:
        parser.error(f"no structure is called {', '.join(unknown)}")
    for name in options.names or inputs:
        with claimed(name) as mine:
            if mine and finished().get(name) != digest(inputs[name]):
                run(inputs[name])
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Show that the settings are converged: python3 converge.py

One member of each kind is calculated again with one setting better at a time, and its forces
compared with those of the set; for pairs, the force constant and its parts. Writes convergence.json
beside itself as it goes, and goes on where it stopped. Runs under the python that has GPAW.
"""

from __future__ import annotations

import json
import os
import sys

import ase.io
import numpy as np
import pairs
from ase import Atoms
from calculate import CACHE, HERE, INPUTS, PARTS, calculator, digest, energies, settings

CONVERGENCE = HERE / "convergence.json"
#: Of each kind one; their forces must be in .cache or in the set.
MEMBERS = ("bulk-MgO-1", "strained-SiO2-0", "metal-Al-0", "surface-NaCl-0", "vacancy-NaCl-0",
           "cluster-LiF-0", "melt-NaCl-1")  # fmt: skip
#: eV more, k-points more in each periodic direction, a density so much tighter, Å more of vacuum.
CUTOFF, KPOINTS, TIGHTER, VACUUM = 200.0, 1, 0.1, 4.0
PAIR = "gap-7"


def variants(atoms: Atoms) -> dict[str, tuple[Atoms, dict]]:
    """What is made better, and the structure and settings with which it is calculated."""
    own = settings(atoms)
    found = {
        f"cutoff {own['cutoff'] + CUTOFF:g} eV": {**own, "cutoff": own["cutoff"] + CUTOFF},
        f"density {own['density'] * TIGHTER:.0e}": {**own, "density": own["density"] * TIGHTER},
    }
    if atoms.pbc.any():
        more = [n + KPOINTS * int(p) for n, p in zip(own["kpts"], atoms.pbc)]
        found["k-points " + "×".join(map(str, more))] = {**own, "kpts": more}
    result = {name: (atoms, options) for name, options in found.items()}
    if not atoms.pbc.all():
        roomy = atoms.copy()
        for axis in np.flatnonzero(~atoms.pbc):
            roomy.cell[axis] *= 1 + VACUUM / np.linalg.norm(roomy.cell[axis])
        roomy.positions += (roomy.cell.array - atoms.cell.array).sum(axis=0) / 2
        result[f"{VACUUM:g} Å more vacuum"] = (roomy, settings(roomy))
    return result


def compare(atoms: Atoms, options: dict, log: str, forces: np.ndarray) -> dict:
    """Largest and root-mean-square change of a force component, meV/Å."""
    calculated = atoms.copy()
    if not atoms.pbc.any():
        calculated.pbc = True
    calculated.calc = calculator(options, log)
    change = 1000 * (np.array(energies(calculated)["forces"]) - forces)
    return {
        "largest": round(float(np.abs(change).max()), 3),
        "rms": round(float(np.sqrt((change**2).mean())), 3),
    }


def force_constant(options: dict, log: str) -> dict[str, float]:
    """Mixed second differences of the energy and its parts of the pair, meV/Å²."""
    calc, found = calculator(options, log), []
    for atoms, _ in pairs.configurations(PAIR):
        atoms.calc = calc
        found.append(energies(atoms))
    none, one, other, both = found
    return {
        part: round(1000 * (both[part] - one[part] - other[part] + none[part]) / pairs.STEP**2, 3)
        for part in ("free_energy", *PARTS)
    }


def by_translation(log: str) -> dict[str, float]:
    """What a displacement that isn't calculated in the set has against the one it is taken from.

    Energies and parts in meV over the step squared, so that they compare with force constants;
    the largest difference of a force component over the step, meV/Å².
    """
    host = pairs.HOSTS["slab"]()
    new = next(iter(host.shifts))
    calc = calculator(pairs.settings("slab"), log)
    found = []
    for moves in ((), (new,)):
        atoms = pairs.displaced(host.atoms, "slab", moves)
        atoms.calc = calc
        found.append(energies(atoms))
    stored = {a.info["name"]: a for a in ase.io.read(pairs.PAIRS, ":")}
    names = [pairs.displaced(host.atoms, "slab", moves).info["name"] for moves in ((), (new,))]
    apart = {}
    for part in ("free_energy", *PARTS):
        there = [
            a.calc.results["free_energy"] if part == "free_energy" else a.info[part]
            for a in (stored[name] for name in names)
        ]
        here = found[1][part] - found[0][part]
        apart[part] = round(1000 * (here - (there[1] - there[0])) / pairs.STEP**2, 3)
    forces = np.abs(np.array(found[1]["forces"]) - stored[names[1]].get_forces()).max()
    return {**apart, "largest_force": round(1000 * float(forces) / pairs.STEP, 3)}


def main() -> int:
    kept = json.loads(CONVERGENCE.read_text()) if CONVERGENCE.exists() else {}

    def keep(name: str, value: dict) -> None:
        kept[name] = value
        part = HERE / ".convergence.part"
        part.write_text(json.dumps(kept, indent=1) + "\n")
        os.replace(part, CONVERGENCE)
        print(name, value, flush=True)

    own = pairs.settings(PAIR)
    for change, options in {
        "as in the set": own,
        "Na with its 2s and 2p electrons": {**own, "setups": {}},
        f"cutoff {own['cutoff'] + CUTOFF:g} eV": {**own, "cutoff": own["cutoff"] + CUTOFF},
    }.items():
        name = f"pair-{PAIR}: {change}"
        if kept.get(name, {}).get("settings") != options:
            found = force_constant(options, str(CACHE / "converge.txt"))
            keep(name, {**found, "settings": options})
    name = "pair-slab: one displacement calculated, and by translation from another"
    if name not in kept:
        keep(name, by_translation(str(CACHE / "converge.txt")))
    inputs = {a.info["name"]: a for a in ase.io.read(INPUTS, ":")}
    for member in MEMBERS:
        path = CACHE / f"{member}.json"
        record = json.loads(path.read_text()) if path.exists() else {}
        if record.get("input") != digest(inputs[member]):
            print(f"{member}: not calculated yet")
            continue
        for change, (atoms, options) in variants(inputs[member]).items():
            name = f"{member}: {change}"
            if kept.get(name, {}).get("settings") != options:
                log = str(CACHE / "converge.txt")
                found = compare(atoms, options, log, np.array(record["forces"]))
                keep(name, {**found, "settings": options})
    return 0


if __name__ == "__main__":
    sys.exit(main())

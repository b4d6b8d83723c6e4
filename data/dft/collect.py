"""Collect what calculate.py and pairs.py have finished: python data/dft/collect.py [--check]

Writes dft.extxyz.gz, rejected.json, pairs.extxyz.gz, SHA256SUMS and the tables of README.md beside
itself. What the first three hold already stays, so that .cache can be emptied. Structures whose
calculation failed, or whose forces sum to more than the datasheet allows, are left out and named.
With --check, writes nothing and fails if the tables and checksums don't belong to the data.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "ionic"))

import converge
import pairs
from calculate import CACHE, DATA, INPUTS, PARTS, REJECTED, digest
from make import checksums, only_checking, packed, update, with_tables

#: eV/Å that the forces of a structure may sum to.
NET_FORCE = 0.02
DOMAINS = ("bulk", "strained", "surface", "vacancy", "cluster", "melt", "metal")
COMPOUNDS = ("NaCl", "MgO", "LiF", "CaO", "KCl", "Al2O3", "TiO2", "SiO2", "Li2O", "Al", "Cu")
NUMBERS = (*PARTS, "net_force", "bader_residual", "bader_grid", "scf_steps", "seconds")


def collect(inputs: list[Atoms], cache: Path = CACHE) -> tuple[list[Atoms], dict[str, dict]]:
    """The finished structures in the order of the inputs, and why others were rejected."""
    held = {a.info["name"]: a for a in ase.io.read(DATA, ":")} if DATA.exists() else {}
    refused = json.loads(REJECTED.read_text()) if REJECTED.exists() else {}
    structures, rejected = [], {}
    for atoms in inputs:
        name, wanted = atoms.info["name"], digest(atoms)
        path = cache / f"{name}.json"
        record = json.loads(path.read_text()) if path.exists() else {}
        if record.get("input") == wanted:
            reason = why_not(record)
            if reason is None:
                structures.append(labelled(atoms, record))
            else:
                rejected[name] = {"input": wanted, "reason": reason}
        elif name in held and held[name].info["input"] == wanted:
            structures.append(held[name])
        elif refused.get(name, {}).get("input") == wanted:
            rejected[name] = refused[name]
    return structures, rejected


def why_not(record: dict) -> str | None:
    """The reason to leave a calculation out, if there is one."""
    if "failure" in record:
        return record["failure"]
    if record["net_force"] > NET_FORCE:
        return f"net force {record['net_force']:.3f} eV/Å"
    return None


def labelled(atoms: Atoms, record: dict) -> Atoms:
    """One structure with its results; what wasn't computed is absent."""
    attach(atoms, record)
    for array in ("bader_q", "site_pot"):
        atoms.set_array(array, np.array(record[array]))
    part = "rest" if atoms.info["domain"] == "metal" else "default"
    atoms.info = {**atoms.info, "split_part": part, **details(record, NUMBERS, digits=6)}
    return atoms


def attach(atoms: Atoms, record: dict) -> None:
    """Energies, forces and stress, where there is one, as results of a calculation."""
    results = {k: record[k] for k in ("energy", "free_energy", "forces", "stress") if k in record}
    atoms.calc = SinglePointCalculator(atoms, **{k: np.array(v) for k, v in results.items()})


def details(record: dict, numbers: tuple[str, ...], digits: int) -> dict:
    """What is kept in info of how a calculation was made and went."""
    settings = record["settings"]
    return {
        **{key: round(float(record[key]), digits) for key in numbers},
        "xc": "PBE",
        "converged": True,
        "cutoff_eV": settings["cutoff"],
        "kpts": np.array(settings["kpts"]),
        "smearing_eV": settings["width"],
        **({"grid": np.array(settings["grid"])} if "grid" in settings else {}),
        **({"dipole_layer": settings["dipole"]} if "dipole" in settings else {}),
        "code": record["code"],
        "setups": record["setups"],
        "input": record["input"],
    }


def collect_pairs(cache: Path = CACHE) -> list[Atoms]:
    """The finished configurations of each host whose undisturbed structure is among them.

    A displacement that a translation turns into a calculated one is added with that one's energies
    and its forces in their new places; its info names it.
    """
    held = (
        {a.info["name"]: a for a in ase.io.read(pairs.PAIRS, ":")} if pairs.PAIRS.exists() else {}
    )
    kept = []
    for host in pairs.HOSTS:
        options, there = pairs.settings(host), {}
        for atoms, moves in pairs.configurations(host):
            name, wanted = atoms.info["name"], pairs.digest(atoms, options)
            path = cache / f"{name}.json"
            record = json.loads(path.read_text()) if path.exists() else {}
            if record.get("input") == wanted:
                there[moves] = labelled_pair(atoms, record)
            elif name in held and held[name].info.get("input") == wanted:
                there[moves] = held[name]
        if () not in there:
            continue
        shifted = [
            pairs.translated(host, there[old,], old, new)
            for new, old in pairs.HOSTS[host]().shifts.items()
            if (old,) in there
        ]
        kept += [*there.values(), *shifted]
    return kept


def labelled_pair(atoms: Atoms, record: dict) -> Atoms:
    """One configuration with its results."""
    attach(atoms, record)
    numbers = (*PARTS, "net_force", "scf_steps", "seconds")
    atoms.info = {**atoms.info, "split_part": "default", **details(record, numbers, digits=9)}
    return atoms


def pair_counts(structures: list[Atoms]) -> str:
    """Configurations by host."""
    lines = ["| domain | host | atoms | calculated | by translation | pairs with parts |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    for host in pairs.HOSTS:
        own = [a for a in structures if a.info["group"] == f"pair-{host}"]
        shifted = [a for a in own if "same_as" in a.info]
        double = [a for a in own if a.info["name"].count("_") == 2]
        atoms = pairs.HOSTS[host]().atoms
        cells = [host.partition("-")[0], host, len(atoms), len(own) - len(shifted), len(shifted),
                 len(double)]  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def counts(structures: list[Atoms]) -> str:
    """Structures by compound and domain."""
    number = Counter((a.info["compound"], a.info["domain"]) for a in structures)
    lines = ["| compound | " + " | ".join(DOMAINS) + " | structures | atoms |"]
    lines += ["|" + "---|" * (len(DOMAINS) + 3)]
    for compound in (*COMPOUNDS, "all"):
        own = [a for a in structures if compound in (a.info["compound"], "all")]
        row = [sum(n for (c, d), n in number.items() if d == domain and compound in (c, "all"))
               for domain in DOMAINS]  # fmt: skip
        cells = [compound, *row, len(own), f"{sum(map(len, own)):,}"]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def convergence() -> str:
    """What converge.py found."""
    found = json.loads(converge.CONVERGENCE.read_text()) if converge.CONVERGENCE.exists() else {}
    if not found:
        return "Not calculated."
    forces = {name: row for name, row in found.items() if "largest" in row}
    lines = ["| structure | better | largest change | rms |", "|---|---|---|---|"]
    for name, row in forces.items():
        member, _, change = name.partition(": ")
        lines.append(f"| {member} | {change} | {row['largest']:.2f} | {row['rms']:.2f} |")
    lines += ["", "| pair | settings | total | kinetic | Coulomb | zero | xc |", "|" + "---|" * 7]
    for name, row in found.items():
        if name not in forces:
            member, _, change = name.partition(": ")
            parts = ("free_energy", "e_kinetic", "e_coulomb", "e_zero", "e_xc")
            cells = [member, change, *(f"{row[part]:.2f}" for part in parts)]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def left_out(missing: dict[str, str]) -> str:
    """What the set was to hold and doesn't, by reason."""
    if not missing:
        return "Nothing: every structure drawn is in the set."
    lines = ["| reason | structures | which |", "|---|---|---|"]
    for reason, number in Counter(missing.values()).most_common():
        names = [name for name, why in missing.items() if why == reason]
        lines.append(f"| {reason} | {number} | {', '.join(names)} |")
    return "\n".join(lines)


def main() -> int:
    only_check = only_checking(__doc__.splitlines()[0])
    inputs = ase.io.read(INPUTS, ":")
    # A check is of what is kept, not of what calculations have left since.
    structures, rejected = collect(inputs, HERE / "nowhere" if only_check else CACHE)
    there = {a.info["name"] for a in structures}
    names = [a.info["name"] for a in inputs if a.info["name"] not in there]
    missing = {n: rejected.get(n, {}).get("reason", "not calculated") for n in names}
    displaced = collect_pairs(HERE / "nowhere" if only_check else CACHE)
    readme = HERE / "README.md"
    tables = {
        "counts": counts(structures),
        "pairs": pair_counts(displaced),
        "convergence": convergence(),
        "left out": left_out(missing),
    }
    data = DATA.read_bytes() if only_check else packed(structures)
    pair_data = pairs.PAIRS.read_bytes() if only_check else packed(displaced)
    named = {
        DATA.name: data,
        pairs.PAIRS.name: pair_data,
        **{f.name: f.read_bytes() for f in (INPUTS, HERE / "melts.extxyz.gz")},
    }
    files = {
        DATA: data,
        pairs.PAIRS: pair_data,
        REJECTED: (json.dumps(rejected, indent=1) + "\n").encode(),
        HERE / "SHA256SUMS": checksums(named),
        readme: with_tables(readme.read_text(), "collect.py", tables).encode(),
    }
    different = update(files, only_check)
    print(f"{len(structures)} structures, {sum(map(len, structures)):,} atoms; "
          f"{len(missing)} left out; {len(displaced)} configurations of pairs")  # fmt: skip
    return 1 if only_check and different else 0


if __name__ == "__main__":
    sys.exit(main())

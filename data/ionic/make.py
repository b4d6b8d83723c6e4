"""Make the set `ionic`: python data/ionic/make.py [--check]

Writes ionic.extxyz.gz, SHA256SUMS and the tables of README.md beside itself. The melts come from
melts.extxyz.gz (made by melts.py); everything else is drawn here, from one seed. With --check,
writes nothing and fails if what is there is not what it would write.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import os
import re
import sys
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from compounds import COMPOUNDS, Compound
from domains import cluster, rattle, shortest_distance, slab, strain, supercell, vacancy

from mpprobe.structures.check import check, closest_pair
from mpprobe.structures.frame import Frame

HERE = Path(__file__).parent
DATA = HERE / "ionic.extxyz.gz"
MELTS = HERE / "melts.extxyz.gz"
SEED = 20240711
AMPLITUDES = (0.02, 0.05, 0.12)
FLAT = 0.5  # V, the largest step of the potential between a default slab and the vacuum
DOMAINS = ("bulk", "strained", "vacancy", "surface", "cluster", "melt")


def build(melts: list[Atoms]) -> list[Atoms]:
    """All structures of the set, labelled, rounded to what the file holds, and checked."""
    structures = []
    for k, compound in enumerate(COMPOUNDS):
        drawn = Counter()
        for domain, atoms in _draw(compound, melts):
            default = _is_default(domain, k, drawn) and abs(atoms.info.get("step", 0.0)) < FLAT
            _label(atoms, compound, domain, drawn[domain], default=default)
            drawn[domain] += 1
            structures.append(atoms)
    _promise(structures)
    return structures


def _draw(compound: Compound, melts: list[Atoms]) -> Iterator[tuple[str, Atoms]]:
    """Every structure of one compound as (domain, structure), in the order of the file."""
    unit = compound.unit_cell()
    shortest = shortest_distance(unit)
    large, small = supercell(unit, 40, 64), supercell(unit, 28, 48)

    def random(domain: str, k: int) -> np.random.Generator:
        # Seeded by name, so that a compound added later leaves the others as they are.
        return np.random.default_rng([SEED, zlib.crc32(f"{compound.name} {domain} {k}".encode())])

    for k, amplitude in enumerate(AMPLITUDES):
        yield "bulk", rattle(large, amplitude, shortest, random("bulk", k))
    for k in range(2):
        rng = random("strained", k)
        yield "strained", rattle(strain(small, 0.06, rng), 0.05, shortest, rng)
    for k, near in enumerate((True, False)):
        rng = random("vacancy", k)
        yield "vacancy", rattle(vacancy(large, near, rng), 0.08, shortest, rng)
    for k, facet in enumerate(compound.facets):
        yield "surface", rattle(slab(unit, facet, 7.0, 64), 0.08, shortest, random("surface", k))
    for k, (low, high) in enumerate(((8, 16), (20, 40))):
        rng = random("cluster", k)
        yield "cluster", rattle(cluster(unit, low, high, shortest, rng), 0.08, shortest, rng)
    for atoms in melts:
        if atoms.info["compound"] == compound.name:
            yield "melt", atoms.copy()


def _is_default(domain: str, compound: int, drawn: Counter) -> bool:
    """One structure of each compound and domain; which one alternates where both kinds matter."""
    wanted = {
        "bulk": 1 + compound % 2,
        "vacancy": compound % 2,
        "cluster": (compound // 2) % 2,
        "melt": 1,  # the later one
    }
    return drawn[domain] == wanted.get(domain, 0)


def _label(atoms: Atoms, compound: Compound, domain: str, k: int, *, default: bool) -> None:
    details = {
        key: value
        for key, value in atoms.info.items()
        if key not in ("compound", "structure_type", "domain", "group", "split_part")
    }
    # Two snapshots of one melt share their history; all other draws are independent.
    group = f"{compound.name}-{domain}" + ("" if domain == "melt" else f"-{k}")
    atoms.info = {
        "compound": compound.name,
        "structure_type": compound.structure_type,
        "domain": domain,
        "group": group,
        "split_part": "default" if default else "rest",
        **details,
    }
    atoms.wrap()
    atoms.set_cell(np.round(atoms.cell.array, 5), scale_atoms=False)
    atoms.positions = np.round(atoms.positions, 5)


def _promise(structures: list[Atoms]) -> None:
    """Raise unless the set is what its datasheet says."""
    frames = [Frame.from_atoms(a, f"{DATA.name}@{i}") for i, a in enumerate(structures)]
    check(frames, needs_ewald=True, cutoff=5.0)
    for frame in frames:
        charge = frame.atoms.arrays["charge_formal"].sum()
        if abs(charge) > 1e-9 or not 8 <= len(frame) <= 100:
            raise RuntimeError(f"{frame.source}: charge {charge}, {len(frame)} atoms")
        closest = closest_pair(frame.atoms, 1.0)
        if closest is not None:
            raise RuntimeError(f"{frame.source}: atoms {closest[2]:.2f} Å apart")
    part = [f for f in frames if f.atoms.info["split_part"] == "default"]
    if {f.compound for f in part} != {c.name for c in COMPOUNDS}:
        raise RuntimeError("the default part misses a compound")
    if {f.domain for f in part} != {f.domain for f in frames}:
        raise RuntimeError("the default part misses a domain")


def packed(structures: list[Atoms]) -> bytes:
    """The gzipped extended XYZ file, the same bytes whenever it is made."""
    text = io.StringIO()
    ase.io.write(text, structures, format="extxyz")
    # ASE writes eight decimals, of which the last three are zeros here.
    short = re.sub(r" +(-?\d+\.\d{5})000\b", r" \1", text.getvalue())
    raw = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=9) as file:
        file.write(short.encode())
    return raw.getvalue()


def tables(structures: list[Atoms]) -> str:
    """Counts by domain and by compound, as the two tables of the datasheet."""
    parts = [("all", structures)]
    parts += [("default", [a for a in structures if a.info["split_part"] == "default"])]
    lines = [
        "| domain | structures | atoms | in the default part | atoms |",
        "|---|---|---|---|---|",
    ]
    for domain in (*DOMAINS, "all"):
        row = []
        for _, part in parts:
            chosen = [a for a in part if domain in (a.info["domain"], "all")]
            row += [len(chosen), sum(map(len, chosen))]
        lines.append(f"| {domain} | " + " | ".join(f"{n:,}" for n in row) + " |")
    lines += ["", "| compound | structure type | " + " | ".join(DOMAINS) + " | atoms |"]
    lines += ["|" + "---|" * (len(DOMAINS) + 3)]
    for compound in COMPOUNDS:
        own = [a for a in structures if a.info["compound"] == compound.name]
        count = Counter(a.info["domain"] for a in own)
        cells = [compound.name, compound.structure_type, *(count[d] for d in DOMAINS)]
        lines.append("| " + " | ".join(map(str, [*cells, f"{sum(map(len, own)):,}"])) + " |")
    return "\n".join(lines)


def _melt_table(melts: list[Atoms]) -> str:
    lines = [
        "| melt | heated to (K) | sampled at (K) | after (fs) | displacement | closest anions |",
        "|---|---|---|---|---|---|",
    ]
    for compound in COMPOUNDS:
        own = [a for a in melts if a.info["compound"] == compound.name]
        if own:
            row = [
                compound.name,
                *(f"{t:,}" for t in compound.melt),
                ", ".join(f"{a.info['time_fs']:g}" for a in own),
                ", ".join(f"{a.info['displacement']:.2f}" for a in own),
                ", ".join(f"{closest_pair(_anions(a), 9.0)[2]:.2f}" for a in own),
            ]
            lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def _anions(atoms: Atoms) -> Atoms:
    return atoms[atoms.arrays["charge_formal"] < 0]


def _files(structures: list[Atoms], melts: list[Atoms]) -> dict[Path, bytes]:
    """What each file beside this script should hold."""
    data = packed(structures)
    sums = {DATA.name: data}
    if MELTS.exists():
        sums[MELTS.name] = MELTS.read_bytes()
    readme = HERE / "README.md"
    blocks = {"counts": tables(structures), "melts": _melt_table(melts)}
    return {
        DATA: data,
        HERE / "SHA256SUMS": checksums(sums),
        readme: with_tables(readme.read_text(), "make.py", blocks).encode(),
    }


def checksums(files: Mapping[str, bytes]) -> bytes:
    """As ``sha256sum`` writes them."""
    lines = [f"{hashlib.sha256(blob).hexdigest()}  {name}\n" for name, blob in files.items()]
    return "".join(lines).encode()


def with_tables(readme: str, script: str, tables: Mapping[str, str]) -> str:
    """A datasheet with its tables replaced, each between ``<!-- NAME: ... -->`` and the end."""
    for name, table in tables.items():
        block = f"<!-- {name}: written by {script} -->\n{table}\n<!-- end -->"
        readme = re.sub(rf"<!-- {name}:.*?<!-- end -->", lambda _, b=block: b, readme, flags=re.S)
    return readme


def update(files: Mapping[Path, bytes], only_check: bool) -> int:
    """Write what differs, each file beside and renamed; how many do."""
    different = 0
    for path, content in files.items():
        if path.exists() and path.read_bytes() == content:
            continue
        different += 1
        print(f"{path.name}: {'differs' if only_check else 'written'}, {len(content):,} bytes")
        if not only_check:
            part = path.with_name(f".{path.name}.part")
            part.write_bytes(content)
            os.replace(part, path)
    return different


def only_checking(description: str) -> bool:
    """Whether --check is given on the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    return parser.parse_args().check


def main() -> int:
    only_check = only_checking(__doc__.splitlines()[0])
    melts = ase.io.read(MELTS, ":") if MELTS.exists() else []
    structures = build(melts)
    different = update(_files(structures, melts), only_check)
    print(f"{len(structures)} structures, {sum(map(len, structures)):,} atoms")
    return 1 if only_check and different else 0


if __name__ == "__main__":
    sys.exit(main())

"""Do the forces of SevenNet-0 reach beyond its cutoff, and whose are they? One figure, tables.

    python analyses/nonlocal_forces.py

Compares force constants between distant atoms with those of PBE (the set pairs), of the parts of
its energy and of point charges. Writes nonlocal_forces.png and nonlocal_forces.pdf, the tables
nonlocal_forces.csv (by domain and distance), nonlocal_forces_parts.csv and
nonlocal_forces_pairs.csv, and nonlocal_forces.txt beside this script.
"""

from __future__ import annotations

from pathlib import Path

import mpprobe as mp
from mpprobe.report.figures import save
from mpprobe.report.nonlocal_forces import nonlocal_figure, nonlocal_readings


def main() -> None:
    potential = mp.load("sevenn-0", dtype="float64")
    found = mp.nonlocal_forces(potential, mp.read("pairs"))
    distances, parts = mp.by_distance(found), mp.by_part(found)
    output = Path(__file__).with_suffix("")
    save(nonlocal_figure(found), output)
    for suffix, table in (("", distances), ("_parts", parts), ("_pairs", found.pairs)):
        file = output.with_name(f"{output.name}{suffix}.csv")
        table.to_csv(file, index=False, float_format="%.6g")
    readings = "\n".join(nonlocal_readings(found, distances, parts))
    output.with_suffix(".txt").write_text(readings + "\n", encoding="utf-8")
    print(readings)


if __name__ == "__main__":
    main()

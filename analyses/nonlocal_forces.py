"""Do the forces of SevenNet-0 reach beyond its cutoff, and whose are they? One figure, tables.

    python analyses/nonlocal_forces.py [--quick]

Compares force constants between distant atoms with those of PBE (the set pairs), of the parts of
its energy and of point charges. Writes nonlocal_forces.png and nonlocal_forces.pdf, the tables
nonlocal_forces.csv (by domain and distance), nonlocal_forces_parts.csv and
nonlocal_forces_pairs.csv, and nonlocal_forces.txt beside this script; with --quick, of the crystal
only, into a folder ``quick``.
"""

from __future__ import annotations

import mpprobe as mp
from common import Analysis, run
from mpprobe.report.nonlocal_forces import nonlocal_figure, nonlocal_readings


def main(analysis: Analysis) -> None:
    potential = analysis.load("sevenn-0", dtype="float64")
    frames = analysis.read("pairs:crystal" if analysis.quick else "pairs")
    found = mp.nonlocal_forces(potential, frames)
    distances = mp.by_distance(found, **analysis.sampling)
    parts = mp.by_part(found, **analysis.sampling)
    analysis.figure(nonlocal_figure(found))
    analysis.table(distances)
    analysis.table(parts, "parts")
    analysis.table(found.pairs, "pairs")
    analysis.readings(nonlocal_readings(found, distances, parts))


if __name__ == "__main__":
    run(main)

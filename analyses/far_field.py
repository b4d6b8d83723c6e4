"""Do layers know of the Coulomb potential from beyond the cutoff, where the surroundings stay?

    python analyses/far_field.py [--quick]

Two SevenNets. Atoms whose surroundings within one cutoff (`rattled`) or two (`rattled-10`) stay the
same in every draw, in crystals drawn anew beyond: R² within these draws, compounds held out. The
potential of formal charges, and for comparison the density of atoms from one to two cutoffs, signs
left out. Writes far_field.png, far_field.pdf, far_field.csv,
far_field_differences.csv and far_field.txt (the one-line readings) beside this script; with --quick
into a folder ``quick``.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial

import numpy as np
import pandas as pd

import mpprobe as mp
from common import Analysis, run
from mpprobe.models.graph import neighbour_list
from mpprobe.report.far_field import far_readings
from mpprobe.report.files import records
from mpprobe.report.model_profiles import model_profiles

#: What is asked of each series.
SERIES = {"rattled": ("potential", "density"), "rattled-10": ("potential",)}
#: And the last layer that can't see beyond what is fixed.
BLIND = {"rattled": 1, "rattled-10": 2}
MODELS = ("sevenn-0", "sevenn-l3i5")
#: In quick mode: compounds of small cells, and as many draws of each surroundings.
QUICK, DRAWS = ("CsCl", "CsBr", "KCl", "KBr", "NaCl"), 3


@mp.register_target("density", unit="1/Å")
def density(frame: mp.Frame, cutoff: float) -> np.ndarray:
    """Σ over the atoms from one to two cutoffs away of 1/r, smooth at both ends."""
    atoms = frame.atoms
    i, j, shift = neighbour_list(atoms, 2 * cutoff)
    distance = np.linalg.norm(
        atoms.positions[j] - atoms.positions[i] + shift @ atoms.cell.array, axis=1
    )
    smooth = np.where(distance > cutoff, np.sin(np.pi * distance / cutoff) ** 2, 0.0)
    return np.bincount(i, smooth / distance, minlength=len(atoms))


def chosen(frames: list[mp.Frame], quick: bool) -> list[mp.Frame]:
    """All of them, or a few draws of a few compounds."""
    if not quick:
        return frames
    drawn: dict[str, int] = {}
    kept = []
    for frame in frames:
        drawn[frame.group] = drawn.get(frame.group, 0) + 1
        if frame.compound in QUICK and drawn[frame.group] <= DRAWS:
            kept.append(frame)
    return kept


def probed(
    analysis: Analysis, potential: mp.Potential, frames: list[mp.Frame], targets: tuple[str, ...]
) -> list[list[dict]]:
    """The rows of the scores, and of the differences from the controls."""
    study = mp.probe(
        potential, frames, targets=targets, splits="compound", settings=analysis.settings
    )
    return [records(study.scores), records(study.differences)]


def main(analysis: Analysis) -> None:
    analysis.settings = replace(
        analysis.settings, n_cutoffs=2, **({"random_seeds": 1} if analysis.quick else {})
    )
    frames = {
        series: analysis.use(series, chosen(mp.read(f"far:{series}"), analysis.quick))
        for series in SERIES
    }
    jobs = [(series, analysis.load(name)) for series in SERIES for name in MODELS]
    parts = []
    with analysis.journal(asdict(analysis.settings)) as journal:
        for series, potential in jobs:
            analysis.say(f"{potential.name} on {series}")
            made = partial(probed, analysis, potential, frames[series], SERIES[series])
            part = journal.part(f"{potential.name} on {series}", made)
            parts.append([pd.DataFrame(rows).assign(structures=series) for rows in part])
    table, gaps = (pd.concat(t, ignore_index=True) for t in zip(*parts, strict=True))
    analysis.figure(model_profiles(table))
    analysis.table(table)
    analysis.table(gaps, "differences")
    analysis.readings(far_readings(table, BLIND))


if __name__ == "__main__":
    run(main)

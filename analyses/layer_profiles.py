"""Where do four SevenNets, and a MACE, hold charge and potential? One figure, one table.

    python analyses/layer_profiles.py [--quick]

The SevenNets on the set ionic, the multi-fidelity one asked for PBE. SevenNet-0 also on 200 diverse
frames of MPtrj, its training set, and beside the MACE of the MACE tutorial (H, C and O) on clusters
of carbonate solvents; neither of these sets is part of the project, and each is left out where it
isn't found. Writes layer_profiles.png, layer_profiles.pdf,
layer_profiles.csv, layer_profiles_differences.csv and layer_profiles.txt beside this script; with
--quick, of two SevenNets, into a folder ``quick``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

import mpprobe as mp
from common import Analysis, run
from mpprobe.report.model_profiles import model_profiles, profile_readings

SPLITS = ("structure", "compound")
#: By set of structures; not every structure of the other sets has formal charges.
TARGETS = {
    "ionic": ("potential", "charge:eeq"), "MPtrj": ("potential@eeq", "charge:eeq"),
    "solvent": ("potential@eeq", "charge:eeq"),
}  # fmt: skip


def jobs(analysis: Analysis) -> Iterator[tuple[str, mp.Potential, list[mp.Frame]]]:
    """Each set of structures with a model that is asked about it."""
    ionic = analysis.read("ionic", quick=20)
    yield from (("ionic", potential, ionic) for potential in analysis.sevennets())
    diverse = analysis.training_set(quick=16, limit=200)
    if diverse is not None:
        yield "MPtrj", analysis.load("sevenn-0"), diverse
    found = analysis.tutorial(quick=16, limit=100)
    if found is not None:
        mace, solvent = found
        yield "solvent", analysis.load("sevenn-0"), solvent
        yield "solvent", mace, solvent


def main(analysis: Analysis) -> None:
    scores, differences = [], []
    for name, potential, frames in jobs(analysis):
        analysis.say(f"{potential.name} on {name}")
        study = mp.probe(
            potential, frames, targets=TARGETS[name], splits=SPLITS, settings=analysis.settings
        )
        scores.append(study.scores.assign(structures=name))
        differences.append(study.differences.assign(structures=name))
    table, gaps = (pd.concat(t, ignore_index=True) for t in (scores, differences))
    analysis.figure(model_profiles(table))
    analysis.table(table)
    analysis.table(gaps, "differences")
    analysis.readings(profile_readings(table, gaps))


if __name__ == "__main__":
    run(main)

"""At which layer is the energy known? SevenNet-0, and a MACE model where there is one.

    python analyses/energy_lens.py [--quick]

A linear readout of every layer is fitted to the model's own site energies; of MACE its own readouts
are shown too. The MACE is that of its tutorial, which isn't part of the project. Writes
energy_lens.png, energy_lens.pdf and energy_lens.csv beside this script; with --quick into a folder
``quick``.
"""

from __future__ import annotations

import pandas as pd

from common import Analysis, run
from mpprobe.attribution import energy_lens
from mpprobe.report.lens import lens_figure


def main(analysis: Analysis) -> None:
    jobs = [(analysis.load("sevenn-0"), analysis.read("dft", quick=24))]
    mace = analysis.tutorial(quick=20, limit=200)
    jobs += [mace] if mace else []
    found = pd.concat(
        [energy_lens(potential, frames, settings=analysis.settings).assign(potential=potential.name)
         for potential, frames in jobs], ignore_index=True,
    )  # fmt: skip
    analysis.figure(lens_figure(found))
    analysis.table(found)
    print(found[["potential", "model", "readout", "layer", "r2_within", "mae"]].to_string())


if __name__ == "__main__":
    run(main)

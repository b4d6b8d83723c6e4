"""At which layer is the energy known? SevenNet-0, and a MACE model where there is one.

    python analyses/energy_lens.py [MACE_MODEL STRUCTURES]

A linear readout of every layer is fitted to the model's own site energies; of MACE its own readouts
are shown too. Writes energy_lens.png, energy_lens.pdf and energy_lens.csv beside this script.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

import mpprobe as mp
from mpprobe.attribution import energy_lens
from mpprobe.models.controls import TRAINED
from mpprobe.report.figures import error_bars, save
from mpprobe.report.style import MODEL_COLOUR, figure_style


def figure_of(found: pd.DataFrame) -> Figure:
    potentials = list(found.groupby("potential", sort=False))
    with figure_style():
        figure = Figure(figsize=(0.8 + 3.6 * len(potentials), 3.6), layout="constrained")
        axes = figure.subplots(1, len(potentials), squeeze=False)[0]
        for axis, (potential, rows) in zip(axes, potentials, strict=True):
            for (model, readout), own in rows.groupby(["model", "readout"], sort=False):
                if readout != "fitted" and model != TRAINED:
                    continue
                bars = error_bars(own["r2_within"], own["r2_within_low"], own["r2_within_high"])
                axis.errorbar(
                    own["layer"], own["r2_within"], yerr=bars, capsize=2,
                    marker="o" if readout == "fitted" else "s", markersize=4, elinewidth=0.8,
                    color=MODEL_COLOUR if model == TRAINED else "0.6", label=f"{model}, {readout}",
                    linestyle="-" if readout == "fitted" else "--",
                )  # fmt: skip
            axis.set_ylim(-0.3, 1.05)
            axis.set_xticks(sorted(rows["layer"].unique()))
            axis.set(title=potential, xlabel="layer", ylabel="R² of site energies within species")
            axis.legend(frameon=False, fontsize="x-small")
    return figure


def main(arguments: list[str]) -> None:
    jobs = [(mp.load("sevenn-0"), mp.read("dft"))]
    if arguments:
        model, structures = arguments
        jobs.append((mp.load(model, trust_checkpoint=True), mp.read(structures, limit=200)))
    found = pd.concat(
        [energy_lens(potential, frames).assign(potential=potential.name)
         for potential, frames in jobs], ignore_index=True,
    )  # fmt: skip
    output = Path(__file__).with_suffix("")
    save(figure_of(found), output)
    found.to_csv(output.with_suffix(".csv"), index=False, float_format="%.6g")
    print(found[["potential", "model", "readout", "layer", "r2_within", "mae"]].to_string())


if __name__ == "__main__":
    main(sys.argv[1:])

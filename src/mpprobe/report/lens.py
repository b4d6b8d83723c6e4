"""The energy lens drawn: how well each layer already tells the site energies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpprobe.models.controls import TRAINED
from mpprobe.report.canvas import new_figure
from mpprobe.report.figures import error_bars
from mpprobe.report.style import MODEL_COLOUR

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def lens_figure(found: pd.DataFrame) -> Figure:
    """R² of site energies against layer, a panel for each potential, random weights in grey.

    Args:
        found: tables of :func:`mpprobe.attribution.energy_lens` in one, with a column
            ``potential``.
    """
    potentials = list(found.groupby("potential", sort=False))
    with new_figure(0.8 + 3.6 * len(potentials), 3.6) as figure:
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
            axis.set(title=potential, xlabel="layer", ylabel="R² of site energies within kinds")
            axis.legend(frameon=False, fontsize="x-small")
    return figure

"""Force constants of distant atoms drawn against the form that Born charges give them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpprobe.report.canvas import as_label, new_figure
from mpprobe.report.figures import number
from mpprobe.report.style import DOMAIN_COLOURS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def force_constants_figure(pairs: pd.DataFrame, fits: pd.DataFrame) -> Figure:
    """Every pair's force constant against Z*_i Z*_j T/ε, a panel for each compound.

    Args:
        pairs: of two sources of forces: columns of :func:`mpprobe.response.pair_table`,
            ``compound``, ``forces`` (the source) and ``published``, Z*²/ε.
        fits: a row for each compound and source, with ``strength`` and ``published``.
    """
    compounds = list(pairs.groupby("compound", sort=False))
    with new_figure(0.8 + 3.6 * len(compounds), 3.8) as figure:
        axes = figure.subplots(1, len(compounds), squeeze=False)[0]
        for axis, (compound, own) in zip(axes, compounds, strict=True):
            for name, marker, colour in zip(own["forces"].unique(), "ox", DOMAIN_COLOURS[:2],
                                            strict=True):  # fmt: skip
                part = own[own["forces"] == name]
                form = part["charge_i"] * part["charge_j"] * part["T_along"]
                form = form * part["published"] / part["charge_i"].abs().max() ** 2
                fit = fits[(fits["compound"] == compound) & (fits["forces"] == name)].iloc[0]
                share = fit["strength"] / fit["published"]
                axis.plot(1000 * form, 1000 * part["K_along"], marker, color=colour, markersize=4,
                          alpha=0.7, label=as_label(f"{name}: {number(share)} of it"))  # fmt: skip
            axis.axline((0, 0), slope=1, color="0.5", linewidth=0.8)
            axis.set(title=compound, xlabel="of Born charges, Z*Z*/ε (meV/Å²)",
                     ylabel="force constant of a pair (meV/Å²)")  # fmt: skip
            axis.legend(frameon=False, fontsize="small")
    return figure

"""What steering along a probe's direction did: tables, figure, what they say, the files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpprobe.interventions.effects import ALL
from mpprobe.interventions.steering import PROBE, RANDOM, Steered
from mpprobe.models.controls import TRAINED
from mpprobe.report.canvas import new_figure
from mpprobe.report.files import records, write_result
from mpprobe.report.style import DOMAIN_COLOURS, MODEL_COLOUR, log_scale
from mpprobe.report.terminal import titled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.console import Group

#: How to read the tables.
LEGEND = (
    "A dose g multiplies by 1 + g what a probe reads, less its mean. Slopes: 1 is what unscreened "
    "point charges would do, 0 is nothing. ∂E/∂δ: one atom shifted by δ. Random: directions of the "
    "same share of the features' variance, median [lowest, highest]; p: share of values, the "
    "probe's among them, at least as large in size. Intervals: 95 %, over structures."
)
_NAMES = {
    "energy_slope": "∂E/∂δ, slope",
    "energy_correlation": "∂E/∂δ, correlation",
    "force_slope": "ΔF, slope",
    "force_correlation": "ΔF, correlation",
    "change": "mean |ΔF| (eV/Å)",
    "linearity": "linear in the dose",
}


def steering_tables(found: Steered) -> Iterator[Group]:
    """The summary, the doses, and how far the shift of one atom is felt."""
    yield _summary_table(found)
    yield _dose_table(found)
    yield _distance_table(found)


def _summary_table(found: Steered) -> Group:
    from rich.table import Table

    table = Table()
    for heading in ("model", "against point charges"):
        table.add_column(heading)
    for heading in ("probe", "random", "p"):
        table.add_column(heading, justify="right")
    for model, rows in found.summary.groupby("model", sort=False):
        table.add_section()
        for k, (_, row) in enumerate(rows.iterrows()):
            random = ""
            if np.isfinite(row.get("median", np.nan)):
                random = f"{_text(row['median'])} [{_text(row['lowest'])}, {_text(row['highest'])}]"
            p = row.get("p", np.nan)
            table.add_row(
                model if k == 0 else "", _NAMES[row["measure"]], _interval(row), random,
                f"{p:.2g}" if np.isfinite(p) else "",
            )  # fmt: skip
    about = found.provenance
    return titled(f"Steering {about['target']} at layer {about['layer']}", table)


def _dose_table(found: Steered) -> Group:
    from rich.table import Table

    table = Table()
    table.add_column("model")
    unit = found.provenance["unit"]
    for heading in ("dose", f"rms shift\n({unit})", "mean |ΔF|\n(eV/Å)", "slope along\nCoulomb",
                    "force MAE\n(eV/Å)"):  # fmt: skip
        table.add_column(heading, justify="right")
    own = found.doses[(found.doses["direction"] == PROBE) & (found.doses["domain"] == ALL)]
    for model, rows in own.groupby("model", sort=False):
        table.add_section()
        for k, (_, row) in enumerate(rows.iterrows()):
            table.add_row(
                model if k == 0 else "", f"{row['dose']:g}", f"{row['shift']:.3g}",
                _text(row["change"]), _text(row["coulomb_slope"]), _text(row["mae_after"]),
            )  # fmt: skip
    return titled("By dose, all structures", table)


def _distance_table(found: Steered) -> Group:
    from rich.table import Table

    table = Table()
    table.add_column("model")
    for heading in ("distance (Å)", "atoms", "mean |ΔF| (eV/Å)"):
        table.add_column(heading, justify="right")
    for model, rows in found.distances.groupby("model", sort=False):
        table.add_section()
        for k, (_, row) in enumerate(rows.iterrows()):
            table.add_row(
                model if k == 0 else "", f"{row['from']:g}–{row['to']:g}",
                f"{row['n_atoms']:,}", f"{row['change']:.2g}",
            )  # fmt: skip
    shifts = " or ".join(f"{s:.3g}" for s in found.distances["shift"].unique())
    title = f"Who feels it when one atom is shifted by {shifts} {found.provenance['unit']}"
    return titled(title, table)


def steering_readings(found: Steered) -> list[str]:
    """A line for each model and question, made from the summary."""
    lines = []
    for model, rows in found.summary.groupby("model", sort=False):
        own = rows.set_index("measure")
        for measure, what in (("energy_slope", "the energy"), ("force_slope", "forces")):
            if measure in own.index:
                lines.append(f"{model}: {what}, {_reading(own.loc[measure])}")
        if "change" in own.index:
            row = own.loc["change"]
            than = "more than" if row["p"] <= 0.05 else "no more than"
            lines.append(
                f"{model}: forces change by {_text(row['value'])} eV/Å at a dose of one, "
                f"p = {row['p']:.2g}: {than} along random directions"
            )
    return lines


def _reading(row: pd.Series) -> str:
    text = f"{_text(row['value'])} of what point charges would do"
    if not np.isfinite(row["low"]):
        return f"{text}; too few structures for an interval, so no claim"
    text += f" [{_text(row['low'])}, {_text(row['high'])}], p = {row['p']:.2g}"
    if row["low"] <= 0 <= row["high"]:
        return f"{text}: not told from nothing"
    if row["p"] > 0.05:
        return f"{text}: no more than along random directions"
    return f"{text}: beyond random directions, and " + (
        "in the direction of point charges" if row["value"] > 0 else "against it"
    )


def _interval(row: pd.Series) -> str:
    if not np.isfinite(row["low"]):
        return _text(row["value"])
    return f"{_text(row['value'])} [{_text(row['low'])}, {_text(row['high'])}]"


def _text(value: float) -> str:
    return f"{value:.2g}".replace("-", "−") if np.isfinite(value) else "–"


def steering_figure(found: Steered) -> Figure:
    """∂E/∂δ of every atom against point charges, forces against the dose, and by distance."""
    with new_figure(10.2, 3.2) as figure:
        left, middle, right = figure.subplots(1, 3)
        _atom_panel(left, found)
        _dose_panel(middle, found)
        _distance_panel(right, found)
        about = found.provenance
        figure.suptitle(
            f"{about['model']['name']}: {about['target']} steered at layer {about['layer']}"
        )
    return figure


def _atom_panel(axis: Axes, found: Steered) -> None:
    own = found.atoms[found.atoms["model"] == TRAINED]
    known = own["analytic"].notna().any()
    for k, (species, rows) in enumerate(own.groupby("species", sort=False)):
        x = rows["analytic"] if known else np.full(len(rows), k)
        axis.plot(x, rows["slope"], ".", markersize=3, alpha=0.6, label=species,
                  color=DOMAIN_COLOURS[k % len(DOMAIN_COLOURS)])  # fmt: skip
    axis.axhline(0, color="0.85", linewidth=0.6, zorder=0)
    unit = found.provenance["unit"]
    axis.set_ylabel(f"∂E/∂δ (eV per {unit})")
    axis.set_xlabel(f"of point charges (eV per {unit})" if known else "species")
    axis.legend(frameon=False, fontsize="x-small", ncols=2)


def _dose_panel(axis: Axes, found: Steered) -> None:
    rows = found.doses[(found.doses["domain"] == ALL) & (found.doses["model"] == TRAINED)]
    measure = "coulomb_slope" if rows["coulomb_slope"].notna().any() else "change"
    own, drawn = rows[rows["direction"] == PROBE], rows[rows["direction"] == RANDOM]
    axis.plot(drawn["dose"], drawn[measure], ".", color="0.6", label=RANDOM)
    axis.plot(own["dose"], own[measure], "o-", color=MODEL_COLOUR, markersize=4, label=PROBE)
    axis.axhline(0, color="0.85", linewidth=0.6, zorder=0)
    axis.set_xlabel("dose")
    slope = measure == "coulomb_slope"
    axis.set_ylabel("ΔF along forces of point charges" if slope else "mean |ΔF| (eV/Å)")
    axis.legend(frameon=False, fontsize="small")


def _distance_panel(axis: Axes, found: Steered) -> None:
    for model, rows in found.distances.groupby("model", sort=False):
        middle = (rows["from"] + rows["to"]) / 2
        colour = MODEL_COLOUR if model == TRAINED else "0.5"
        axis.plot(middle, rows["change"], "o-", color=colour, markersize=4, label=model)
    log_scale(axis, found.distances["change"])
    axis.set_xlabel("distance from the shifted atom (Å)")
    axis.set_ylabel("mean |ΔF| (eV/Å)")
    axis.legend(frameon=False, fontsize="small")


def steering_results(found: Steered) -> dict[str, Any]:
    """Readings, tables and provenance, as plain data."""
    return {
        "command": "steer",
        "readings": steering_readings(found),
        "summary": records(found.summary),
        "doses": records(found.doses[found.doses["direction"] == PROBE]),
        "distances": records(found.distances),
        "provenance": found.provenance,
    }


def write_steered(
    found: Steered,
    folder: str | Path,
    *,
    overwrite: bool = False,
    configuration: str | None = None,
) -> list[Path]:
    """Write ``results.json``, four tables as CSV and the figure; arguments as in
    :func:`mpprobe.report.erasing.write_erasing`."""
    names = ("doses", "atoms", "distances", "summary")
    tables = {name: getattr(found, name) for name in names}
    return write_result(
        folder,
        steering_results(found),
        tables,
        {"steering": steering_figure(found)},
        overwrite=overwrite,
        configuration=configuration,
    )

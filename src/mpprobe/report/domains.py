"""Force errors by domain: the table for the terminal, the figure, what they say, the files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpprobe.explain import METRICS, ForceErrors
from mpprobe.report.canvas import as_label, legend_below, name_ticks, new_figure
from mpprobe.report.files import records, write_result
from mpprobe.report.style import DOMAIN_COLOURS, log_scale
from mpprobe.report.terminal import titled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.console import Group

HEADINGS = {
    "force_mae": "force MAE\n(eV/Å)",
    "force_rmse": "RMSE\n(eV/Å)",
    "angle": "angle\n(°)",
    "slope": "slope",
    "energy_mae": "energy MAE\n(meV/atom)",
}
DIGITS = {"force_mae": 3, "force_rmse": 3, "angle": 1, "slope": 2, "energy_mae": 1}

#: How to read the table.
LEGEND = (
    "Intervals: 95 %, over structures. Angle: between force and reference where that is at least "
    "0.1 eV/Å. Slope: of the forces against the reference; below one, they are too small. Energy: "
    "after energies per species are fitted to all structures."
)

_MARKERS = "os^vDP*X"


def domain_table(summary: pd.DataFrame) -> Group:
    """A row for each domain and model."""
    from rich.table import Table

    table = Table()
    table.add_column("domain")
    table.add_column("structures", justify="right")
    table.add_column("model")
    for name in METRICS:
        style = "bold" if name == "force_mae" else None
        table.add_column(HEADINGS[name], justify="right", style=style)
    for domain, rows in summary.groupby("domain", sort=False):
        table.add_section()
        for k, (_, row) in enumerate(rows.iterrows()):
            labels = [domain, f"{row['n_structures']:,}"] if k == 0 else ["", ""]
            cells = [_cell(row, name, name in ("force_mae", "slope")) for name in METRICS]
            table.add_row(*labels, row["model"], *cells)
    return titled("Forces and energies against the reference, by domain", table)


def _cell(row: pd.Series, name: str, interval: bool) -> str:
    def text(value: float) -> str:
        return f"{value:.{DIGITS[name]}f}".replace("-", "−") if np.isfinite(value) else "–"

    low, high = row[f"{name}_low"], row[f"{name}_high"]
    known = interval and np.isfinite(low)
    return text(row[name]) + (f" [{text(low)}, {text(high)}]" if known else "")


def domain_readings(summary: pd.DataFrame) -> list[str]:
    """A line for each model: its best and worst domain by force error, and where it is softened."""
    lines = []
    for model, rows in summary[summary["domain"] != "all"].groupby("model", sort=False):
        rows = rows.set_index("domain")
        best, worst = rows["force_mae"].idxmin(), rows["force_mae"].idxmax()
        line = f"{model}: force MAE {rows.loc[best, 'force_mae']:.3f} eV/Å on {best}"
        if best != worst:
            times = rows.loc[worst, "force_mae"] / rows.loc[best, "force_mae"]
            line += f", {rows.loc[worst, 'force_mae']:.3f} on {worst} ({times:.1f} times)"
        soft = rows.index[rows["slope_high"] < 1].tolist()
        line += f"; softened (slope below one) on {', '.join(soft)}" if soft else ""
        lines.append(line)
    return lines


def domain_figure(summary: pd.DataFrame) -> Figure:
    """Force error (logarithmic) and slope by domain, the models side by side."""
    rows = summary[summary["domain"] != "all"]
    domains = list(dict.fromkeys(rows["domain"]))
    with new_figure(1.6 + 0.9 * len(domains), 4.1) as figure:
        axes = figure.subplots(2, 1, sharex=True)
        for axis, name, label in zip(
            axes, ("force_mae", "slope"), ("force MAE (eV/Å)", "slope"), strict=True
        ):
            _by_domain(axis, rows, domains, name)
            axis.set_ylabel(label)
        if log_scale(axes[0], rows["force_mae"]):
            _plain_ticks(axes[0])
        axes[1].axhline(1, color="0.6", linewidth=0.8, zorder=0)
        name_ticks(axes[1], domains)
        legend_below(figure, axes[:1], "bars: 95 % over structures")
    return figure


def _by_domain(axis: Axes, rows: pd.DataFrame, domains: list[str], name: str) -> None:
    models = list(dict.fromkeys(rows["model"]))
    for k, model in enumerate(models):
        own = rows[rows["model"] == model].set_index("domain").loc[domains]
        values, low, high = (own[c].to_numpy() for c in (name, f"{name}_low", f"{name}_high"))
        bars = np.stack([values - low, high - values]).clip(min=0)  # none where NaN
        place = np.arange(len(domains)) + 0.6 * ((k + 0.5) / len(models) - 0.5)
        axis.errorbar(
            place, values, yerr=bars, label=as_label(model), capsize=2, elinewidth=0.8,
            linestyle="none", marker=_MARKERS[k % len(_MARKERS)], markersize=4,
            color=DOMAIN_COLOURS[k % len(DOMAIN_COLOURS)],
        )  # fmt: skip


def _plain_ticks(axis: Axes) -> None:
    """Labels such as 0.02 and 0.05 on a logarithmic axis."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axis.yaxis.set_minor_formatter(NullFormatter())


def domain_results(errors: ForceErrors, summary: pd.DataFrame) -> dict[str, Any]:
    """Readings, scores by domain and provenance, as plain data."""
    return {
        "command": "ood",
        "readings": domain_readings(summary),
        "scores": records(summary),
        "provenance": errors.provenance,
    }


def write_force_errors(
    errors: ForceErrors,
    summary: pd.DataFrame,
    folder: str | Path,
    *,
    overwrite: bool = False,
    configuration: str | None = None,
) -> list[Path]:
    """Write ``results.json``, ``by_domain.csv``, ``structures.csv``, ``atoms.csv`` and the figure.

    Args:
        errors: from :func:`mpprobe.explain.force_errors`.
        summary: from :func:`mpprobe.explain.by_domain`.
        folder: what is there is replaced.
        overwrite: an earlier result may be.
        configuration: written as ``config.yaml``.

    Returns:
        The files written.

    Raises:
        MPProbeError: see :func:`mpprobe.report.files.check_output`.
    """
    tables = {"by_domain": summary, "structures": errors.structures, "atoms": errors.atoms}
    return write_result(
        folder,
        domain_results(errors, summary),
        tables,
        {"force_errors": domain_figure(summary)},
        overwrite=overwrite,
        configuration=configuration,
    )

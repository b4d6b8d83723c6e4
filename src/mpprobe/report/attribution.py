"""Where a number comes from: tables, figure, what they say, the files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpprobe.attribution.maps import BASELINES, BY_ATOM
from mpprobe.attribution.study import Attributed
from mpprobe.models.controls import TRAINED
from mpprobe.report.files import records, write_result
from mpprobe.report.style import MODEL_COLOUR, figure_style
from mpprobe.report.terminal import titled
from mpprobe.structures import write_extxyz

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.console import Group

#: How to read the tables.
LEGEND = (
    "Total: what the atom's features add to the number, against the baseline; in brackets its "
    "irreps. Influence: length of the derivative of the number by the atom's position. Gap: what "
    "the attributions leave of the difference. Infidelity: error of predicted changes over the "
    "changes. Sensitivity: largest relative change of the map for small changes of the features."
)
#: Atoms in the table for the terminal.
SHOWN = 12
_DECAY = {"total": "attribution", "influence": "derivative by position"}
_LABELS = ("model", "atom", "species", "distance", "total", "influence")


def attribution_tables(found: Attributed) -> Iterator[Group]:
    """The checks of each map, and the atoms that add most."""
    yield _check_table(found)
    yield _atom_table(found)


def _check_table(found: Attributed) -> Group:
    from rich.table import Table

    table = Table()
    table.add_column("model")
    unit = found.checks["unit"].iloc[0]
    for heading in (f"value ({unit})", f"baseline ({unit})", "relative gap", "infidelity",
                    "sensitivity"):  # fmt: skip
        table.add_column(heading, justify="right")
    for _, row in found.checks.iterrows():
        cells = [_text(row[c]) for c in ("value", "baseline_value", "relative_gap", "infidelity",
                                         "sensitivity")]  # fmt: skip
        table.add_row(row["model"], *cells)
    about = found.provenance
    return titled(
        f"{about['model']['name']}: {found.checks['scalar'].iloc[0]} from layer {about['layer']}, "
        f"{about['method']}, baseline {about['baseline']}", table,
    )  # fmt: skip


def _atom_table(found: Attributed) -> Group:
    from rich.table import Table

    own = found.atoms[found.atoms["model"] == TRAINED]
    order = own["total"].abs().sort_values(ascending=False, kind="stable").index[:SHOWN]
    irreps = _irreps(own)
    table = Table()
    table.add_column("atom")
    for heading in ("distance (Å)", "total", *irreps, "influence"):
        table.add_column(heading, justify="right")
    for _, row in own.loc[order].iterrows():
        distance = "–" if np.isnan(row["distance"]) else f"{row['distance']:.2f}"
        table.add_row(
            f"{row['species']}{row['atom']}", distance,
            *(_text(row[c]) for c in ("total", *irreps, "influence")),
        )  # fmt: skip
    return titled(f"Atoms that add most (of {len(own)})", table)


def attribution_readings(found: Attributed) -> list[str]:
    """A line for each model: how complete and faithful the map is, and from how far it comes."""
    lines = []
    for _, check in found.checks.iterrows():
        own = found.atoms[found.atoms["model"] == check["model"]]
        size = own["total"].abs()
        parts = [f"attributions leave {_text(check['relative_gap'])} of the difference"]
        if own["distance"].notna().all() and size.sum() > 0:
            elsewhere = size[own["distance"] > 0].sum() / size.sum()
            mean = float((size * own["distance"]).sum() / size.sum())
            parts.append(
                f"{100 * elsewhere:.0f} % of their size is on other atoms, {mean:.2f} Å away on "
                "average (the atom itself counted)"
            )
        lines.append(f"{check['model']}, {check['scalar']}: {'; '.join(parts)}")
    if found.provenance["method"] in BY_ATOM:
        lines.append("within an atom this method shares evenly: irreps and channels say nothing")
    about = BASELINES[found.provenance["baseline"]]
    return [*lines, f"baseline: {about}"]


def attribution_figure(found: Attributed) -> Figure:
    """The map on the structure, seen along its thinnest direction, and its decay with distance."""
    from matplotlib.figure import Figure

    models = list(dict.fromkeys(found.atoms["model"]))
    decay = found.atoms["distance"].notna().all()
    with figure_style():
        n = len(models) + decay
        figure = Figure(figsize=(0.8 + 3.7 * n, 3.7), layout="constrained")
        axes = list(figure.subplots(1, n, squeeze=False)[0])
        for model in models:
            axis = axes.pop(0)
            _map_panel(figure, axis, found, model)
            axis.set_title(model, fontsize="medium")
        if decay:
            _decay_panel(axes.pop(0), found)
        figure.suptitle(f"{found.provenance['model']['name']}: {found.checks['scalar'].iloc[0]}")
    return figure


def _map_panel(figure: Figure, axis: Axes, found: Attributed, model: str) -> None:
    own = found.atoms[found.atoms["model"] == model]
    positions = found.frame.atoms.positions
    a, b = np.sort(np.argsort(np.ptp(positions, axis=0), kind="stable")[1:])
    (depth,) = {0, 1, 2} - {a, b}
    order = np.argsort(positions[:, depth], kind="stable")
    values = own["total"].to_numpy()[order]
    largest = float(np.abs(values).max()) or 1.0
    size = np.where(found.frame.numbers[order] > found.frame.numbers.mean(), 90, 50)
    dots = axis.scatter(
        positions[order, a], positions[order, b], c=values, s=size, cmap="PuOr", vmin=-largest,
        vmax=largest, edgecolors="0.3", linewidths=0.5, clip_on=False,
    )  # fmt: skip
    at = np.flatnonzero(own["distance"].to_numpy() == 0)
    axis.scatter(positions[at, a], positions[at, b], marker="x", color="0.1", s=30)
    axis.margins(0.12)
    axis.set_aspect("equal", adjustable="datalim")
    axis.set_xlabel(f"{'xyz'[a]} (Å)")
    axis.set_ylabel(f"{'xyz'[b]} (Å)")
    figure.colorbar(dots, ax=axis, label=f"attribution ({found.checks['unit'].iloc[0]})",
                    shrink=0.8)  # fmt: skip


def _decay_panel(axis: Axes, found: Attributed) -> None:
    for model, own in found.atoms.groupby("model", sort=False):
        other = own[own["distance"] > 0]
        colour = MODEL_COLOUR if model == TRAINED else "0.6"
        for column, marker in (("total", "o"), ("influence", "x")):
            largest = other[column].abs().max()
            if not largest > 0:
                continue
            axis.plot(other["distance"], other[column].abs() / largest, marker, color=colour,
                      markersize=3, label=f"{model}: {_DECAY[column]}")  # fmt: skip
    axis.set_yscale("log")
    axis.set_ylim(1e-8, 2)
    axis.set_xlabel("distance (Å)")
    axis.set_ylabel("size, over the largest")
    axis.legend(frameon=False, fontsize="x-small")


def _irreps(table: pd.DataFrame) -> list[str]:
    return [c for c in table.columns if c not in _LABELS]


def _text(value: float) -> str:
    return "–" if not np.isfinite(value) else f"{value:.3g}".replace("-", "−")


def attribution_results(found: Attributed) -> dict[str, Any]:
    """Readings, tables and provenance, as plain data."""
    return {
        "readings": attribution_readings(found),
        "checks": records(found.checks),
        "atoms": records(found.atoms),
        "channels": records(found.channels),
        "provenance": found.provenance,
    }


def write_attribution(
    found: Attributed,
    folder: str | Path,
    *,
    overwrite: bool = False,
    configuration: str | None = None,
) -> list[Path]:
    """Write ``results.json``, the tables as CSV, the figure, and ``structure.extxyz``.

    The structure has the trained model's ``mpprobe_attribution`` and ``mpprobe_influence`` as
    per-atom arrays.

    Args:
        found: from :meth:`mpprobe.attribution.AttributionPlan.run`.
        folder: what is there is replaced.
        overwrite: an earlier result may be.
        configuration: written as ``config.yaml``.

    Returns:
        The files written.

    Raises:
        MPProbeError: see :func:`mpprobe.report.files.check_output`.
    """
    own = found.atoms[found.atoms["model"] == TRAINED]
    arrays = {"attribution": [own["total"].to_numpy()], "influence": [own["influence"].to_numpy()]}
    return write_result(
        folder,
        attribution_results(found),
        {"atoms": found.atoms, "channels": found.channels, "checks": found.checks},
        {"attribution": attribution_figure(found)},
        overwrite=overwrite,
        configuration=configuration,
        more=lambda part: write_extxyz(part / "structure.extxyz", [found.frame], arrays),
    )

"""Force constants between distant atoms: tables, figure, what they say, the files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpprobe.explain import NonlocalForces
from mpprobe.explain.nonlocal_forces import COMPARED
from mpprobe.report.canvas import as_label, legend_below, name_ticks, new_figure
from mpprobe.report.figures import interval_text, number
from mpprobe.report.files import records, write_result
from mpprobe.report.style import DOMAIN_COLOURS, MODEL_COLOUR
from mpprobe.report.terminal import titled

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.console import Group

#: How to read the tables.
LEGEND = (
    "K: force constant −∂F_j/∂r_i. Distances in cutoffs of the model; steps: bonds shorter than "
    "the cutoff from one atom to the other (–: no way). Slope and correlation: through the "
    "origin, against the reference; 1 is right, 0 is nothing. Parts: mixed second differences of "
    "the parts of the reference's energy. Intervals: 95 %, over structures (or pairs)."
)

#: meV/Å² that differences of forces in float64 may leave where nothing is.
ROUNDING = 1e-6

_MARKERS = {"reference": "o", "coulomb": "v", "kinetic": "^", "kinetic + xc": "s",
            "point charges": "D"}  # fmt: skip


def nonlocal_tables(
    found: NonlocalForces, distances: pd.DataFrame, parts: pd.DataFrame
) -> Iterator[Group]:
    """By domain and distance, then pair by pair, then by part of the energy."""
    yield _distance_table(distances)
    if len(found.pairs):
        yield _pair_table(found.pairs)
    if len(parts):
        yield _part_table(parts)


def _distance_table(distances: pd.DataFrame) -> Group:
    from rich.table import Table

    table = Table()
    for heading in ("domain", "distance\n(cutoffs)", "atoms", "model"):
        table.add_column(heading, justify="right" if heading == "atoms" else "left")
    for heading in ("rms K of\nreference", "rms K of\nmodel", "slope", "correlation",
                    "point charges:\nslope", "correlation"):  # fmt: skip
        table.add_column(heading, justify="right")
    for domain, rows in distances.groupby("domain", sort=False):
        table.add_section()
        for k, (_, row) in enumerate(rows.iterrows()):
            table.add_row(
                domain if k == 0 else "", _range(row), f"{row['n_atoms']:,}", row["model"],
                _milli(row["reference_rms"]), _milli(row["model_rms"]),
                interval_text(row, "slope"), interval_text(row, "correlation"),
                number(row["point_slope"]), number(row["point_correlation"]),
            )  # fmt: skip
    return titled("Force constants of distant atoms against the reference (meV/Å²)", table)


def _pair_table(pairs: pd.DataFrame) -> Group:
    from rich.table import Table

    models = list(dict.fromkeys(pairs["model"]))
    table = Table()
    for heading in ("domain", "pair"):
        table.add_column(heading)
    for heading in ("Å", "steps", *(f"K of\n{m}" for m in models), "reference", "coulomb",
                    "kinetic", "kinetic\n+ xc", "point\ncharges"):  # fmt: skip
        table.add_column(heading, justify="right")
    for (domain, _), rows in pairs.groupby(["domain", "structure"], sort=False):
        by_model, row = rows.set_index("model")["K_model"], rows.iloc[0]
        steps = f"{row['steps']:.0f}" if np.isfinite(row["steps"]) else "–"
        table.add_row(
            domain, row["species"], f"{row['distance']:.1f}", steps,
            *(_milli(by_model[m]) for m in models), *(_milli(row[f"K_{p}"]) for p in COMPARED),
        )  # fmt: skip
    return titled("Pair by pair (meV/Å²)", table)


def _part_table(parts: pd.DataFrame) -> Group:
    from rich.table import Table

    table = Table()
    table.add_column("model")
    table.add_column("against the reference's")
    for heading in ("pairs", "rms K", "rms K of\nmodel", "slope", "correlation",
                    "mean\ndifference"):  # fmt: skip
        table.add_column(heading, justify="right")
    for model, rows in parts.groupby("model", sort=False):
        table.add_section()
        for k, (_, row) in enumerate(rows.iterrows()):
            table.add_row(
                model if k == 0 else "", "total" if row["part"] == "reference" else row["part"],
                f"{row['n_pairs']}", _milli(row["rms"]), _milli(row["model_rms"]),
                interval_text(row, "slope"), interval_text(row, "correlation"),
                _milli(row["difference"]),
            )  # fmt: skip
    return titled("The model's force constants of pairs against each part (meV/Å²)", table)


def nonlocal_readings(
    found: NonlocalForces, distances: pd.DataFrame, parts: pd.DataFrame
) -> list[str]:
    """What the intervals carry, a line for each finding."""
    lines = []
    for model in dict.fromkeys(distances["model"]):
        own = distances[(distances["model"] == model) & (distances["domain"] == "all")]
        for _, row in own.iterrows():
            lines.append(f"{model}, {_range(row)} cutoffs: {_slope_reading(row)}")
        lines += _part_reading(model, parts[parts["model"] == model] if len(parts) else parts)
        lines += _gap_reading(model, found.atoms[found.atoms["model"] == model])
    return lines


def _slope_reading(row: pd.Series) -> str:
    low, high = row["slope_low"], row["slope_high"]
    text = f"force constants {number(row['slope'])} of the reference's"
    if not np.isfinite(low):
        return f"{text}; too few structures for an interval, so no claim"
    text += f" [{number(low)}, {number(high)}]"
    if low <= 0 <= high:
        return f"{text}: not told from nothing"
    return f"{text}: " + (
        "not told from the reference's" if low <= 1 <= high else
        "too small" if high < 1 else "too large"
    )  # fmt: skip


def _part_reading(model: str, parts: pd.DataFrame) -> list[str]:
    known = parts[parts["part"] != "point charges"] if len(parts) else parts
    if len(known) < 2:
        return []
    closest = known.loc[known["difference"].idxmin()]
    start = f"{model}, {closest['n_pairs']} pairs: "
    if not np.isfinite(closest["difference_low"]):
        return [f"{start}too few for an interval, so no claim about the parts"]
    name = {"reference": "the total"}.get(closest["part"], f"the {closest['part']} part")
    said = ", ".join(
        f"{_total(r['part'])} {interval_text(r, 'correlation')}" for _, r in known.iterrows()
    )
    return [
        f"{start}nearest to {name} (mean difference {_milli(closest['difference'])} meV/Å²); "
        f"correlation with {said}"
    ]


def _gap_reading(model: str, atoms: pd.DataFrame) -> list[str]:
    cut = atoms[atoms["steps"].isna()]
    if cut.empty:
        return []
    largest = {
        name: float(np.abs(cut[[f"{name}_{axis}" for axis in "xyz"]].to_numpy()).max())
        for name in ("model", "reference")
    }
    return [
        f"{model}, no way from atom to atom: the model's largest force constant is "
        f"{_milli(largest['model'])} meV/Å² where the reference's is "
        f"{_milli(largest['reference'])}: message passing ends where the graph does"
    ]


def _total(part: str) -> str:
    return "the total" if part == "reference" else part


def _range(row: pd.Series) -> str:
    return f"{row['from']:g}–{row['to']:g}" if np.isfinite(row["to"]) else f"over {row['from']:g}"


def _milli(value: float) -> str:
    """eV/Å² as meV/Å²."""
    if not np.isfinite(value):
        return "–"
    value = 1000 * float(value)
    small = "0" if abs(value) < ROUNDING else f"{value:.1e}"
    text = small if abs(value) < 0.005 else f"{value:.2f}"
    return text.replace("-", "−")


def nonlocal_figure(found: NonlocalForces) -> Figure:
    """Model against reference for distant atoms, and each pair with the parts of its energy."""
    models = list(dict.fromkeys(found.atoms["model"]))
    pairs = len(found.pairs) > 0
    with new_figure(9.6 if pairs else 3.8, 0.5 + 3.2 * len(models)) as figure:
        axes = figure.subplots(
            len(models), 2 if pairs else 1, squeeze=False,
            width_ratios=[1, 1.9] if pairs else None,
        )  # fmt: skip
        for row, model in zip(axes, models, strict=True):
            _scatter(row[0], found.atoms[found.atoms["model"] == model])
            row[0].set_title(f"{model}: beyond two cutoffs")
            if pairs:
                _pair_panel(row[1], found.pairs[found.pairs["model"] == model])
                row[1].set_title(f"{model}: pairs and the parts of their energy")
        legend_below(figure, axes.T.ravel())
    return figure


def _scatter(axis: Axes, atoms: pd.DataFrame) -> None:
    far = atoms[atoms["cutoffs"] >= 2]
    for colour, (domain, rows) in zip(
        DOMAIN_COLOURS, far.groupby("domain", sort=False), strict=False
    ):
        x, y = (1000 * rows[[f"{n}_{a}" for a in "xyz"]].to_numpy().ravel()
                for n in ("reference", "model"))  # fmt: skip
        axis.plot(x, y, ".", color=colour, markersize=4, alpha=0.6,
                  label=as_label(domain))  # fmt: skip
    axis.axline((0, 0), slope=1, color="0.6", linewidth=0.8, zorder=0)
    axis.axhline(0, color="0.85", linewidth=0.6, zorder=0)
    axis.set_xlabel("K of the reference (meV/Å²)")
    axis.set_ylabel("K of the model (meV/Å²)")


def _pair_panel(axis: Axes, pairs: pd.DataFrame) -> None:
    place = np.arange(len(pairs))
    for k, part in enumerate(COMPARED):
        axis.plot(
            place, 1000 * pairs[f"K_{part}"], _MARKERS[part], markersize=4,
            color=str(0.15 + 0.15 * k), fillstyle="full" if part == "reference" else "none",
            label="reference" if part == "reference" else part,
        )  # fmt: skip
    axis.plot(place, 1000 * pairs["K_model"], "_", color=MODEL_COLOUR, markersize=12,
              markeredgewidth=2, label="model")  # fmt: skip
    labels = [f"{r['domain']} {r['species']} {r['distance']:.1f} Å" for _, r in pairs.iterrows()]
    name_ticks(axis, labels, fontsize="x-small")
    axis.axhline(0, color="0.85", linewidth=0.6, zorder=0)
    axis.set_ylabel("K (meV/Å²)")


def nonlocal_results(
    found: NonlocalForces, distances: pd.DataFrame, parts: pd.DataFrame
) -> dict[str, Any]:
    """Readings, tables and provenance, as plain data."""
    return {
        "command": "nonlocal",
        "readings": nonlocal_readings(found, distances, parts),
        "by_distance": records(distances),
        "by_part": records(parts),
        "pairs": records(found.pairs),
        "provenance": found.provenance,
    }


def write_nonlocal_forces(
    found: NonlocalForces,
    distances: pd.DataFrame,
    parts: pd.DataFrame,
    folder: str | Path,
    *,
    overwrite: bool = False,
    configuration: str | None = None,
) -> list[Path]:
    """Write ``results.json``, four tables as CSV and the figure.

    Args:
        found: from :func:`mpprobe.explain.nonlocal_forces`.
        distances, parts: from :func:`mpprobe.explain.by_distance` and
            :func:`mpprobe.explain.by_part`.
        folder: what is there is replaced.
        overwrite: an earlier result may be.
        configuration: written as ``config.yaml``.

    Returns:
        The files written.

    Raises:
        MPProbeError: see :func:`mpprobe.report.files.check_output`.
    """
    tables = {"by_distance": distances, "by_part": parts, "atoms": found.atoms,
              "pairs": found.pairs}  # fmt: skip
    return write_result(
        folder,
        nonlocal_results(found, distances, parts),
        tables,
        {"nonlocal_forces": nonlocal_figure(found)},
        overwrite=overwrite,
        configuration=configuration,
    )

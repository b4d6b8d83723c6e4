"""Models trained in worlds: tables, figure, what they say, the files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpprobe.models.controls import TRAINED
from mpprobe.report.canvas import as_label, name_ticks, new_figure
from mpprobe.report.figures import error_bars, interval_text, number
from mpprobe.report.files import records, write_result
from mpprobe.report.style import DOMAIN_COLOURS, MODEL_COLOUR
from mpprobe.report.terminal import titled
from mpprobe.toys import TRAINING
from mpprobe.toys.study import RANDOM, Assessed, profile
from mpprobe.toys.sweep import Job
from mpprobe.toys.training import Training

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.console import Group

#: How to read the tables.
LEGEND = (
    "Relative: force error (root mean square) over the size of the forces; intervals: 95 %, over "
    "structures. Probes: R² within kinds (of the field plain R²), structures held "
    "out, of crystals as in training; random weights: the best layer of the same architecture "
    "untrained."
)


def toy_tables(found: Assessed) -> Iterator[Group]:
    """Force errors by domain, and what probes read in each layer."""
    yield _error_table(found.forces)
    yield _profile_table(found.scores)


def _error_table(forces: pd.DataFrame) -> Group:
    from rich.table import Table

    table = Table()
    table.add_column("domain")
    for heading in ("structures", "relative", "RMSE (eV/Å)", "slope"):
        table.add_column(heading, justify="right")
    for _, row in forces[forces["domain"] != "all"].iterrows():
        table.add_row(
            row["domain"], str(row["n_structures"]), interval_text(row, "relative"),
            f"{row['force_rmse']:.3f}", number(row["slope"]),
        )  # fmt: skip
    return titled(f"Forces by domain; trained on {TRAINING}", table)


def _profile_table(scores: pd.DataFrame) -> Group:
    from rich.table import Table

    found = profile(scores)
    table = Table()
    table.add_column("target")
    for column in found.columns:
        name = str(column) if isinstance(column, str) else f"layer {column}"
        table.add_column(name, justify="right")
    for target, row in found.iterrows():
        table.add_row(str(target), *(number(value) for value in row))
    return titled("What probes read, layer by layer", table)


def toy_readings(training: Training, found: Assessed) -> list[str]:
    """How training went, where forces hold, where the truth is read best, and the response."""
    best = training.best
    errors = found.forces.set_index("domain")["relative"].drop("all")
    outside = errors.drop(TRAINING, errors="ignore")
    lines = [
        f"best epoch {best['epoch']:.0f} of {len(training.history)} (stopped: {training.reason}); "
        f"relative force error {number(best['relative'])} on the validation set",
        f"{number(errors[TRAINING])} on new crystals; outside from {number(outside.min())} "
        f"({outside.idxmin()}) to {number(outside.max())} ({outside.idxmax()})",
    ]
    for target, row in profile(found.scores).iterrows():
        layers = row.drop(RANDOM).drop(0, errors="ignore")
        verb = "above" if layers.max() > row[RANDOM] else "no better than"
        lines.append(
            f"{target}: best in layer {layers.idxmax()}, R² {number(layers.max())}, {verb} random "
            f"weights ({number(row['random weights'])})"
        )
    fit = found.response[(found.response["model"] == TRAINED) & found.response["all"]].iloc[0]
    lines.append(
        f"force constants beyond the cutoff: the Coulomb form leaves {number(fit['residual'])} of "
        f"K² at strength {number(fit['strength'])} e²"
    )
    return lines


def toy_figure(job: Job, training: Training, found: Assessed) -> Figure:
    """The course of training, force errors by domain, and the layer profile."""
    with new_figure(12.4, 3.8) as figure:
        course, errors, layers = figure.subplots(1, 3, width_ratios=(3, 4, 4))
        _course_panel(course, training)
        _error_panel(errors, found.forces)
        _profile_panel(layers, found.scores)
        figure.suptitle(job.name)
    return figure


def _course_panel(axis: Axes, training: Training) -> None:
    epochs = [row["epoch"] for row in training.history]
    axis.plot(epochs, [row["relative"] for row in training.history], color=MODEL_COLOUR)
    axis.plot(training.best["epoch"], training.best["relative"], "o", color=MODEL_COLOUR)
    axis.set(yscale="log", xlabel="epoch", ylabel="relative force error,\nvalidation")


def _error_panel(axis: Axes, forces: pd.DataFrame) -> None:
    rows = forces[forces["domain"] != "all"]
    values = rows["relative"].to_numpy()
    bars = error_bars(values, rows["relative_low"].to_numpy(), rows["relative_high"].to_numpy())
    inside = (rows["domain"] == TRAINING).to_numpy()
    for chosen, colour in ((inside, MODEL_COLOUR), (~inside, DOMAIN_COLOURS[1])):
        place = np.flatnonzero(chosen)
        axis.errorbar(place, values[chosen], yerr=bars[:, chosen], linestyle="none", marker="o",
                      color=colour, capsize=2, markersize=5, elinewidth=0.8)  # fmt: skip
    axis.axhline(1, color="0.7", linewidth=0.8)
    name_ticks(axis, rows["domain"].tolist())
    axis.set(yscale="log", ylabel="relative force error")


def _profile_panel(axis: Axes, scores: pd.DataFrame) -> None:
    for k, (target, row) in enumerate(profile(scores).iterrows()):
        layers = row.drop(RANDOM)
        colour = DOMAIN_COLOURS[k % len(DOMAIN_COLOURS)]
        label = as_label(str(target).partition("@")[0])
        axis.plot(list(layers.index), layers.clip(lower=-0.25), "o-", color=colour, markersize=4,
                  label=label)  # fmt: skip
        axis.axhline(max(row[RANDOM], -0.25), color=colour, linewidth=0.7,
                     linestyle=":")  # fmt: skip
        axis.set_xticks(list(layers.index))
    axis.set(ylim=(-0.3, 1.05), xlabel="layer", ylabel="R² within kinds\n(dotted: random weights)")
    axis.legend(frameon=False, fontsize="x-small")


def toy_results(job: Job, training: Training, found: Assessed) -> dict[str, Any]:
    """Readings and tables, as plain data."""
    return {
        "command": "toy train",
        "readings": toy_readings(training, found),
        "job": asdict(job),
        "training": {"history": training.history, "reason": training.reason},
        "forces": records(found.forces),
        "response": records(found.response),
        "provenance": found.provenance,
    }


def write_toy(
    job: Job,
    training: Training,
    found: Assessed,
    folder: str | Path,
    *,
    overwrite: bool = False,
    configuration: str | None = None,
) -> list[Path]:
    """Write ``results.json``, the tables as CSV, the figure and the model.

    Args:
        job, training, found: from :func:`mpprobe.toys.run_job`.
        folder: what is there is replaced.
        overwrite: an earlier result may be.
        configuration: written as ``config.yaml``.

    Returns:
        The files written.

    Raises:
        MPProbeError: see :func:`mpprobe.report.files.check_output`.
    """
    import pandas as pd

    history = pd.DataFrame(training.history)
    tables = {"forces": found.forces, "scores": found.scores, "response": found.response,
              "history": history}  # fmt: skip
    return write_result(
        folder,
        toy_results(job, training, found),
        tables,
        {"toy": toy_figure(job, training, found)},
        overwrite=overwrite,
        configuration=configuration,
        more=lambda part: shutil.copy(training.model, part / training.model.name),
    )

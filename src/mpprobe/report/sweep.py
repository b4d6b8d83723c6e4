"""Many models trained in worlds: the table, the figure, the answers, the files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpprobe.provenance import versions
from mpprobe.report.canvas import as_label, new_figure
from mpprobe.report.figures import FLOOR, number
from mpprobe.report.files import records, write_result
from mpprobe.report.style import DOMAIN_COLOURS
from mpprobe.report.terminal import titled
from mpprobe.toys import TRAINING
from mpprobe.toys.questions import FEWEST
from mpprobe.toys.study import SHELLS
from mpprobe.toys.sweep import OUTSIDE

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.console import Group

#: How to read the tables.
LEGEND = (
    "Inside, outside: force error over the size of the forces, on crystals as in training and as a "
    "geometric mean over the other domains. R²: of the potential within kinds, best layer; "
    "random: the same with random weights. Exponent, left: of the response beyond the cutoff. "
    f"Intervals: 95 %, over models; none below {FEWEST}."
)
_MARKERS = {"sevenn": "o", "mace": "s"}


def sweep_tables(rows: pd.DataFrame, answers: pd.DataFrame) -> Iterator[Group]:
    """A row for each model, and the numbers behind the answers."""
    yield _model_table(rows)
    yield _answer_table(answers)


def _model_table(rows: pd.DataFrame) -> Group:
    from rich.table import Table

    table = Table()
    for heading in ("world", "family"):
        table.add_column(heading)
    for heading in ("cutoff", "layers", "l_max", "n", "inside", "outside", "R²", "layer", "random",
                    "exponent", "left"):  # fmt: skip
        table.add_column(heading, justify="right")
    for _, row in rows.iterrows():
        table.add_row(
            row["world"], row["family"], f"{row['cutoff']:g}", f"{row['layers']}",
            f"{row['l_max']}", f"{row['n_train']}", number(row[f"relative:{TRAINING}"]),
            number(row[f"relative:{OUTSIDE}"]), number(row["r2:potential"]),
            f"{row['layer:potential']}", number(row["random:potential"]),
            number(row["exponent"]), number(row["residual"]),
        )  # fmt: skip
    return titled(f"{len(rows)} models", table)


def _answer_table(answers: pd.DataFrame) -> Group:
    from rich.table import Table

    table = Table()
    for heading in ("question", "world", "what"):
        table.add_column(heading)
    for heading in ("value", "95 %", "n"):
        table.add_column(heading, justify="right")
    for question, own in answers.groupby("question", sort=False):
        table.add_section()
        for k, (_, row) in enumerate(own.iterrows()):
            table.add_row(question if k == 0 else "", row["world"], row["what"],
                          number(row["value"]), _interval(row), str(row["n"]))  # fmt: skip
    return titled("What they say together", table)


def _interval(row: pd.Series) -> str:
    if not np.isfinite(row["low"]):
        return "–"
    return f"{number(row['low'])} … {number(row['high'])}"


def sweep_readings(answers: pd.DataFrame) -> list[str]:
    """A line for each number whose interval says something, and how many say nothing."""
    from mpprobe.toys import questions as asked

    ratios = (asked.ORDER, asked.BAND)
    lines = []
    for question, own in answers.groupby("question", sort=False):
        if question == asked.SHELL:  # the scores themselves are in the table
            own = own[own["what"].str.contains("above random")]
        clear = []
        for _, row in own.iterrows():
            neutral = 1.0 if question in ratios and "over that" in row["what"] else 0.0
            if np.isfinite(row["low"]) and not row["low"] <= neutral <= row["high"]:
                clear.append(f"{row['world']}: {row['what']} {number(row['value'])} "
                             f"[{number(row['low'])}, {number(row['high'])}]")  # fmt: skip
        silent = len(own) - len(clear)
        rest = f"{silent} of {len(own)} numbers without a clear sign" if silent else ""
        lines.append(f"{question} {'; '.join([*clear, *filter(None, [rest])])}")
    return lines


def sweep_figure(rows: pd.DataFrame) -> Figure:
    """Encoding against the error outside, reach against it, and shells by layer."""
    with new_figure(12.6, 4.0) as figure:
        encoding, reach, shells = figure.subplots(1, 3)
        _scatter(encoding, rows.assign(read=rows["r2:potential"].clip(lower=FLOOR)), "read")
        encoding.set_xlabel(
            f"R² of the potential within kinds, best layer\n(below {number(FLOOR)} drawn there)"
        )
        _scatter(reach, rows, "reach")
        reach.set_xlabel("reach, layers × cutoff (Å)")
        encoding.legend(frameon=False, fontsize="x-small")
        _shell_panel(shells, rows)
        figure.suptitle(f"{len(rows)} models trained in worlds where the truth is known")
    return figure


def _scatter(axis: Axes, rows: pd.DataFrame, column: str) -> None:
    for k, (name, own) in enumerate(rows.groupby("world", sort=False)):
        for family, part in own.groupby("family", sort=False):
            axis.plot(part[column], part[f"relative:{OUTSIDE}"], _MARKERS[family],
                      color=DOMAIN_COLOURS[k], markersize=5, alpha=0.85,
                      label=as_label(f"{name}, {family}"))  # fmt: skip
    axis.set_yscale("log")
    for formatter in (axis.yaxis.set_major_formatter, axis.yaxis.set_minor_formatter):
        formatter("{x:.1g}")
    axis.set_ylabel("relative force error outside training")


def _shell_panel(axis: Axes, rows: pd.DataFrame) -> None:
    charged = rows[rows["world"] != "band"]
    for k in SHELLS:
        start = f"r2:potential:shell-{k}:"
        columns = sorted(
            (c for c in charged if c.startswith(start)), key=lambda c: int(c[len(start) :])
        )
        layers = [int(c[len(start) :]) for c in columns]
        values = charged[columns].clip(lower=FLOOR)
        random = charged[f"random:potential:shell-{k}"].clip(lower=FLOOR)
        axis.axhline(random.mean(), color=DOMAIN_COLOURS[k - 1], linewidth=0.7, linestyle=":")
        axis.errorbar(layers, values.mean(), yerr=values.sem(), fmt="o-", capsize=2, markersize=4,
                      color=DOMAIN_COLOURS[k - 1], label=f"shell {k}")  # fmt: skip
        axis.set_xticks(layers)
    axis.axhline(0, color="0.7", linewidth=0.8)
    axis.set(xlabel="layer", ylabel="R² within kinds\n(mean over models of charges)")
    axis.set_title("the potential of shells (dotted: random weights)", fontsize="small")
    axis.legend(frameon=False, fontsize="x-small")


def sweep_results(rows: pd.DataFrame, answers: pd.DataFrame) -> dict[str, Any]:
    """Readings and tables, as plain data."""
    return {
        "command": "toy sweep",
        "readings": sweep_readings(answers),
        "models": records(rows),
        "answers": records(answers),
        "provenance": {"versions": versions()},
    }


def write_sweep(
    rows: pd.DataFrame,
    answers: pd.DataFrame,
    folder: str | Path,
    *,
    overwrite: bool = False,
    configuration: str | None = None,
) -> list[Path]:
    """Write ``results.json``, ``models.csv``, ``answers.csv`` and the figure.

    Args:
        rows: from :func:`mpprobe.toys.sweep`.
        answers: from :func:`mpprobe.toys.answers`.
        folder: what is there is replaced.
        overwrite: an earlier result may be.
        configuration: written as ``config.yaml``.

    Returns:
        The files written.

    Raises:
        MPProbeError: see :func:`mpprobe.report.files.check_output`.
    """
    return write_result(
        folder,
        sweep_results(rows, answers),
        {"models": rows, "answers": answers},
        {"sweep": sweep_figure(rows)},
        overwrite=overwrite,
        configuration=configuration,
    )

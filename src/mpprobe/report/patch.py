"""What putting features of one structure into another did: tables, what they say, the files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpprobe.interventions.effects import p_value
from mpprobe.interventions.erasing import RANDOM
from mpprobe.interventions.patch import EVERYTHING, SUBSPACE, Patched
from mpprobe.report.canvas import new_figure
from mpprobe.report.files import records, write_result
from mpprobe.report.style import DOMAIN_COLOURS
from mpprobe.report.terminal import titled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from rich.console import Group

#: How to read the tables.
LEGEND = (
    "Share: of the difference of the patched atoms' site energies, how much comes over. Random: "
    "subspaces of the same rank and share of the variance, median [lowest, highest]."
)


def patch_tables(found: Patched) -> Iterator[Group]:
    """What came over, and the site energies of the patched atoms."""
    from rich.table import Table

    table = Table()
    table.add_column("put in")
    for heading in ("energy change\n(eV)", "share of\nsite energies", "mean |ΔF|\n(eV/Å)"):
        table.add_column(heading, justify="right")
    for name, rows in found.summary.groupby("patch", sort=False):
        table.add_row(name, *(_spread(rows[c]) for c in ("energy_change", "share", "force_change")))
    about = found.provenance
    yield titled(
        f"{about['source']} into {about['into']}, layer {about['layer']}, atoms "
        f"{', '.join(map(str, about['atoms']))}",
        table,
    )
    table = Table()
    table.add_column("put in")
    for heading in ("atom", "into\n(eV)", "source\n(eV)", "after\n(eV)", "|ΔF|\n(eV/Å)"):
        table.add_column(heading, justify="right")
    for name, rows in found.atoms[found.atoms["patched"]].groupby("patch", sort=False):
        table.add_section()
        for k, (_, row) in enumerate(rows.iterrows()):
            table.add_row(
                name if k == 0 else "", f"{row['species']}{row['atom']}",
                *(f"{row[c]:.4f}".replace("-", "−") for c in ("into", "source", "after")),
                f"{row['force_change']:.4f}",
            )  # fmt: skip
    yield titled("Site energies of the patched atoms", table)


def _spread(values: pd.Series) -> str:
    values = values.to_numpy()
    if len(values) == 1:
        return _text(values[0])
    return f"{_text(np.median(values))} [{_text(values.min())}, {_text(values.max())}]"


def _text(value: float) -> str:
    return f"{value:.3g}".replace("-", "−") if np.isfinite(value) else "–"


def patch_readings(found: Patched) -> list[str]:
    """What came over, in a line or two."""
    rows = found.summary.set_index("patch")
    everything = rows.loc[EVERYTHING]
    lines = [
        f"all features: {_text(everything['share'])} of the difference of the site energies comes "
        f"over; what is missing, later layers take from the surroundings"
    ]
    if SUBSPACE in rows.index:
        own, drawn = rows.loc[SUBSPACE], rows.loc[RANDOM, "share"].to_numpy()
        p = p_value(own["share"], drawn, either_sign=True)
        than = "more than" if p <= 0.05 else "no more than"
        lines.append(
            f"the subspace of {found.provenance['target']}: {_text(own['share'])}, p = {p:.2g}: "
            f"{than} random subspaces bring"
        )
    return lines


def patch_figure(found: Patched) -> Figure:
    """Who feels it: the change of every atom's force and site energy by distance."""
    with new_figure(7.2, 3.0) as figure:
        left, right = figure.subplots(1, 2)
        for colour, (name, rows) in zip(
            DOMAIN_COLOURS, found.atoms.groupby("patch", sort=False), strict=False
        ):
            left.plot(rows["distance"], rows["force_change"], ".", color=colour, label=name)
            right.plot(rows["distance"], (rows["after"] - rows["into"]).abs(), ".", color=colour)
        left.set_ylabel("|ΔF| (eV/Å)")
        right.set_ylabel("|change of the site energy| (eV)")
        for axis in (left, right):
            axis.set_xlabel("distance from the patched atoms (Å)")
        left.legend(frameon=False, fontsize="small")
        figure.suptitle(f"{found.provenance['model']['name']}, layer {found.provenance['layer']}")
    return figure


def patch_results(found: Patched) -> dict[str, Any]:
    """Readings, tables and provenance, as plain data."""
    return {
        "command": "patch",
        "readings": patch_readings(found),
        "summary": records(found.summary),
        "atoms": records(found.atoms),
        "provenance": found.provenance,
    }


def write_patched(
    found: Patched,
    folder: str | Path,
    *,
    overwrite: bool = False,
    configuration: str | None = None,
) -> list[Path]:
    """Write ``results.json``, two tables as CSV and the figure; arguments as in
    :func:`mpprobe.report.erasing.write_erasing`."""
    tables = {"summary": found.summary, "atoms": found.atoms}
    return write_result(
        folder,
        patch_results(found),
        tables,
        {"patch": patch_figure(found)},
        overwrite=overwrite,
        configuration=configuration,
    )

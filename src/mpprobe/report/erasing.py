"""What erasing a target did: tables, figure, what they say, the files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpprobe.interventions.effects import ALL, IN_DOMAIN, OUT_OF_DOMAIN
from mpprobe.interventions.erasing import RANDOM, SPECIES, TARGET, Erasing
from mpprobe.models.controls import TRAINED
from mpprobe.report.canvas import legend_under, name_ticks, new_figure
from mpprobe.report.figures import number
from mpprobe.report.files import records, write_result
from mpprobe.report.style import MODEL_COLOUR
from mpprobe.report.terminal import titled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.console import Group

#: Below this p an effect is called larger than that of random subspaces.
SIGNIFICANT = 0.05
#: How to read the tables.
LEGEND = (
    "Change: mean |ΔF| over components; relative: its rms over that of the forces. MAE: of the "
    "forces against the reference. Random: subspaces of the same rank that take away the same "
    "share of the variance, median [lowest, highest]; p: share of values, the target's among them, "
    "that are at least as large. Intervals: 95 %, over structures."
)
_SHOWN = {
    "mae_change": ("MAE change (eV/Å)", 3),
    "change": ("change (eV/Å)", 3),
    "relative_change": ("relative change", 2),
    "coulomb_slope": ("slope along Coulomb", 3),
}


def erasing_tables(found: Erasing, by_domain: bool = False) -> Iterator[Group]:
    """What was erased, what it did to the forces, and what later layers still hold.

    Effects in and out of domain, and in each domain too if asked for.
    """
    yield _erasure_table(found)
    yield _effect_table(found, by_domain)
    yield _decoding_table(found)


def _erasure_table(found: Erasing) -> Group:
    from rich.table import Table

    table = Table()
    for heading in ("model", "erased", "layer", "rank", "variance\ntaken away", "R² before",
                    "R² after"):  # fmt: skip
        table.add_column(heading, justify="left" if heading in ("model", "erased") else "right")
    for _, row in found.erasures.iterrows():
        table.add_row(
            row["model"], _what(found, row["edit"]), str(row["layer"]), str(row["rank"]),
            f"{100 * row['removed']:.3g} %", number(row["r2_before"]), number(row["r2_after"]),
        )  # fmt: skip
    return titled("What was erased, and what a linear map reads on the same structures", table)


def _effect_table(found: Erasing, by_domain: bool) -> Group:
    from rich.table import Table

    summary = found.summary
    if not by_domain and IN_DOMAIN in set(summary["domain"]):
        summary = summary[summary["domain"].isin((IN_DOMAIN, OUT_OF_DOMAIN, ALL))]

    table = Table()
    for heading in ("domain", "measure"):
        table.add_column(heading)
    models = list(dict.fromkeys(found.summary["model"]))
    for model in models:
        name = "" if model == TRAINED else f"{model}:\n"
        table.add_column(f"{name}{_what(found, TARGET)}", justify="right", style="bold")
        table.add_column("random", justify="right", style="dim")
        table.add_column("p", justify="right")
    for domain, rows in summary.groupby("domain", sort=False):
        table.add_section()
        shown = [m for m in _SHOWN if m in set(rows["measure"])]
        for k, measure in enumerate(shown):
            cells = []
            for model in models:
                own = rows[(rows["model"] == model) & (rows["measure"] == measure)]
                cells += _effect_cells(own, measure)
            table.add_row(domain if k == 0 else "", _SHOWN[measure][0], *cells)
    return titled("What it does to the forces", table)


def _effect_cells(own: pd.DataFrame, measure: str) -> list[str]:
    if own.empty:
        return ["–", "", ""]
    row = own.iloc[0]
    value = _text(row["value"], measure)
    if np.isfinite(row["low"]):
        value += f" [{_text(row['low'], measure)}, {_text(row['high'], measure)}]"
    drawn = [_text(row[c], measure) for c in ("median", "lowest", "highest")]
    return [value, f"{drawn[0]} [{drawn[1]}, {drawn[2]}]", f"{row['p']:.2g}"]


def _decoding_table(found: Erasing) -> Group:
    from rich.table import Table

    table = Table()
    table.add_column("model")
    table.add_column("layer")
    for when in ("before", "after"):
        table.add_column(f"{_score(found)} {when}", justify="right")
    for model, rows in found.decoding.groupby("model", sort=False):
        table.add_section()
        for k, (_, row) in enumerate(rows.iterrows()):
            layer = f"{row['layer']}{', erased' if row['erased'] else ''}"
            cells = [f"{number(row[w])} [{number(row[f'{w}_low'])}, {number(row[f'{w}_high'])}]"
                     for w in ("before", "after")]  # fmt: skip
            table.add_row(model if k == 0 else "", layer, *cells)
    return titled(
        f"What a probe reads of {found.provenance['target']}, held out by structure", table
    )


def erasing_readings(found: Erasing) -> list[str]:
    """A line for each question, made from the tables."""
    subsets = set(found.summary["domain"])
    asked = [IN_DOMAIN, OUT_OF_DOMAIN] if IN_DOMAIN in subsets else [ALL]
    lines = [line for domain in asked for line in _effect_reading(found, domain)]
    return [*lines, *_decoding_reading(found)]


def _effect_reading(found: Erasing, domain: str) -> list[str]:
    rows = found.summary[found.summary["domain"] == domain]
    lines = []
    for model, own in rows.groupby("model", sort=False):
        own = own.set_index("measure")
        measure = "mae_change" if "mae_change" in own.index and model == TRAINED else "change"
        row = own.loc[measure]
        value, median, low, high = (
            _text(row[c], measure) for c in ("value", "median", "lowest", "highest")
        )
        what = "force MAE by" if measure == "mae_change" else "forces by"
        verdict = (
            "more than random subspaces do"
            if row["p"] <= SIGNIFICANT
            else "no more than random subspaces do"
        )
        lines.append(
            f"{model}, {domain}: erasing {_what(found, TARGET)} changes the {what} {value} eV/Å, "
            f"random subspaces by {median} [{low}, {high}], p = {row['p']:.2g}: {verdict}"
        )
    return lines


def _decoding_reading(found: Erasing) -> list[str]:
    later = found.decoding[(found.decoding["model"] == TRAINED) & ~found.decoding["erased"]]
    read = later[later["before_low"] > 0]
    if read.empty:
        return []
    still = read[read["after_low"] > 0]["layer"].tolist()
    gone = [layer for layer in read["layer"] if layer not in still]
    said = [(still, "still reads it there, so it was repaired"), (gone, "no longer reads it there")]
    return [f"layer {', '.join(map(str, layers))}: after the erasure a probe {what}"
            for layers, what in said if layers]  # fmt: skip


def _what(found: Erasing, edit: str) -> str:
    return found.provenance["target"] if edit == TARGET else edit


def _score(found: Erasing) -> str:
    whole = found.provenance["target_l"] or found.provenance.get("part") == "whole"
    return "R²" if whole else "R² within kinds"


def _text(value: float, measure: str) -> str:
    return f"{value:.{_SHOWN[measure][1]}f}".replace("-", "−") if np.isfinite(value) else "–"


def erasing_figure(found: Erasing) -> Figure:
    """Every random subspace and the target's erasure by domain, and what later layers hold."""
    own = found.effects[found.effects["model"] == TRAINED]
    measure = "mae_change" if own["mae_change"].notna().any() else "change"
    with new_figure(9.0, 3.4) as figure:
        left, right = figure.subplots(1, 2, width_ratios=[1.7, 1])
        _effect_panel(left, found, measure)
        _decoding_panel(right, found)
        about = found.provenance
        figure.suptitle(
            f"{about['model']['name']}: {about['target']} erased at layer "
            f"{', '.join(map(str, about['layers']))}"
        )
    return figure


def _effect_panel(axis: Axes, found: Erasing, measure: str) -> None:
    own = found.effects[found.effects["model"] == TRAINED]
    domains = list(dict.fromkeys(own["domain"]))
    styles: dict[str, dict[str, Any]] = {
        RANDOM: {"color": "0.6", "marker": ".", "markersize": 4},
        SPECIES: {"color": "0.2", "marker": "_", "markersize": 12},
        TARGET: {"color": MODEL_COLOUR, "marker": "o", "markersize": 6},
    }
    rng = np.random.default_rng(0)
    for edit, style in styles.items():
        rows = own[own["edit"] == edit]
        place = rows["domain"].map(domains.index).to_numpy(float)
        if edit == RANDOM:
            place = place + rng.uniform(-0.2, 0.2, len(place))
        axis.plot(place, rows[measure], linestyle="none", label=_what(found, edit), **style)
    name_ticks(axis, domains)
    unit = "change of the force MAE" if measure == "mae_change" else "mean |ΔF|"
    axis.set_ylabel(f"{unit} (eV/Å)")
    if (own[measure] > 0).all():
        axis.set_yscale("log")
    axis.legend(frameon=False, fontsize="small")


def _decoding_panel(axis: Axes, found: Erasing) -> None:
    for model, rows in found.decoding.groupby("model", sort=False):
        colour = MODEL_COLOUR if model == TRAINED else "0.5"
        for when, line in (("before", "-"), ("after", "--")):
            axis.plot(rows["layer"], rows[when].clip(lower=-1), line, color=colour, marker="o",
                      markersize=4, label=f"{model}, {when}")  # fmt: skip
    axis.set_xlabel("layer")
    axis.set_ylabel(f"{_score(found)} (held out)")
    axis.locator_params(axis="x", integer=True)
    axis.axhline(0, color="0.85", linewidth=0.6, zorder=-1)
    legend_under(axis)


def erasing_results(found: Erasing) -> dict[str, Any]:
    """Readings, tables and provenance, as plain data."""
    return {
        "command": "erase",
        "readings": erasing_readings(found),
        "summary": records(found.summary),
        "erasures": records(found.erasures),
        "decoding": records(found.decoding),
        "provenance": found.provenance,
    }


def write_erasing(
    found: Erasing,
    folder: str | Path,
    *,
    overwrite: bool = False,
    configuration: str | None = None,
) -> list[Path]:
    """Write ``results.json``, four tables as CSV and the figure.

    Args:
        found: from :func:`mpprobe.interventions.erase`.
        folder: what is there is replaced.
        overwrite: an earlier result may be.
        configuration: written as ``config.yaml``.

    Returns:
        The files written.

    Raises:
        MPProbeError: see :func:`mpprobe.report.files.check_output`.
    """
    names = ("effects", "summary", "erasures", "decoding")
    tables = {name: getattr(found, name) for name in names}
    return write_result(
        folder,
        erasing_results(found),
        tables,
        {"erasing": erasing_figure(found)},
        overwrite=overwrite,
        configuration=configuration,
    )
